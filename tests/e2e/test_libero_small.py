"""StateVLA on LIBERO-Object, small, as a user runs it: collect, both phases, offline and simulated evaluation.

All in one process, for simulators of their own processes are what the tests of the commands start.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from tests.command_line import logging_as_before  # noqa: F401  commands configure it
from tests.in_process import simulators_in_process

from tempovla.cli.main import main

pytestmark = [pytest.mark.slow, pytest.mark.sim]

TASKS = ("pick_up_the_bbq_sauce_and_place_it_in_the_basket", "pick_up_the_milk_and_place_it_in_the_basket")
SMALL = {
    "model.image_size": 32,
    "model.embed_dim": 32,
    "model.encoder_depth": 2,
    "model.state_dim": 32,
    "model.policy_layers": 1,
    "model.policy_embed_dim": 32,
    "batch_size": 8,
    "training.phase1.train_steps": 4,
    "training.phase2.train_steps": 4,
    "training.num_threads": 1,
}


@pytest.fixture
def tempovla(libero_assets, tmp_path, monkeypatch, capsys):
    """Run a command in a folder of its own, and give back its standard output."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TEMPOVLA_LIBERO_ASSETS", str(libero_assets))

    def run(*words: object) -> str:
        code = main([str(word) for word in words])
        captured = capsys.readouterr()
        assert code == 0, captured.err
        return captured.out

    with simulators_in_process():
        yield run


def test_from_demonstrations_to_success_rates_by_the_command_line(tempovla, tmp_path):
    collect = (
        *("collect", "libero", "--suite", "libero_object", "--tasks", ",".join(TASKS), "--episodes-per-task", 1),
        *("--image-size", 32, "--rendering", "fast", "--seed", 1, "--workers", 1, "--out", "data"),
    )
    said = tempovla(*collect)
    assert said.splitlines()[0].endswith("1 demonstration of each of 2 tasks")
    assert all(re.search(rf"^{task} +100% +\[21%, 100%\] of 1, ", said, re.MULTILINE) for task in TASKS)
    again = json.loads(tempovla(*collect, "--json"))  # nothing is left to do
    assert [again["expert"]["tasks"][task]["episodes"] for task in TASKS] == [1, 1]
    assert sorted(path.name for path in (tmp_path / "data" / "hdf5").glob("*.hdf5")) == [
        f"{task}_demo.hdf5" for task in TASKS
    ]
    for form in ("hdf5", "lerobot"):
        assert json.loads(tempovla("data", "inspect", f"data/{form}", "--json"))["episodes"] == 2

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
    tempovla(*evaluate, "--trials", 1, "--workers", 1, "--max_steps", 8, "--json", "a.json")
    results = json.loads((tmp_path / "a.json").read_text())
    assert [trial["init_state"] for trial in results["episodes"]] == [0, 0]
    for block in results["tasks"].values():
        low, high = block["ci95"]
        assert 0 <= low <= block["success"] <= high <= 1
    assert "no difference" in tempovla("eval", "compare", "a.json", "a.json")
