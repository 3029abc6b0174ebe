"""A short form of benchmarks/kill_training.py."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "kill_training.py"


@pytest.mark.filterwarnings("ignore")
def test_training_that_is_killed_at_random_moments_ends_as_training_that_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    specification = importlib.util.spec_from_file_location("kill_training", SCRIPT)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    monkeypatch.setitem(sys.modules, "kill_training", module)
    monkeypatch.setattr(sys, "path", [*sys.path])
    torch.set_num_threads(1)
    specification.loader.exec_module(module)
    figures = module.compare(tmp_path, kills=4, steps=16, seed=0)
    assert vars(figures) == {
        "kills": 4,
        "unloadable": 0,
        "same_weights": True,
        "same_metrics": True,
        "left_over": [],
    }
