"""Encodings on disk: found again for the same encoder, data and transforms, never for others; whole or not there."""

from __future__ import annotations

import json
import logging
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import save_file
from tests.gripper_recordings import FRONT, STATE, WRIST
from tests.tiny import tiny_recipe
from torch import nn

from tempovla.data.lerobot import open_dataset
from tempovla.model.vla.statevla import StateVLA
from tempovla.model.vla.statevla_config import StateVLAConfig
from tempovla.recipe.datasets import encoding_cache
from tempovla.recipe.datasets.dataset_mixture import DatasetMixture
from tempovla.recipe.datasets.encoding_cache import EncodingCache, EncodingKey, Encodings, encoder_hash, encoding_key
from tempovla.recipe.systems.statevla import build_transform
from tempovla.recipe.systems.statevla_config import StateVLARecipe

KEY = EncodingKey("e" * 64, "d" * 64, "t" * 64, "float32", "0")
ENCODINGS = Encodings(np.arange(6, dtype=np.float32).reshape(3, 2) / 7, np.array([True, False, True]))


def test_what_is_read_is_what_was_written_to_the_bit(tmp_path):
    cache = EncodingCache(tmp_path / "a" / "b", KEY)
    assert cache.read(3, 2) is None
    assert cache.write(ENCODINGS, {"batch_size": 4})
    z, valid = EncodingCache(tmp_path / "a" / "b", KEY).read(3, 2)
    assert (z.dtype, z.tobytes()) == (np.float32, ENCODINGS.z.tobytes())
    assert (valid.dtype, valid.tolist()) == (bool, [True, False, True])
    with safe_open(cache.path, framework="numpy") as file:
        about = json.loads(file.metadata()["tempovla"])
    assert about == {"key": vars(KEY), "batch_size": 4, "torch": torch.__version__}


@pytest.mark.parametrize("field", ["encoder", "dataset", "transform", "precision", "tempovla"])
def test_another_key_is_another_file(tmp_path, field):
    EncodingCache(tmp_path, KEY).write(ENCODINGS, {})
    assert EncodingCache(tmp_path, replace(KEY, **{field: "other"})).read(3, 2) is None


def test_a_kill_while_writing_leaves_nothing_that_is_read(tmp_path, monkeypatch):
    def killed(encodings, path: Path, metadata) -> None:
        path.write_bytes(b"half a file")
        raise KeyboardInterrupt

    monkeypatch.setattr(encoding_cache, "save_file", killed)
    cache = EncodingCache(tmp_path, KEY)
    with pytest.raises(KeyboardInterrupt):
        cache.write(ENCODINGS, {})
    assert cache.read(3, 2) is None
    monkeypatch.undo()
    (tmp_path / ".writing").mkdir()  # of an earlier version
    (tmp_path / ".writing" / f"{'ab' * 16}.safetensors").write_bytes(b"half a file")
    assert cache.read(3, 2) is None
    cache.write(ENCODINGS, {})
    assert cache.read(3, 2) is not None
    assert [path.name for path in tmp_path.iterdir()] == [cache.path.name]


@pytest.mark.parametrize(
    ("stored", "what"),
    [
        (b"half", r"damaged \(.*\)"),
        ({"key": "other"}, "holds other encodings than its name says"),
        ({"z": ENCODINGS.z[:2], "valid": ENCODINGS.valid[:2]}, r"holds \[\('float32', \(2, 2\)\), .* instead of"),
        ({"z": ENCODINGS.z.astype(np.float64)}, r"holds \[\('float64', \(3, 2\)\), .* instead of"),
        ({"z": np.float32([[0, 1], [2, np.nan], [np.inf, 0]])}, "the encoding of step 2 is not finite"),
    ],
)
def test_a_damaged_file_and_one_of_something_else_are_told_and_made_again(tmp_path, caplog, stored, what):
    cache = EncodingCache(tmp_path, KEY)
    if isinstance(stored, bytes):
        cache.path.write_bytes(stored)
    else:
        facts = {"tempovla": json.dumps({"key": stored.pop("key", vars(KEY))})}
        save_file(ENCODINGS._asdict() | stored, cache.path, facts)
    assert cache.read(3, 2) is None
    assert re.fullmatch(rf"{cache.path}: {what}.*; every observation is encoded again", caplog.messages[0])
    assert cache.write(ENCODINGS, {})
    assert cache.read(3, 2) is not None
    assert len(caplog.messages) == 1


