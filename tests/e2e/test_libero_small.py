"""StateVLA on LIBERO-Object, small, as a user runs it: collect, both phases, offline and simulated evaluation."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.sim]

TASKS = ("pick_up_the_butter_and_place_it_in_the_basket", "pick_up_the_milk_and_place_it_in_the_basket")
TIMEOUT_S = 600
SMALL = {
    "model.image_size": 64,
    "model.embed_dim": 32,
    "model.encoder_depth": 2,
    "model.state_dim": 32,
    "model.policy_layers": 1,
    "model.policy_embed_dim": 32,
    "batch_size": 8,
    "training.phase1.train_steps": 6,
    "training.phase2.train_steps": 6,
    "training.num_threads": 1,
}


@pytest.fixture
def tempovla(libero_assets, tmp_path):
    """Run a command in a folder of its own, and give back its standard output."""

    def run(*words: object) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "tempovla.cli", *map(str, words)],
            cwd=tmp_path,
            env=os.environ | {"TEMPOVLA_LIBERO_ASSETS": str(libero_assets)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_from_demonstrations_to_success_rates_by_the_command_line(tempovla, tmp_path):
    tempovla(
        *("collect", "libero", "--suite", "libero_object", "--tasks", ",".join(TASKS), "--episodes-per-task", 2),
        *("--image-size", 64, "--rendering", "fast", "--seed", 1, "--workers", 2, "--out", "data"),
    )
    assert sorted(path.name for path in (tmp_path / "data" / "hdf5").glob("*.hdf5")) == [
        f"{task}_demo.hdf5" for task in TASKS
    ]
    facts = json.loads(tempovla("data", "inspect", "data/hdf5", "--json"))
    assert facts["episodes"] == 4

    config = Path(__file__).parents[2] / "configs" / "statevla_libero_object.yaml"
    settings = [word for name, value in SMALL.items() for word in (f"--{name}", value)]
    train = ("train", "statevla", "--config", config, "--data.data_directory", "data/hdf5", *settings)
    tempovla(*train, "--phase", 1)
    phase1 = tmp_path / "checkpoints" / "phase1_temporal_jepa"
    tempovla(*train, "--phase", 2, "--phase1_checkpoint", phase1 / "checkpoint_latest")
    checkpoint = tmp_path / "checkpoints" / "phase2_flow_matching" / "checkpoint_latest"

    offline = json.loads(tempovla("eval", "offline", "--checkpoint", checkpoint, "--split", "all", "--json"))
    assert set(offline["dimensions"]) == {"x", "y", "z", "rx", "ry", "rz", "gripper"}

    evaluate = ("eval", "libero", "--checkpoint", checkpoint, "--suite", "libero_object", "--tasks", ",".join(TASKS))
    for name, workers in (("a.json", 1), ("b.json", 2)):
        tempovla(*evaluate, "--trials", 1, "--workers", workers, "--max_steps", 24, "--json", name)
    assert (tmp_path / "a.json").read_text() == (tmp_path / "b.json").read_text()
    results = json.loads((tmp_path / "a.json").read_text())
    assert [trial["init_state"] for trial in results["episodes"]] == [0, 0]
    for block in results["tasks"].values():
        low, high = block["ci95"]
        assert 0 <= low <= block["success"] <= high <= 1
    assert "no difference" in tempovla("eval", "compare", "a.json", "b.json")
