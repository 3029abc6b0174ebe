"""A policy learns to look up the episodes of a library that it does not train on, and its checkpoint holds them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.gripper_recordings import ACTION, FEATURES, FRONT, STATE, WRIST, record
from tests.tiny import vla_recipe

import tempovla
from tempovla.data.lerobot import open_dataset
from tempovla.data.writer import DatasetWriter
from tempovla.model.temporal.context_config import ContextConfig
from tempovla.recipe.systems.vla import train_vla
from tempovla.recipe.systems.vla_config import VLARecipe
from tempovla.timeline import Bundle
from tempovla.timeline.bundle import bundle_sha256

RETRIEVAL = {"hidden_dim": 8, "num_heads": 2, "top_k": 2, "match_frames": 2, "max_episodes": 4, "max_frames": 6}
CONTEXT = ContextConfig(retrieval=RETRIEVAL, stride=2, sequence_length=3, freeze_base=True)
HELD = "context.parts.retrieval.valid"


def record_library(root: Path, episodes: int = 3, start: int = 50) -> Path:
    """Episodes with other actions than those of `record`."""
    random = np.random.default_rng(start)
    with DatasetWriter(root, FEATURES, 10.0, robot_type="toy") as writer:
        for episode in range(episodes):
            frames = {key: random.integers(0, 256, (9, *FEATURES[key].shape), dtype=np.uint8) for key in (FRONT, WRIST)}
            frames |= {key: random.normal(size=(9, 3)).astype(np.float32) for key in (STATE, ACTION)}
            frames[ACTION][:, 2] = np.where(np.arange(9) < 4, -1.0, 1.0)
            writer.add_episode(frames, f"task {episode % 2}")
    return root


@pytest.fixture
def library(tmp_path) -> Path:
    return record_library(tmp_path / "library")


@pytest.fixture
def base(tmp_path, dataset) -> Path:
    recipe = vla_recipe(dataset)
    short = replace(recipe.training, train_steps=1, save_interval_steps=1)
    return train_vla(
        replace(recipe, training=short, transform=replace(recipe.transform, shift_px=0)), tmp_path / "base"
    ).checkpoint


def retrieving(dataset: Path, library: Path | None) -> VLARecipe:
    recipe = vla_recipe(dataset)
    return replace(
        recipe,
        data=replace(recipe.data, library=None if library is None else str(library)),
        transform=replace(recipe.transform, shift_px=0),
        model=replace(recipe.model, context=CONTEXT),
        training=replace(recipe.training, train_steps=4, save_interval_steps=2, keep_every=2),
    )


def observation() -> dict:
    random = np.random.default_rng(0)
    frames = {key: random.integers(0, 256, FEATURES[key].shape, dtype=np.uint8) for key in (FRONT, WRIST)}
    return frames | {STATE: random.normal(size=3), "task": "task 0"}


def test_a_checkpoint_holds_the_library_acts_with_it_and_takes_another(tmp_path, dataset, library, base):
    recipe = retrieving(dataset, library)
    whole = train_vla(recipe, tmp_path / "run", base_checkpoint=base)
    bundle = Bundle.load(whole.checkpoint)
    assert bundle.weights[HELD].sum(1).tolist() == [5, 5, 5, 0]
    assert bundle.provenance["recipe"]["data"]["library"] == str(library)
    policy = tempovla.load(whole.checkpoint, device="cpu")
    own = policy.act(observation())
    torch.testing.assert_close(policy.actor.policy.state_dict()[HELD], bundle.weights[HELD])
    other = record_library(tmp_path / "other", episodes=1, start=60)
    changed = tempovla.load(whole.checkpoint, device="cpu", library=other)
    assert changed.actor.policy.state_dict()[HELD].sum(1).tolist() == [5, 0, 0, 0]
    assert np.abs(changed.act(observation()) - own).max() > 1e-5
    again = tempovla.load(whole.checkpoint, device="cpu", library=library)
    np.testing.assert_allclose(again.act(observation()), own, rtol=1e-4, atol=1e-4)


def test_a_stopped_run_goes_on_to_the_same_weights_without_the_librarys_files(tmp_path, dataset, library, base):
    recipe = retrieving(dataset, library)
    whole = train_vla(recipe, tmp_path / "whole", base_checkpoint=base)
    halfway = tmp_path / "whole" / "checkpoints" / "step_00000002"
    library.rename(tmp_path / "moved")
    resumed = train_vla(recipe, tmp_path / "resumed", base_checkpoint=base, resume=halfway)
    expected, actual = (Bundle.load(result.checkpoint).weights for result in (whole, resumed))
    assert all(torch.equal(expected[name], actual[name]) for name in expected)
    assert bundle_sha256(whole.checkpoint) == bundle_sha256(resumed.checkpoint)


@pytest.fixture
def without_encoding(monkeypatch):
    """Encoding, which takes long, is not reached."""

    def encode(*_, **__):
        raise AssertionError("encoded before the library was checked")

    monkeypatch.setattr("tempovla.recipe.datasets.encodings.encode", encode)


@pytest.mark.usefixtures("without_encoding")
def test_what_is_no_library_is_refused_before_the_training_set_is_encoded(tmp_path, dataset, base):
    with pytest.raises(ValueError, match=r"nope: no such file or folder"):
        train_vla(retrieving(dataset, tmp_path / "nope"), tmp_path / "run", base_checkpoint=base)
    many = record_library(tmp_path / "many", episodes=5)
    with pytest.raises(
        ValueError, match=r"^data.library=.*many: the library has 5 episodes, but context.retrieval.max"
    ):
        train_vla(retrieving(dataset, many), tmp_path / "run", base_checkpoint=base)


@pytest.mark.usefixtures("without_encoding")
def test_an_episode_that_is_trained_on_is_refused_in_the_library(tmp_path, dataset, base):
    copy = record(tmp_path / "copy", lights=0)
    with pytest.raises(ValueError, match=r"^data.library=.*copy: its episode 0 is episode 0 of the training data, in"):
        train_vla(retrieving(dataset, copy), tmp_path / "run", base_checkpoint=base)


def test_a_library_and_a_policy_that_looks_it_up_need_each_other(tmp_path, dataset, library, base):
    with pytest.raises(ValueError, match=r"^model.context.retrieval looks up earlier episodes; give a dataset of some"):
        train_vla(retrieving(dataset, None), tmp_path / "run", base_checkpoint=base)
    recipe = vla_recipe(dataset)
    recipe = replace(recipe, data=replace(recipe.data, library=str(library)))
    with pytest.raises(ValueError, match=r"^data.library=.*library: this policy looks up no earlier episodes; leave"):
        train_vla(recipe, tmp_path / "run")


def test_a_library_of_another_body_is_refused_as_a_dataset_is(tmp_path, dataset, base):
    with DatasetWriter(tmp_path / "small", {ACTION: FEATURES[ACTION], STATE: FEATURES[STATE]}, 10.0) as writer:
        writer.add_episode({key: np.zeros((9, 3), np.float32) for key in (STATE, ACTION)}, "task 0")
    assert len(open_dataset(tmp_path / "small")) == 1
    with pytest.raises(ValueError, match=r"small: has no camera"):
        train_vla(retrieving(dataset, tmp_path / "small"), tmp_path / "run", base_checkpoint=base)
