"""Phase 2 behind a frozen encoder: each observation encoded once gives what encoding it in every epoch gives."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.unit.recipe.conftest import ACTION, FRONT, STATE, WRIST, guide_recipe

from tempovla.data.memory import MemoryEpisode, MemorySource
from tempovla.model.fusion.state_encoder import StateEncoder
from tempovla.model.vla.statevla import StateVLA
from tempovla.recipe.encodings import encode, encoded_windows
from tempovla.recipe.statevla import PHASE_NAMES, build_transform, train_phase
from tempovla.recipe.statevla_config import StateVLARecipe
from tempovla.timeline import Bundle, Embodiment, StreamInfo
from tempovla.timeline.keys import ENCODING_KEY
from tempovla.train.metrics import read_metrics
from tempovla.train.trainer import FitResult


def cached(recipe: StateVLARecipe, on: bool = True) -> StateVLARecipe:
    phase2 = replace(recipe.training.phase2, cache_encodings=on)
    return replace(recipe, training=replace(recipe.training, phase2=phase2))


def losses(result: FitResult) -> list[dict[str, Any]]:
    other = ("phase", "samples_per_s", "cpu_s")
    lines = read_metrics(result.checkpoint.parents[1])
    return [{name: value for name, value in line.items() if name not in other} for line in lines]


@pytest.mark.parametrize("kind", ["tiny", "guide"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_losses_validation_and_weights_are_those_without(tmp_path, recipe, dataset, kind, precision):
    """Within rounding, which depends on a row's place in its batch; two epochs of 27 samples."""
    if kind == "guide":
        recipe = guide_recipe(dataset)
    recipe = replace(recipe, training=replace(recipe.training, train_steps=14, precision=precision))
    start = train_phase(recipe, 1, tmp_path / "run").checkpoint
    without, with_cache = (
        train_phase(cached(recipe, on), 2, tmp_path / str(on), phase1_checkpoint=start) for on in (False, True)
    )
    assert len(losses(without)) == 14
    for left, right in zip(losses(without), losses(with_cache), strict=True):
        assert right == pytest.approx(left, rel=1e-4, abs=1e-6)
    before, after = (Bundle.load(result.checkpoint) for result in (without, with_cache))
    torch.testing.assert_close(dict(after.weights), dict(before.weights), rtol=1e-4, atol=1e-5)
    assert (after.windows, after.transform) == (before.windows, before.transform)


def test_the_encoder_looks_at_each_observation_once(tmp_path, recipe, monkeypatch):
    train_phase(recipe, 1, tmp_path / "run")
    rows = []
    look = StateEncoder.forward
    monkeypatch.setattr(
        StateEncoder, "forward", lambda self, *inputs: (rows.append(len(inputs[0])), look(self, *inputs))[1]
    )
    recipe = replace(recipe, training=replace(recipe.training, train_steps=30, batch_size=5))
    train_phase(cached(recipe), 2, tmp_path / "run")
    assert rows == [5] * 8  # 36 steps; the last batch is filled up


def test_a_resumed_run_ends_where_an_uninterrupted_one_does(tmp_path, recipe):
    recipe = cached(recipe)
    train_phase(recipe, 1, tmp_path / "run")
    whole = train_phase(recipe, 2, tmp_path / "run")
    halfway = whole.checkpoint.parent / "step_00000003"
    resumed = train_phase(recipe, 2, tmp_path / "again", resume=halfway)
    for name in ("weights.safetensors", "training.safetensors"):
        assert (resumed.checkpoint / name).read_bytes() == (whole.checkpoint / name).read_bytes()
    assert losses(resumed) == losses(whole)[3:]


def test_an_encoding_is_valid_where_all_observations_are(recipe):
    """A camera that is silent for a while: there z is what the policy makes of a black picture, and trains nothing."""
    body = Embodiment("toy", state_dim=3, action_dim=3, rate_hz=10.0)
    streams = {
        STATE: StreamInfo("state", (3,), "float32", 10.0),
        ACTION: StreamInfo("action", (3,), "float32", 10.0),
        FRONT: StreamInfo("image", (24, 32, 3), "uint8", 10.0),
        WRIST: StreamInfo("image", (16, 16, 3), "uint8", 10.0),
    }
    random = np.random.default_rng(0)

    def episode(length: int, seen: list[int]) -> MemoryEpisode:
        values = {
            STATE: random.normal(size=(length, 3)).astype(np.float32),
            ACTION: random.normal(size=(length, 3)).astype(np.float32),
            FRONT: random.integers(0, 256, (length, 24, 32, 3), dtype=np.uint8),
            WRIST: random.integers(0, 256, (len(seen), 16, 16, 3), dtype=np.uint8),
        }
        return MemoryEpisode("go", length, values, {WRIST: np.array(seen) / 10})

    source = MemorySource("toy", body, streams, [episode(5, [0, 1, 2, 3, 4]), episode(6, [0, 1, 5])])
    policy = StateVLA(recipe.model)
    training = recipe.training.of_phase(2)
    encoded = encode(source, policy, build_transform(recipe, recipe.model, source), training)
    assert [window.key for window in encoded_windows(policy)] == [ENCODING_KEY, ACTION]
    assert encoded.read(0, ENCODING_KEY, range(-1, 6)).valid.tolist() == [False, True, True, True, True, True, False]
    z, valid = encoded.read(1, ENCODING_KEY, range(6))
    assert valid.tolist() == source.read(1, WRIST, range(6)).valid.tolist()
    assert 0 < valid.sum() < 6
    assert np.isfinite(z).all()
    assert len(np.unique(z.round(4), axis=0)) == 6
    np.testing.assert_array_equal(encoded.read(1, ACTION, range(7)).value, source.read(1, ACTION, range(7)).value)
    np.testing.assert_array_equal(encoded.timestamps(1, ENCODING_KEY), np.arange(6) / 10)
    np.testing.assert_array_equal(encoded.timestamps(1, WRIST), [0.0, 0.1, 0.5])


def test_what_changes_from_epoch_to_epoch_is_not_kept(recipe):
    trained_on = replace(recipe, model=replace(recipe.model, freeze_encoder=False))
    with pytest.raises(ValueError, match=r"cache_encodings=true with model.freeze_encoder=false: .* leave the cache"):
        cached(trained_on)
    shifted = replace(recipe, transform=replace(recipe.transform, shift_px=2))
    with pytest.raises(ValueError, match=r"cache_encodings=true with transform.shift_px=2: encodings change"):
        cached(shifted)
    cached(replace(shifted, transform=replace(shifted.transform, blind=True)))


def test_weights_to_resume_from_must_fit_before_anything_is_encoded(tmp_path, recipe):
    train_phase(recipe, 1, tmp_path / "run")
    halfway = train_phase(cached(recipe), 2, tmp_path / "run").checkpoint
    other = cached(replace(recipe, model=replace(recipe.model, state_dim=16)))
    with pytest.raises(ValueError, match="give a checkpoint of this config"):
        train_phase(other, 2, tmp_path / "again", resume=halfway)
    assert not Path(tmp_path / "again" / PHASE_NAMES[2]).exists()
