"""`tempovla collect libero`: what it refuses, and a run."""

from __future__ import annotations

import json
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


@pytest.mark.sim
@pytest.mark.slow
def test_it_records_and_says_how_the_expert_fared(
    tmp_path: Path, in_process: None, tempovla, libero_assets: Path
) -> None:
    options = ["--tasks", TASK, "--image-size", 16, "--rendering", "fast", "--workers", 1, "--out", tmp_path]
    answer = tempovla(*COLLECT, *options)
    assert answer.code == 0, answer.err
    assert answer.out.splitlines()[0].endswith("1 demonstration of one task")
    assert f"{TASK}  100%  [21%, 100%] of 1, " in answer.out
    again = json.loads(tempovla(*COLLECT, *options, "--json").out)  # nothing is left to do
    assert again["expert"]["tasks"][TASK]["episodes"] == 1
    assert (tmp_path / "hdf5" / f"{TASK}_demo.hdf5").is_file()
    assert json.loads(tempovla("data", "inspect", tmp_path / "lerobot", "--json").out)["episodes"] == 1
