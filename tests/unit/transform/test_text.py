import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tempovla.timeline import Context, Embodiment, Task
from tempovla.transform.text import (
    EmbedInstruction,
    HashedNgramEmbedder,
    TransformersTextEmbedder,
    embedder_from_json,
)

SENTENCES = ["open the drawer", "close the drawer", "push the button", "drawer the open"]
WORDS = ["[PAD]", "[UNK]", "[EOS]", "open", "close", "push", "the", "drawer", "button"]


def test_hashed_embeddings_are_unit_length_and_tell_sentences_apart():
    embeddings = HashedNgramEmbedder(512).embed(SENTENCES)
    assert embeddings.shape == (4, 512)
    torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(4))
    similarity = embeddings @ embeddings.T
    assert similarity.fill_diagonal_(0).max() < 0.9


def test_sentences_that_share_words_are_near():
    similarity = (lambda e: e @ e.T)(
        HashedNgramEmbedder(512).embed(["open the drawer", "open the door", "pick up a mug"])
    )
    assert similarity[0, 1] > 0.4
    assert abs(similarity[0, 2]) < 0.15


def test_case_punctuation_and_spacing_do_not_matter():
    embedder = HashedNgramEmbedder(64)
    plain, loud = embedder.embed(["open the drawer", "  Open THE drawer! "])
    assert torch.equal(plain, loud)


def test_an_embedding_does_not_depend_on_its_neighbours():
    embedder = HashedNgramEmbedder(64)
    assert torch.equal(embedder.embed(SENTENCES)[2], embedder.embed(["push the button"])[0])


def test_another_process_gives_the_same_embedding():
    script = (
        "from tempovla.transform.text import HashedNgramEmbedder;"
        "print(HashedNgramEmbedder(8).embed(['open the drawer'])[0].tolist())"
    )
    source = Path(__file__).parents[3] / "src"
    environment = {**os.environ, "PYTHONHASHSEED": "7", "PYTHONPATH": str(source)}
    output = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert output.stdout.strip() == str(HashedNgramEmbedder(8).embed(["open the drawer"])[0].tolist())


GOLDEN = [-0.5885691046714783, 0.3455227017402649, 0.15681637823581696, -0.7138692140579224]


def test_golden_embedding():
    embedding = HashedNgramEmbedder(4).embed(["open the drawer"])[0]
    torch.testing.assert_close(embedding, torch.tensor(GOLDEN), rtol=0, atol=1e-6)


@pytest.mark.parametrize("sentence", ["", "  ", "?!"])
def test_a_sentence_without_words_is_refused(sentence):
    with pytest.raises(ValueError, match="holds no word; give the task an instruction"):
        HashedNgramEmbedder(8).embed([sentence])


def context(*instructions):
    body = Embodiment("arm", 1, 1, 10.0)
    return Context({}, {}, tuple(Task(words, body) for words in instructions), torch.zeros(len(instructions)).bool())


class CountingEmbedder(HashedNgramEmbedder):
    calls = 0

    def embed(self, sentences):
        self.calls += len(sentences)
        return super().embed(sentences)


def test_each_row_gets_its_instruction_and_each_sentence_is_embedded_once():
    embedder = CountingEmbedder(16)
    transform = EmbedInstruction(embedder)
    for _ in range(2):
        seen, _ = transform.forward(context("push", "open", "push"), {})
    language = seen.now["language"]
    assert language.value.shape == (3, 1, 16)
    assert language.offset.tolist() == [0]
    assert language.valid.all()
    assert torch.equal(language.value[:, 0], HashedNgramEmbedder(16).embed(["push", "open", "push"]))
    assert embedder.calls == 2


def save_tokenizer(folder, *, pad=True):
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A [EOS]", special_tokens=[("[EOS]", 2)])
    special = {"unk_token": "[UNK]", "eos_token": "[EOS]", **({"pad_token": "[PAD]"} if pad else {})}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(folder)


SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}


def build_bert():
    from transformers import BertConfig, BertModel

    return BertModel(BertConfig(vocab_size=len(WORDS), **SMALL))


def build_bert_without_pooler():
    from transformers import BertForMaskedLM

    return BertForMaskedLM(build_bert().config)


def build_clip():
    from transformers import CLIPConfig, CLIPModel

    text = {"vocab_size": len(WORDS), "eos_token_id": 2, "bos_token_id": 1, "pad_token_id": 0, "projection_dim": 12}
    vision = {**SMALL, "image_size": 8, "patch_size": 4, "projection_dim": 12}
    return CLIPModel(CLIPConfig(text_config={**SMALL, **text}, vision_config=vision, projection_dim=12))


