"""Waiting for a training in another process."""

from __future__ import annotations

import time
from pathlib import Path

from tempovla.training.metrics import read_metrics


def wait_for_step(run_dir: Path, train_step: int) -> None:
    deadline_s = time.monotonic() + 600
    while not (lines := read_metrics(run_dir)) or lines[-1]["train_step"] < train_step:
        assert time.monotonic() < deadline_s, f"no step {train_step} in {run_dir}"
        time.sleep(0.002)
