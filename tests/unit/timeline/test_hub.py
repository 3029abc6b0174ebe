"""A checkpoint that names a model on a hub does not make anybody ask the hub, unless the user allows it."""

from __future__ import annotations

import json
import socket
from dataclasses import replace
from typing import Any

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import save
from tests.unit.export.bundles import tiny_bundle

from tempovla.model.vla.registry import load_policy
from tempovla.timeline.fingerprint import model_fingerprint
from tempovla.timeline.hub import ASK_HUB_VARIABLE, from_disk_alone, hub_may_be_asked
from tempovla.transform.pipeline import TransformPipeline
from tempovla.transform.tokenizer import TransformersTokenizer

STRANGE = "stranger/model"
TOKENIZE = {
    "name": "tokenize_instruction",
    "tokenizer": {"kind": "transformers", "name_or_path": STRANGE, "fingerprint": "0" * 64},
    "max_length": 8,
}
EMBED = {
    "name": "embed_instruction",
    "embedder": {"kind": "transformers", "name_or_path": STRANGE, "fingerprint": "0" * 64},
}


@pytest.fixture
def asked(monkeypatch) -> list[Any]:
    """Every host that is asked for."""
    hosts: list[Any] = []

    def refuse(*address: Any, **more: Any) -> Any:
        hosts.append(address)
        raise OSError("no network in this test")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket.socket, "connect_ex", refuse)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.delenv(ASK_HUB_VARIABLE, raising=False)
    return hosts


def check_refused(error: pytest.ExceptionInfo[ValueError]) -> None:
    said = str(error.value)
    assert f"{STRANGE!r} does not load" in said
    assert f"`hf download {STRANGE}`, or set {ASK_HUB_VARIABLE}=1 if you trust the checkpoint" in said
    assert "\n" not in said


@pytest.mark.parametrize("step", [TOKENIZE, EMBED])
def test_a_transform_that_names_a_model_is_not_looked_for_on_a_hub(asked, step):
    with pytest.raises(ValueError, match=r".+") as error:
        TransformPipeline.from_json({"steps": [step]})
    check_refused(error)
    view = {"dataset": "a", "embodiment": {}, "align": {}, "steps": [step]}
    with pytest.raises(ValueError, match=r".+"):
        TransformPipeline.from_json({"steps": [{"name": "per_dataset", "views": [view]}]})
    assert asked == []


def test_a_policy_whose_config_names_a_model_is_not_looked_for_on_a_hub(asked):
    bundle = tiny_bundle("mlp")
    vision = {**bundle.config["vlm"]["vision"], "model_name": STRANGE, "architecture": None}
    language = {**bundle.config["vlm"]["language"], "model_name": STRANGE, "architecture": None}
    for part in ({"vision": vision}, {"language": language}):
        config = {**bundle.config, "vlm": {**bundle.config["vlm"], **part}}
        with pytest.raises(ValueError, match=r".+") as error:
            load_policy(replace(bundle, config=config))
        check_refused(error)
    assert asked == []


def test_a_sentence_that_a_checkpoint_does_not_know_is_not_embedded_from_a_hub(asked):
    folder = f"sentences_{'0' * 16}"
    kept = {
        f"{folder}/sentences.json": json.dumps(["open"]).encode(),
        f"{folder}/embeddings.safetensors": save({"embeddings": torch.zeros(1, 4)}),
    }
    (embed,) = TransformPipeline.from_json({"steps": [EMBED]}, kept).steps
    assert embed.embedder.embed(["open"]).shape == (1, 4)
    with pytest.raises(ValueError, match=r"instruction 'close' is not among the 1 that are kept"):
        embed.embedder.embed(["close"])
    assert asked == []


def test_who_names_a_model_asks_for_it_and_who_trusts_a_checkpoint_may(monkeypatch):
    offline: list[bool] = []

    def look(name: str, **settings: Any) -> Any:
        offline.append(constants.is_offline_mode())
        raise OSError("none")

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr("transformers.AutoTokenizer.from_pretrained", look)
    for load in (lambda: TransformersTokenizer(STRANGE), lambda: TransformPipeline.from_json({"steps": [TOKENIZE]})):
        with pytest.raises(ValueError, match="does not load"):
            load()
    monkeypatch.setenv(ASK_HUB_VARIABLE, "1")
    with pytest.raises(ValueError, match="does not load"):
        TransformPipeline.from_json({"steps": [TOKENIZE]})
    assert offline == [False, True, False]
    assert not constants.is_offline_mode()


def test_the_permission_ends_with_its_block():
    assert hub_may_be_asked()
    with from_disk_alone():
        assert not hub_may_be_asked()
        with from_disk_alone(False):
            assert not hub_may_be_asked()
    with from_disk_alone(False):
        assert hub_may_be_asked()


def test_a_fingerprint_is_that_of_what_is_at_hand(asked):
    with from_disk_alone(), pytest.raises(ValueError, match=r".+") as error:
        model_fingerprint(STRANGE)
    check_refused(error)
    assert asked == []