def test_a_full_disk_is_told_and_stops_nothing(tmp_path, monkeypatch, caplog):
    def full(*_) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(encoding_cache, "save_file", full)
    cache = EncodingCache(tmp_path, KEY)
    with caplog.at_level(logging.WARNING):
        assert not cache.write(ENCODINGS, {})
    assert "No space left on device" in caplog.text
    assert cache.read(3, 2) is None


def test_a_folder_that_cannot_be_is_refused_before_any_work(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"data.encoding_cache=.*file/cache: Not a directory; give a folder"):
        EncodingCache(tmp_path / "file" / "cache", KEY)


def key_of(recipe: StateVLARecipe, dataset: Path, model: StateVLAConfig | None = None, seed: int = 0) -> EncodingKey:
    torch.manual_seed(seed)
    policy = StateVLA(model or recipe.model)
    for weight in policy.encoder.parameters():  # whatever else draws numbers when the policy is built
        nn.init.normal_(weight, generator=torch.Generator().manual_seed(seed))
    source = open_dataset(dataset)
    transform = build_transform(recipe, policy.config, DatasetMixture.of_one(source, recipe.model))
    keys = (STATE, FRONT, WRIST)
    return encoding_key(source, keys, policy.encoder_parts(), policy.encoder_config(), transform, "float32")


def test_the_key_follows_from_the_encoder_and_not_from_the_head(dataset):
    recipe = tiny_recipe(dataset)
    before = key_of(recipe, dataset)
    assert key_of(recipe, dataset) == before
    head = replace(recipe.model, action_seq_len=3, policy_layers=2, flow_steps=2, flow_draws=3)
    assert key_of(recipe, dataset, head) == before
    assert key_of(recipe, dataset, seed=1).encoder != before.encoder
    heads = replace(recipe.model, num_heads=4)  # the same weights, used otherwise
    assert key_of(recipe, dataset, heads).encoder != before.encoder
    swapped = replace(recipe.model, cameras=(WRIST, FRONT))
    assert key_of(recipe, dataset, swapped).encoder != before.encoder


def test_the_key_follows_from_what_happens_to_observations_and_not_to_actions(dataset):
    recipe = tiny_recipe(dataset)
    before = key_of(recipe, dataset)
    actions = replace(recipe, transform=replace(recipe.transform, action_normalization="min_max"))
    assert key_of(actions, dataset) == before
    states = replace(recipe, transform=replace(recipe.transform, state_normalization="min_max"))
    assert key_of(states, dataset) == replace(before, transform=key_of(states, dataset).transform) != before
    blind = replace(recipe, transform=replace(recipe.transform, blind=True))
    assert key_of(blind, dataset).transform != before.transform


def test_weights_and_buffers_of_an_encoder_count_even_where_they_are_not_saved():
    class Part(nn.Module):
        def __init__(self, rate: float) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(2, 2, dtype=torch.bfloat16))
            self.register_buffer("rate", torch.tensor(rate), persistent=False)

    assert encoder_hash({"a": Part(1.0)}) == encoder_hash({"a": Part(1.0)})
    assert encoder_hash({"a": Part(1.0)}) != encoder_hash({"a": Part(2.0)})
    assert encoder_hash({"a": Part(1.0)}) != encoder_hash({"b": Part(1.0)})
    changed = Part(1.0)
    with torch.no_grad():
        changed.weight[1, 1] += 0.01
    assert encoder_hash({"a": changed}) != encoder_hash({"a": Part(1.0)})
