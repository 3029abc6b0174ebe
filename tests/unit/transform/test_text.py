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


def test_an_unknown_embedder_is_refused():
    with pytest.raises(ValueError, match="sentence embedder 'elmo' is unknown; choose hashed_ngram or transformers"):
        embedder_from_json({"kind": "elmo"})
