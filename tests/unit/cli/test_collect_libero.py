"""`tempovla collect libero`: what it refuses; a run is in `tests/e2e/test_libero_small.py`."""

from __future__ import annotations

from pathlib import Path

import pytest

TASK = "pick_up_the_bbq_sauce_and_place_it_in_the_basket"
COLLECT = ["collect", "libero", "--episodes-per-task", 1]


@pytest.mark.sim
def test_unknown_names_are_answered_with_the_nearest(tmp_path: Path, fails, libero_assets: Path) -> None:
    out = ["--out", tmp_path / "data"]
    assert "did you mean libero_object?" in fails(*COLLECT, *out, "--suite", "libero_objects")
    assert f"did you mean {TASK}?" in fails(*COLLECT, *out, "--tasks", TASK.replace("bbq", "bq"))
    assert "no scripted expert for libero_goal" in fails(*COLLECT, *out, "--suite", "libero_goal")
    assert not any(tmp_path.iterdir())


def test_a_folder_and_at_least_one_worker_are_needed(tmp_path: Path, fails) -> None:
    assert "--out names no folder; give one, or --dry-run" in fails(*COLLECT)
    assert fails(*COLLECT, "--out", tmp_path / "data", "--workers", 0).endswith("--workers 0 must be at least 1")
