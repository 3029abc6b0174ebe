"""A model that has learned three captions by heart is asked for them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from tests.chats import item, save_chat_tokenizer
from tests.command_line import fails, tempovla

from tempovla.data.conversations import read_questions
from tempovla.model.vlm.greedy import greedy_answer
from tempovla.recipe.ask import Answerer, ask
from tempovla.recipe.systems.vlm import train_vlm
from tempovla.recipe.systems.vlm_config import VLMRecipe
from tempovla.timeline import Bundle
from tempovla.timeline.config import config_from_json

__all__ = ["fails", "tempovla"]

CAPTIONS = {"red": "a red square", "blue": "blue", "green": "it a square"}
COLOURS = {"red": (255, 0, 0), "blue": (0, 0, 255), "green": (0, 255, 0)}
SMALLER = """
data: {train_split: 1.0}
transform: {max_text_tokens: 24}
model:
  vlm:
    vision: {model_name: conv, image_size: 16, patch_size: 8, output_dim: 16}
    projector: mlp
    language:
      architecture:
        model_type: qwen2
        vocab_size: 512
        hidden_size: 32
        intermediate_size: 32
        num_hidden_layers: 1
        num_attention_heads: 2
        num_key_value_heads: 2
        max_position_embeddings: 32
training: {batch_size: 3, train_steps: 60, learning_rate: 1.0e-2, learn_vision: true, num_threads: 1}
"""
"""The packaged config `vlm_align_tiny` with less of everything."""


def write_captions(folder: Path) -> Path:
    """A picture of each colour, and what is said about it."""
    (folder / "images").mkdir(parents=True)
    items = []
    for colour, caption in CAPTIONS.items():
        pixels = np.full((20, 24, 3), COLOURS[colour], dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{colour}.png")
        items.append(item(caption, image=f"images/{colour}.png"))
    path = folder / "captions.jsonl"
    path.write_text("".join(json.dumps(entry) + "\n" for entry in items))
    return path


@pytest.fixture(scope="module", params=["words", "own template"])
def taught(request, tmp_path_factory) -> tuple[Path, Path]:
    """The checkpoint, and the file of captions."""
    folder = tmp_path_factory.mktemp("taught")
    captions = write_captions(folder / "data")
    recipe = config_from_json(VLMRecipe, yaml.safe_load(SMALLER), "recipe")
    saved_once = replace(recipe.training, save_interval=0, save_interval_steps=recipe.training.train_steps)
    recipe = replace(recipe, training=saved_once)
    recipe = replace(recipe, data=replace(recipe.data, dataset=str(captions)))
    if request.param == "own template":
        chat = replace(recipe.transform, tokenizer=save_chat_tokenizer(folder / "tokenizer"))
        recipe = replace(recipe, transform=chat)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "is_available", lambda: False)
        result = train_vlm(recipe, "instruct", folder / "run")
    return result.checkpoint, captions


def test_it_answers_what_it_has_learned(taught):
    checkpoint, captions = taught
    assert list(ask(checkpoint, read_questions(captions), device="cpu")) == [*CAPTIONS.values()]


def test_answers_are_as_long_as_they_may_be(taught):
    checkpoint, captions = taught
    assert list(ask(checkpoint, read_questions(captions), max_tokens=2, device="cpu")) == ["a red", "blue", "it a"]
    with pytest.raises(ValueError, match="max_tokens=0 must be at least 1"):
        list(ask(checkpoint, [], max_tokens=0))


def test_what_is_kept_of_earlier_tokens_changes_nothing(taught, monkeypatch):
    """The same ids come where every token is computed anew."""
    checkpoint, captions = taught
    answerer = Answerer(checkpoint, "cpu")
    question = read_questions(captions)[0]
    prompt, _ = answerer.chat.prompt(question.turns)
    picture = answerer._picture(question.image, "")
    kept = greedy_answer(answerer.model.vlm, prompt, picture, (), 8)
    forward = answerer.model.vlm.language.decoder.forward

    def without_cache(*arguments, **options):
        output = forward(*arguments, **options | {"use_cache": False})
        return type(output)(last_hidden_state=output.last_hidden_state)

    monkeypatch.setattr(answerer.model.vlm.language.decoder, "forward", without_cache)
    assert greedy_answer(answerer.model.vlm, prompt, picture, (), 8) == kept
    assert len(kept) == 8


def test_the_command_answers_one_question_or_a_file_of_them(taught, tempovla, tmp_path):
    checkpoint, captions = taught
    red = captions.parent / "images" / "red.png"
    one = ["ask", "--checkpoint", checkpoint, "--image", red, "--question", "what is it", "--device", "cpu"]
    assert tempovla(*one).out == "a red square\n"
    (captions.parent / "questions.jsonl").write_text('{"image": "images/blue.png", "question": "what is it"}\n')
    many = ["ask", "--checkpoint", checkpoint, "--questions", captions.parent / "questions.jsonl", "--device", "cpu"]
    blue = captions.parent / "images" / "blue.png"
    assert tempovla(*many).out == f"{blue}: what is it -> blue\n"
    answers = json.loads(tempovla(*many, "--json").out)["answers"]
    assert answers == [{"image": str(blue), "question": "what is it", "answer": "blue"}]


def test_what_cannot_be_asked_is_refused_in_one_line(taught, fails, tmp_path):
    checkpoint, captions = taught
    start = ["ask", "--checkpoint", checkpoint, "--device", "cpu"]
    assert fails(*start).startswith("--question says nothing; write what is asked")
    assert "exclude each other" in fails(*start, "--question", "what", "--questions", captions)
    missing = fails(*start, "--question", "what", "--image", tmp_path / "none.png")
    assert missing.startswith(f"{tmp_path / 'none.png'}: no such file")
    assert "has room for 32; ask in fewer words" in fails(*start, "--question", "what " * 40)
    (tmp_path / "bad.jsonl").write_text('{"question": 3}\n')
    assert fails(*start, "--questions", tmp_path / "bad.jsonl").startswith(
        f"{tmp_path / 'bad.jsonl'}:1: key 'question'"
    )


def test_a_policy_is_not_asked_and_neither_is_a_model_whose_words_are_unknown(taught, tmp_path):
    bundle = Bundle.load(taught[0])
    replace(bundle, policy="vla").save(tmp_path / "policy")
    with pytest.raises(
        ValueError, match="is of policy 'vla', which acts and does not answer questions; give a checkpoint of"
    ):
        Answerer(tmp_path / "policy")
    if bundle.transform["chat"]["tokenizer"]["kind"] == "words":
        assert set(bundle.transform["words"]) == {"a", "red", "square", "it", "blue"}
        replace(bundle, transform={**bundle.transform, "words": []}).save(tmp_path / "silent")
        with pytest.raises(
            ValueError, match="hashes words, and the checkpoint does not hold the words of its training"
        ):
            Answerer(tmp_path / "silent")
