"""Whole recipes in several processes learn what they learn in one, schedules included, sharded or not."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch
from tests.rounding import tolerance
from tests.unit.recipe.conftest import record
from tests.unit.recipe.mixtures import LARGE, SMALL, record_body
from tests.unit.recipe.session import PARALLEL, train, train_vla_kind
from tests.unit.recipe.session_mixture import train as train_mixture

from tempovla.recipe.statevla import PHASE_NAMES
from tempovla.timeline import Bundle
from tempovla.train.checkpoint import Checkpoint
from tempovla.train.metrics import read_metrics

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


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "processes", "ways"),
    [("guide", 2, PARALLEL), ("guide", 4, ("ddp",)), ("cached", 2, ("ddp",)), ("tiny", 2, ("ddp",))],
)
def test_processes_learn_what_one_does_with_the_batches_of_all(tmp_path, dataset, nursery, kind, processes, ways):
    for way in ways:
        nursery.run(processes, f"{SESSION}train", kind, dataset, tmp_path / way, ROWS // processes, way)
    train(kind, dataset, tmp_path / "one", ROWS)
    for way, name in itertools.product(ways, PHASE_NAMES.values()):
        assert_same_losses(tmp_path / "one" / name, tmp_path / way / name, steps=4, rel=tolerance())
        bundles = [Bundle.load(tmp_path / run / name / "checkpoint_latest") for run in ("one", way)]
        assert bundles[0].config["jepa"]["ema_steps"] == bundles[1].config["jepa"]["ema_steps"] == 4
        torch.testing.assert_close(dict(bundles[1].weights), dict(bundles[0].weights), rtol=1e-4, atol=1e-5)
    if kind == "cached":
        assert_read_again(tmp_path / "ddp")


def assert_read_again(run: Path) -> None:
    """What rank 0 wrote, all processes read in the run that followed, and learned the same."""
    assert len(list((run / "encodings").glob("*.safetensors"))) == 1
    folders = [folder / PHASE_NAMES[2] for folder in (run, run / "again")]
    assert_same_losses(*folders, steps=4, rel=0.0)
    first, again = (Bundle.load(folder / "checkpoint_latest").weights for folder in folders)
    assert all(torch.equal(again[name], weight) for name, weight in first.items())


@pytest.fixture(scope="module")
def vla_runs(tmp_path_factory, nursery) -> Path:
    """VLAs that two processes trained, and the dataset beside them."""
    folder = tmp_path_factory.mktemp("vla")
    nursery.run(2, f"{SESSION}train_vlas", record(folder / "dataset"), folder, ROWS // 2)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("parallel", PARALLEL)
@pytest.mark.parametrize(("kind", "steps"), [("whole", 4), ("context", 2), ("lora", 2)])
def test_two_processes_train_the_vla_of_one(tmp_path, vla_runs, parallel, kind, steps):
    """Actions beyond an episode's end are not valid, so the valid ones are spread unevenly."""
    train_vla_kind(kind, vla_runs / "dataset", tmp_path, ROWS)
    assert_same_losses(tmp_path, vla_runs / f"{kind}_{parallel}", steps, rel=tolerance())
    one, two = (Bundle.load(run / "checkpoint_latest") for run in (tmp_path, vla_runs / f"{kind}_{parallel}"))
    torch.testing.assert_close(dict(two.weights), dict(one.weights), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_a_sharded_vla_resumes_bit_for_bit(vla_runs):
    whole, resumed = (Checkpoint.load(vla_runs / run / "checkpoint_latest") for run in ("whole_fsdp", "resumed"))
    assert resumed.record["train_step"] == 4
    assert [line["train_step"] for line in read_metrics(vla_runs / "resumed")] == [3, 4]
    assert all(torch.equal(resumed.tensors[name], value) for name, value in whole.tensors.items())


@pytest.mark.slow
def test_bodies_of_several_sizes_are_learned_alike_however_their_rows_are_spread(tmp_path, nursery):
    """Rows of a smaller body have fewer valid entries: means must be over the whole batch."""
    for body in (SMALL, LARGE):
        record_body(tmp_path / body, body, noise=0.1)
    for parallel in PARALLEL:
        nursery.run(2, f"{SESSION[:-1]}_mixture:train", tmp_path, tmp_path / parallel, ROWS // 2, parallel)
    train_mixture(tmp_path, tmp_path / "one", ROWS)
    for parallel in PARALLEL:
        assert_same_losses(tmp_path / "one", tmp_path / parallel, steps=4, rel=tolerance())
        one, two = (Bundle.load(tmp_path / run / "checkpoint_latest") for run in ("one", parallel))
        torch.testing.assert_close(dict(two.weights), dict(one.weights), rtol=1e-4, atol=1e-5)
