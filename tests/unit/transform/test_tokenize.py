"""Token ids of instructions."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from tests.tiny_models import save_tokenizer

from tempovla.timeline import Context, Embodiment, Task, Track
from tempovla.timeline.keys import TOKENS_KEY, WORDS_KEY
from tempovla.transform.pipeline import TransformPipeline
from tempovla.transform.tokenize import TokenizeInstruction
from tempovla.transform.tokenizer import TransformersTokenizer, WordTokenizer

BODY = Embodiment("toy", 3, 2, 10.0)


def context(*instructions: str) -> Context:
    return Context({}, {}, tuple(Task(words, BODY) for words in instructions), torch.ones(len(instructions)).bool())


def test_instructions_become_a_padded_track_at_offset_0():
    transform = TokenizeInstruction(WordTokenizer(512), max_length=5)
    seen, future = transform.forward(context("open the drawer", "push"), {})
    track = seen.now[TOKENS_KEY]
    assert future == {}
    assert track.value.dtype == torch.int64
    assert track.offset.tolist() == [0]
    assert track.valid.tolist() == [[True], [True]]
    (push,) = WordTokenizer(512).encode("push")
    assert track.value.tolist() == [[[247, 46, 259, -1, -1]], [[push, -1, -1, -1, -1]]]


def test_words_of_past_steps_become_tokens_of_the_past():
    told = [b"go", b"open the drawer", b""]
    words = torch.zeros(1, 3, 20, dtype=torch.uint8)
    for step, text in enumerate(told):
        words[0, step, : len(text)] = torch.tensor(list(text), dtype=torch.uint8)
    past = {WORDS_KEY: Track.of(words, (-3, -2, -1), torch.tensor([[True, True, False]]))}
    tokenize = TokenizeInstruction(WordTokenizer(1024), 4)
    found, _ = tokenize.forward(replace(context("push"), past=past), {})
    assert WORDS_KEY not in found.past
    track = found.past[TOKENS_KEY]
    assert track.valid.tolist() == [[True, True, False]]
    assert torch.equal(track.value[0, :2], torch.stack([tokenize.tokens("go"), tokenize.tokens("open the drawer")]))
    assert found.track(TOKENS_KEY).offset.tolist() == [-3, -2, -1, 0]


@pytest.mark.parametrize("kind", ["words", "transformers"])
def test_json_there_and_back(tmp_path, kind):
    save_tokenizer(tmp_path)
    tokenizer = WordTokenizer(77) if kind == "words" else TransformersTokenizer(str(tmp_path))
    pipeline = TransformPipeline([TokenizeInstruction(tokenizer, 6)])
    data = json.loads(json.dumps(pipeline.to_json()))
    again = TransformPipeline.from_json(data)
    assert again.to_json() == data
    before, after = (p.forward_context(context("close the drawer")).now[TOKENS_KEY].value for p in (pipeline, again))
    assert torch.equal(before, after)


def test_another_tokenizer_in_the_same_folder_is_refused_and_weights_beside_it_do_not_matter(tmp_path):
    save_tokenizer(tmp_path)
    data = TokenizeInstruction(TransformersTokenizer(str(tmp_path)), 6).to_json()
    (tmp_path / "model.safetensors").write_bytes(b"other weights")
    TokenizeInstruction.from_json(data)
    content = json.loads((tmp_path / "tokenizer.json").read_text())
    content["model"]["vocab"] |= {"open": 5, "the": 3}
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match="is not the one of the training; put that one in its place"):
        TokenizeInstruction.from_json(data)


def test_kept_files_are_the_tokenizer_wherever_its_folder_is(tmp_path):
    folder = tmp_path / "language"
    save_tokenizer(folder)
    pipeline = TransformPipeline([TokenizeInstruction(TransformersTokenizer(str(folder)), 6)])
    data, assets = json.loads(json.dumps(pipeline.to_json())), pipeline.assets()
    assert {name.split("/")[1] for name in assets} == {"tokenizer.json", "tokenizer_config.json"}
    folder.rename(tmp_path / "moved")
    again = TransformPipeline.from_json(data, assets)
    assert again.to_json() == data
    assert again.assets() == assets
    before, after = (p.forward_context(context("close the drawer")).now[TOKENS_KEY].value for p in (pipeline, again))
    assert torch.equal(before, after)
    with pytest.raises(ValueError, match="does not load"):  # as bundles of before are
        TransformPipeline.from_json(data)
    other = {name: content.replace(b'"open":3', b'"open":5') for name, content in assets.items()}
    other = {name: content.replace(b'"open": 3', b'"open": 5') for name, content in other.items()}
    with pytest.raises(ValueError, match="is not the one of the training; copy the checkpoint again"):
        TransformPipeline.from_json(data, other)


def test_mistakes_are_named_in_one_line():
    transform = TokenizeInstruction(WordTokenizer(), max_length=2)
    with pytest.raises(ValueError, match=r"'open the drawer' has 3 tokens, more than max_length=2; raise it"):
        transform.forward(context("open the drawer"), {})
    with pytest.raises(ValueError, match=r"'\?!' holds no word; give the task an instruction"):
        transform.forward(context("?!"), {})
    with pytest.raises(ValueError, match="tokenizer 'other' is unknown; choose words or transformers"):
        TokenizeInstruction.from_json({"tokenizer": {"kind": "other"}, "max_length": 3})
    with pytest.raises(ValueError, match=r"=0 must be a whole number from 1 to"):
        TokenizeInstruction(WordTokenizer(), 0)


def test_an_instruction_stands_in_its_prompt_in_small_letters():
    prompt = TokenizeInstruction(WordTokenizer(512), 8, "Please {instruction} now", lowercase=True)
    assert prompt.prompted(" Open the DRAWER\n") == "Please open the drawer now"
    seen, _ = prompt.forward(context("Open the drawer"), {})
    expected = WordTokenizer(512).encode("please open the drawer now")
    assert seen.now[TOKENS_KEY].value[0, 0].tolist() == [*expected, -1, -1, -1]
    as_it_is = TokenizeInstruction(WordTokenizer(512), 8)
    assert as_it_is.prompted(" Open the DRAWER") == " Open the DRAWER"


def test_the_prompt_is_saved_and_transforms_of_before_have_none():
    prompt = TokenizeInstruction(WordTokenizer(512), 8, "Please {instruction} now", lowercase=True)
    data = json.loads(json.dumps(prompt.to_json()))
    again = TokenizeInstruction.from_json(data)
    assert (again.prompt, again.lowercase) == ("Please {instruction} now", True)
    before = TokenizeInstruction.from_json({"tokenizer": {"kind": "words", "vocab_size": 512}, "max_length": 5})
    assert before.prompted("Open it") == "Open it"


class Deaf:
    """Knows a few words, and passes by or mixes up all others."""

    def __init__(self, unknown: list[int]) -> None:
        self.unknown = unknown

    def encode(self, sentence: str) -> list[int]:
        known = {"pick": 5, "place": 6}
        return [
            token for word in sentence.lower().split() for token in ([known[word]] if word in known else self.unknown)
        ]


def test_sentences_that_the_tokenizer_cannot_tell_apart_are_named(caplog):
    transform = TokenizeInstruction(Deaf([1]), 8)
    for sentence in ("pick", "place", "Pick", "pick apple", "pick  Apple"):
        transform.tokens(sentence)
    assert caplog.text == ""
    transform.tokens("pick pear")
    assert "instructions 'pick apple' and 'pick pear' have the same tokens, so" in caplog.text


def test_words_that_the_tokenizer_does_not_know_at_all_are_not_called_absent():
    with pytest.raises(ValueError, match=r"finds no token in instruction 'apple'; choose the one that goes with the "):
        TokenizeInstruction(Deaf([]), 8).tokens("apple")


def test_prompts_that_do_not_work_are_refused():
    with pytest.raises(ValueError, match=r"prompt='do it' has no place for the instruction; write {instruction} there"):
        TokenizeInstruction(WordTokenizer(), 8, "do it")
    prompt = TokenizeInstruction(WordTokenizer(), 4, "please {instruction} now")
    with pytest.raises(ValueError, match="'open the drawer' has 5 tokens with its prompt, more than max_length=4"):
        prompt.tokens("open the drawer")
    with pytest.raises(ValueError, match="instruction ' ' holds no word"):
        prompt.tokens(" ")
