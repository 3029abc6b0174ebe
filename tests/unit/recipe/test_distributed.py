"""StateVLA in several processes learns what it learns in one, schedules included."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tests.unit.recipe.session import train

from tempovla.recipe.statevla import PHASE_NAMES
from tempovla.timeline import Bundle
from tempovla.train.metrics import read_metrics

SESSION = Path(__file__).with_name("session.py")
ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "processes"), [("guide", 2), ("guide", 4), ("cached", 2), ("tiny", 2)])
def test_processes_learn_what_one_does_with_the_batches_of_all(tmp_path, dataset, kind, processes):
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    places = {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src")]), "CUDA_VISIBLE_DEVICES": ""}
    environment = {**os.environ, **places, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*launch, str(SESSION), kind, str(dataset), str(tmp_path / "many"), str(8 // processes)],
        env=environment,
        text=True,
        capture_output=True,
        timeout=180,
    )
    assert done.returncode == 0, done.stderr
    train(kind, dataset, tmp_path / "one", 8)
    for name in PHASE_NAMES.values():
        one, many = (read_metrics(tmp_path / run / name) for run in ("one", "many"))
        assert [line["train_step"] for line in one] == [line["train_step"] for line in many] == [1, 2, 3, 4]
        for left, right in zip(one, many, strict=True):
            losses = [key for key in left if key not in ("phase", "samples_per_s", "cpu_s") and "val_" not in key]
            assert [right[key] for key in losses] == pytest.approx([left[key] for key in losses], rel=2e-4, abs=1e-5)
        bundles = [Bundle.load(tmp_path / run / name / "checkpoint_latest") for run in ("one", "many")]
        assert bundles[0].config["jepa"]["ema_steps"] == bundles[1].config["jepa"]["ema_steps"] == 4
        torch.testing.assert_close(dict(bundles[1].weights), dict(bundles[0].weights), rtol=1e-3, atol=1e-4)