def build_t5():
    from transformers import T5Config, T5ForConditionalGeneration

    return T5ForConditionalGeneration(
        T5Config(vocab_size=len(WORDS), d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2)
    )


def build_gpt2():
    from transformers import GPT2Config, GPT2LMHeadModel

    sizes = {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 16}
    return GPT2LMHeadModel(GPT2Config(vocab_size=len(WORDS), **sizes, bos_token_id=2, eos_token_id=2))


MODELS = {
    "bert": (build_bert, 16),
    "bert-without-pooler": (build_bert_without_pooler, 16),
    "clip": (build_clip, 12),
    "t5": (build_t5, 16),
    "gpt2": (build_gpt2, 16),
}


@pytest.fixture(params=sorted(MODELS))
def saved(request, tmp_path):
    build, dim = MODELS[request.param]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build().eval()
    model.save_pretrained(tmp_path)
    save_tokenizer(tmp_path, pad=request.param != "gpt2")
    return model, tmp_path, dim


def test_padding_to_longer_neighbours_does_not_change_an_embedding(saved):
    _, folder, dim = saved
    embedder = TransformersTextEmbedder(str(folder))
    assert embedder.dim == dim
    together = embedder.embed(["push", "open the drawer"])
    torch.testing.assert_close(together[:1], embedder.embed(["push"]), rtol=0, atol=1e-5)
    torch.testing.assert_close(together[1:], embedder.embed(["open the drawer"]), rtol=0, atol=1e-5)
    assert (together[0] - together[1]).abs().max() > 1e-3


def test_the_saved_weights_are_used_whole_and_frozen(saved):
    model, folder, _ = saved
    embedder = TransformersTextEmbedder(str(folder))
    original = {name.split(".", 1)[-1]: value for name, value in model.state_dict().items()}
    original |= model.state_dict()
    loaded = {name: value for name, value in embedder.model.state_dict().items() if "pooler" not in name}
    matches = [name for name in loaded if name in original and torch.equal(loaded[name], original[name])]
    assert sorted(matches) == sorted(loaded)
    assert not any(weight.requires_grad for weight in embedder.model.parameters())
    restored = embedder_from_json(embedder.to_json())
    assert torch.equal(restored.embed(SENTENCES), embedder.embed(SENTENCES))


def test_bert_gives_the_mean_over_its_valid_tokens(tmp_path):
    build_bert().eval().save_pretrained(tmp_path)
    save_tokenizer(tmp_path)
    embedder = TransformersTextEmbedder(str(tmp_path))
    hidden = embedder.model(torch.tensor([[5, 6, 8, 2]])).last_hidden_state  # push the button [EOS]
    torch.testing.assert_close(embedder.embed(["push the button"]), hidden.mean(dim=1), rtol=0, atol=1e-6)


def test_clip_gives_its_projected_text_embedding(tmp_path):
    model = build_clip().eval()
    model.save_pretrained(tmp_path)
    save_tokenizer(tmp_path)
    tokens = {"input_ids": torch.tensor([[5, 6, 8, 2]]), "attention_mask": torch.ones(1, 4, dtype=torch.int64)}
    expected = model.text_projection(model.text_model(**tokens).pooler_output)
    embedding = TransformersTextEmbedder(str(tmp_path)).embed(["push the button"])
    torch.testing.assert_close(embedding, expected, rtol=0, atol=1e-6)


def test_a_checkpoint_that_lacks_weights_is_refused(tmp_path):
    from safetensors.torch import load_file, save_file

    build_bert().save_pretrained(tmp_path)
    save_tokenizer(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    del weights["encoder.layer.1.output.dense.weight"]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"lacks weights such as 'encoder.layer.1.output.dense.weight'"):
        TransformersTextEmbedder(str(tmp_path))


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"does not load .*; give the name or folder of a transformers model") as error:
        TransformersTextEmbedder(str(tmp_path))
    assert "\n" not in str(error.value)


def test_a_model_of_pictures_and_text_is_refused(tmp_path):
    from transformers import SiglipConfig

    SiglipConfig().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="siglip sees pictures too, and only CLIP's text half is supported"):
        TransformersTextEmbedder(str(tmp_path))


def test_an_unknown_embedder_is_refused():
    with pytest.raises(ValueError, match="sentence embedder 'elmo' is unknown; choose hashed_ngram or transformers"):
        embedder_from_json({"kind": "elmo"})
