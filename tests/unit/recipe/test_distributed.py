"""Whole recipes in several processes learn what they learn in one, schedules included, sharded or not."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.gripper_recordings import record
from tests.rounding import tolerance
from tests.unit.recipe.mixtures import LARGE, SMALL, record_body
from tests.unit.recipe.session import PARALLEL, STATEVLA_RUNS, train, train_mixture, train_vla_kind

from tempovla.recipe.systems.statevla import PHASE_NAMES
from tempovla.timeline import Bundle
from tempovla.training.checkpoint import Checkpoint
from tempovla.training.metrics import read_metrics

SESSION = "tests.unit.recipe.session:"
ROWS = 8
"""Of a batch, over all processes."""


def assert_same_losses(one: Path, many: Path, steps: int, rel: float) -> None:
    """Losses, gradient norms and learning rates of two runs are equal but for rounding."""
    left, right = read_metrics(one), read_metrics(many)
    assert [line["train_step"] for line in left] == [line["train_step"] for line in right] == [*range(1, steps + 1)]
    for alone, together in zip(left, right, strict=True):
        losses = [key for key in alone if key not in ("phase", "samples_per_s", "cpu_s")]
        assert {"total", "grad_norm", "lr"} < set(losses)
        assert [together[key] for key in losses] == pytest.approx([alone[key] for key in losses], rel=rel, abs=rel / 20)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory, nursery) -> Path:
    """All that two processes trained, and the datasets beside it."""
    folder = tmp_path_factory.mktemp("pairs")
    record(folder / "dataset")
    for body in (SMALL, LARGE):
        record_body(folder / body, body, noise=0.1)
    nursery.run(2, f"{SESSION}train_pairs", folder, ROWS // 2)
    return folder


@pytest.fixture(scope="module")
def alone(pairs, tmp_path_factory) -> Callable[..., Path]:
    """Trains in this process with whole batches, once each; where."""
    folder = tmp_path_factory.mktemp("alone")

    @functools.cache
    def trained(train: Callable[..., Any], kind: str) -> Path:
        train(kind, pairs / "dataset", folder / kind, ROWS)
        return folder / kind

    return trained


def assert_same_weights(one: Path, many: Path) -> None:
    """The weights that two runs ended with are equal but for rounding."""
    left, right = (Bundle.load(run / "checkpoint_latest").weights for run in (one, many))
    torch.testing.assert_close(dict(right), dict(left), rtol=1e-4, atol=1e-5)


def assert_same_phases(one: Path, many: Path) -> None:
    """Both phases of two runs learned the same."""
    for name in PHASE_NAMES.values():
        assert_same_losses(one / name, many / name, steps=4, rel=tolerance())
        assert_same_weights(one / name, many / name)
        jepas = [Bundle.load(run / name / "checkpoint_latest").config["jepa"] for run in (one, many)]
        assert jepas[0]["ema_steps"] == jepas[1]["ema_steps"] == 4


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "parallel"), STATEVLA_RUNS)
def test_two_processes_train_the_phases_of_one(pairs, alone, kind, parallel):
    run = pairs / f"{kind}_{parallel}"
    assert_same_phases(alone(train, kind), run)
    if kind == "cached":
        assert_read_again(run)


@pytest.mark.slow
def test_four_processes_train_the_phases_of_one(tmp_path, pairs, alone, nursery):
    nursery.run(4, f"{SESSION}train", "original", pairs / "dataset", tmp_path, ROWS // 4)
    assert_same_phases(alone(train, "original"), tmp_path)


def assert_read_again(run: Path) -> None:
    """What rank 0 wrote, all processes read in the run that followed, and learned the same."""
    assert len(list((run / "encodings").glob("*.safetensors"))) == 1
    folders = [folder / PHASE_NAMES[2] for folder in (run, run / "again")]
    assert_same_losses(*folders, steps=4, rel=0.0)
    first, again = (Bundle.load(folder / "checkpoint_latest").weights for folder in folders)
    assert all(torch.equal(again[name], weight) for name, weight in first.items())


@pytest.mark.slow
@pytest.mark.parametrize("parallel", PARALLEL)
@pytest.mark.parametrize(("kind", "steps"), [("whole", 4), ("context", 2), ("lora", 2)])
def test_two_processes_train_the_vla_of_one(pairs, alone, parallel, kind, steps):
    """Actions beyond an episode's end are not valid, so the valid ones are spread unevenly."""
    one, two = alone(train_vla_kind, kind), pairs / f"{kind}_{parallel}"
    assert_same_losses(one, two, steps, rel=tolerance())
    assert_same_weights(one, two)


@pytest.mark.slow
def test_a_sharded_vla_resumes_bit_for_bit(pairs):
    whole, resumed = (Checkpoint.load(pairs / run / "checkpoint_latest") for run in ("whole_fsdp", "resumed"))
    assert resumed.record["train_step"] == 4
    assert [line["train_step"] for line in read_metrics(pairs / "resumed")] == [3, 4]
    assert all(torch.equal(resumed.tensors[name], value) for name, value in whole.tensors.items())


@pytest.mark.slow
def test_bodies_of_several_sizes_are_learned_alike_however_their_rows_are_spread(pairs, tmp_path):
    """Rows of a smaller body have fewer valid entries: means must be over the whole batch."""
    train_mixture(pairs, tmp_path, ROWS)
    for parallel in PARALLEL:
        assert_same_losses(tmp_path, pairs / f"mixture_{parallel}", steps=4, rel=tolerance())
        assert_same_weights(tmp_path, pairs / f"mixture_{parallel}")
