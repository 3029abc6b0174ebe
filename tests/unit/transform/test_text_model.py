"""Sentence embeddings of transformers models that are made on the spot."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
import torch
from safetensors.torch import save
from tests.tiny_models import TEXT_SIZES, WORDS, build_bert, save_tokenizer

from tempovla.timeline.fingerprint import model_fingerprint
from tempovla.transform.pipeline import TransformPipeline
from tempovla.transform.text import EmbedInstruction, embedder_from_json
from tempovla.transform.text_model import TextModel, TransformersTextEmbedder

SENTENCES = ["open the drawer", "close the drawer", "push the button", "drawer the open"]


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("TEMPOVLA_CACHE", str(folder))
    return folder


def build_bert_without_pooler():
    from transformers import BertForMaskedLM

    return BertForMaskedLM(build_bert().config)


def build_clip():
    from transformers import CLIPConfig, CLIPModel

    text = {"vocab_size": len(WORDS), "eos_token_id": 2, "bos_token_id": 1, "pad_token_id": 0, "projection_dim": 12}
    vision = {**TEXT_SIZES, "image_size": 8, "patch_size": 4, "projection_dim": 12}
    return CLIPModel(CLIPConfig(text_config={**TEXT_SIZES, **text}, vision_config=vision, projection_dim=12))


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
    model = TextModel(str(folder))
    together = model.embed(["push", "open the drawer"])
    assert together.shape == (2, dim)
    torch.testing.assert_close(together[:1], model.embed(["push"]), rtol=0, atol=1e-5)
    torch.testing.assert_close(together[1:], model.embed(["open the drawer"]), rtol=0, atol=1e-5)
    assert (together[0] - together[1]).abs().max() > 1e-3
    torch.testing.assert_close(TransformersTextEmbedder(str(folder)).embed(["push"]), together[:1], rtol=0, atol=1e-5)


def test_the_saved_weights_are_used_whole_and_frozen(saved):
    model, folder, _ = saved
    embedder = TransformersTextEmbedder(str(folder))
    original = {name.split(".", 1)[-1]: value for name, value in model.state_dict().items()}
    original |= model.state_dict()
    loaded = {name: value for name, value in TextModel(str(folder)).model.state_dict().items() if "pooler" not in name}
    matches = [name for name in loaded if name in original and torch.equal(loaded[name], original[name])]
    assert sorted(matches) == sorted(loaded)
    assert not any(weight.requires_grad for weight in embedder.model.model.parameters())
    restored = embedder_from_json(embedder.to_json())
    assert torch.equal(restored.embed(SENTENCES), embedder.embed(SENTENCES))


def test_bert_gives_the_mean_over_its_valid_tokens(tmp_path):
    build_bert().eval().save_pretrained(tmp_path)
    save_tokenizer(tmp_path)
    embedder = TransformersTextEmbedder(str(tmp_path))
    hidden = embedder.model.model(torch.tensor([[5, 6, 8, 2]])).last_hidden_state  # push the button [EOS]
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
    with pytest.raises(ValueError, match=r"config\.json: no such file; give the folder of a text model") as error:
        TransformersTextEmbedder(str(tmp_path))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("model", {"type": "Wonder"}, "does not load"),
        ("added_tokens", [{"id": "first"}], "token None has the number 'first'"),
        ("model", {"type": "WordLevel", "unk_token": "push", "vocab": {"push": 4000}}, "gives token 4000; copy"),
    ],
)
def test_a_damaged_tokenizer_is_refused_in_one_line(tmp_path, field, value, said):
    folder = saved_bert(tmp_path)
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {field: value}))
    with pytest.raises(ValueError, match=said) as error:
        TransformersTextEmbedder(folder).embed(["push the button"])
    assert str(folder) in str(error.value)
    assert "\n" not in str(error.value)


def test_weights_in_a_pickle_and_a_folder_without_a_tokenizer_are_refused(tmp_path):
    build_bert().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"holds no tokenizer \(.*\); copy its files there, or give another"):
        TransformersTextEmbedder(str(tmp_path))
    save_tokenizer(tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(ValueError, match=rf"convert them with `tempovla convert weights {tmp_path}`$"):
        TransformersTextEmbedder(str(tmp_path))


def test_kept_sentences_need_no_model_and_others_are_told(tmp_path, monkeypatch):
    folder = tmp_path / "model"
    build_bert().save_pretrained(folder)
    save_tokenizer(folder)
    step = EmbedInstruction(TransformersTextEmbedder(str(folder)))
    step.embedder.keep(SENTENCES[:2])
    expected = step.embedder.embed(SENTENCES[:2])
    pipeline = TransformPipeline([step])
    data, assets = json.loads(json.dumps(pipeline.to_json())), pipeline.assets()
    assert data == TransformPipeline([EmbedInstruction(TransformersTextEmbedder(str(folder)))]).to_json()
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    monkeypatch.setenv("TEMPOVLA_CACHE", str(tmp_path / "another machine"))
    again = TransformPipeline.from_json(data, assets).steps[0].embedder
    assert (again.dim, again.to_json()) == (16, step.embedder.to_json())
    assert torch.equal(again.embed(SENTENCES[:2]), expected)
    said = r"instruction 'push the button' is not among the 2 that are kept .* 'open the drawer'"
    with pytest.raises(ValueError, match=said) as error:
        again.embed(["push the button"])
    assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match="does not load"):  # as bundles of before are
        TransformPipeline.from_json(data)


def test_a_model_of_pictures_and_text_is_refused(tmp_path):
    from transformers import SiglipConfig

    SiglipConfig().save_pretrained(tmp_path)
    with pytest.raises(
        ValueError, match="siglip also reads pictures, and of such models only CLIP's text half is supported"
    ):
        TransformersTextEmbedder(str(tmp_path))


def saved_bert(folder, seed: int = 0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        build_bert().eval().save_pretrained(folder)
    save_tokenizer(folder)
    return str(folder)


def test_a_sentence_is_embedded_once_and_then_read_from_disk(tmp_path, cache, monkeypatch):
    folder = saved_bert(tmp_path)
    first = TransformersTextEmbedder(folder).embed(SENTENCES)
    assert len(list(cache.rglob("*.npy"))) == len(SENTENCES) + 1  # one more found out the size
    assert list(cache.rglob("*.part")) == []

    def load(name: str) -> TextModel:
        raise AssertionError("the model is not needed")

    monkeypatch.setattr("tempovla.transform.text_model.TextModel", load)
    again = TransformersTextEmbedder(folder)
    assert torch.equal(again.embed(SENTENCES[::-1]), first.flip(0))
    assert again.dim == 16


@pytest.mark.parametrize(
    ("stored", "told"),
    [
        (b"", "not readable"),
        (b"\x93NUMPY half", "not readable"),
        (b"\x93NUMPY\x01\x00\x10\x00{'descr': '<f4'\n", "not readable"),
        (b"\x93NUMPY\x01\x00\x08\x00(((((((\n", "not readable"),
        (np.zeros(8, dtype=np.float32), "holds float32 of shape [8] instead of [16]"),
        (np.zeros(16), "holds float64 of shape [16] instead of [16]"),
        (np.full(16, np.nan, dtype=np.float32), "is not finite"),
    ],
)
def test_a_broken_file_of_ours_is_told_and_embedded_again(tmp_path, cache, caplog, stored, told):
    embedder = TransformersTextEmbedder(saved_bert(tmp_path))
    expected = embedder.embed(SENTENCES)
    path = embedder._path(SENTENCES[0])
    if isinstance(stored, bytes):
        path.write_bytes(stored)
    else:
        np.save(path, stored)
    assert torch.equal(TransformersTextEmbedder(embedder.name_or_path).embed(SENTENCES), expected)
    (message,) = caplog.messages
    assert message.startswith(f"{path}: {told}")
    assert message.endswith(f"so that {SENTENCES[0]!r} is embedded again")
    assert np.array_equal(np.load(path), expected[0].numpy())


def test_a_pipe_in_the_place_of_a_file_of_ours_is_passed_by(tmp_path, caplog):
    embedder = TransformersTextEmbedder(saved_bert(tmp_path))
    expected = embedder.embed(SENTENCES)
    path = embedder._path(SENTENCES[0])
    path.unlink()
    os.mkfifo(path)
    assert torch.equal(embedder.embed(SENTENCES), expected)
    assert "npy: is no file, so that" in caplog.text
    assert f"cannot keep sentence embeddings ({path}: not written" in caplog.text


def test_kept_sentences_that_are_nested_without_end_are_refused():
    files = {"sentences.json": b"[" * 100_000, "embeddings.safetensors": save({"embeddings": torch.zeros(1, 4)})}
    with pytest.raises(ValueError, match=r"sentences\.json not readable as JSON \(nested more than 100 deep\)"):
        TransformersTextEmbedder("nowhere", "f" * 64, files)


def test_a_file_that_told_the_wrong_size_is_named(tmp_path, cache):
    embedder = TransformersTextEmbedder(saved_bert(tmp_path))
    np.save(embedder._path("size"), np.zeros(8, dtype=np.float32))
    with pytest.raises(ValueError, match=r"\.npy: holds 8 numbers, but the model gives 16; remove the file"):
        TransformersTextEmbedder(embedder.name_or_path).embed(SENTENCES)


@pytest.mark.parametrize(
    ("sentences", "values", "told"),
    [
        (["a"], torch.zeros(2, 4), r"embeddings.safetensors holds torch.float32 of shape \[2, 4\] for 1 sentences"),
        (["a"], torch.zeros(1, 4, dtype=torch.float64), "holds torch.float64 of shape"),
        (["a", "b"], torch.tensor([[0.0], [torch.inf]]), "embeddings.safetensors: that of 'b' is not finite"),
        ({"a": 1}, torch.zeros(1, 4), "sentences.json is not a list of sentences"),
        (None, torch.zeros(1, 4), "embedded sentences: sentences.json not readable as JSON"),
    ],
)
def test_kept_sentences_that_are_damaged_are_refused(sentences, values, told):
    text = b"[" if sentences is None else json.dumps(sentences).encode()
    files = {"sentences.json": text, "embeddings.safetensors": save({"embeddings": values})}
    with pytest.raises(ValueError, match=rf"{told}.*; copy the bundle again"):
        TransformersTextEmbedder("nowhere", "f" * 64, files)


def test_another_model_in_the_same_folder_has_embeddings_of_its_own(tmp_path, cache):
    before = TransformersTextEmbedder(saved_bert(tmp_path, seed=0))
    first = before.embed(SENTENCES)
    after = TransformersTextEmbedder(saved_bert(tmp_path, seed=1))
    assert not torch.allclose(after.embed(SENTENCES), first)
    assert len(list((cache / "sentences").iterdir())) == 2
    with pytest.raises(ValueError, match="is not the one of the training; put that one in its place"):
        embedder_from_json(before.to_json())
    assert torch.equal(embedder_from_json(after.to_json()).embed(SENTENCES), after.embed(SENTENCES))


def test_a_folder_that_cannot_be_written_costs_time_and_is_told(tmp_path, monkeypatch, caplog):
    model = saved_bert(tmp_path)
    expected = TransformersTextEmbedder(model).embed(SENTENCES)
    (tmp_path / "file").touch()
    monkeypatch.setenv("TEMPOVLA_CACHE", str(tmp_path / "file"))
    assert torch.equal(TransformersTextEmbedder(model).embed(SENTENCES), expected)
    assert "cannot keep sentence embeddings" in caplog.messages[0]
    assert "set TEMPOVLA_CACHE" in caplog.messages[0]


def test_what_is_on_disk_is_plain_numbers(tmp_path, cache):
    embedder = TransformersTextEmbedder(saved_bert(tmp_path))
    value = embedder.embed(["push the button"])[0]
    files = {path: np.load(path, allow_pickle=False) for path in cache.rglob("*.npy")}
    assert any(np.array_equal(stored, value.numpy()) for stored in files.values())


def test_a_fingerprint_depends_on_config_weights_and_tokenizer_and_on_nothing_else(tmp_path):
    name = saved_bert(tmp_path)
    fingerprint = model_fingerprint(name)
    (tmp_path / "README.md").write_text("notes")
    assert model_fingerprint(name) == fingerprint
    for file in ("config.json", "model.safetensors", "tokenizer.json"):
        kept = (tmp_path / file).read_bytes()
        (tmp_path / file).write_bytes(kept[:-1] + b"x")
        assert model_fingerprint(name) != fingerprint, file
        (tmp_path / file).write_bytes(kept)
    assert model_fingerprint(name) == fingerprint


class Hub:
    """Where names are looked up: one model, in the commit that is set."""

    commit = "abc"

    def from_pretrained(self, name: str, trust_remote_code: bool) -> Hub:
        assert not trust_remote_code
        if name != "known/model":
            raise OSError(f"{name} is not a local folder\nand not a name that is known")
        return self

    @property
    def _commit_hash(self) -> str:
        return self.commit


def test_a_name_is_told_apart_by_its_commit_and_one_that_leads_nowhere_is_refused_in_one_line(monkeypatch):
    hub = Hub()
    monkeypatch.setattr("transformers.AutoConfig", hub)
    first = model_fingerprint("known/model")
    assert model_fingerprint("known/model") == first
    hub.commit = "def"
    assert model_fingerprint("known/model") != first
    with pytest.raises(ValueError, match=r"model 'no-such/model' does not load .*; give the name or folder") as error:
        TransformersTextEmbedder("no-such/model")
    assert "\n" not in str(error.value)
