"""Driving in a small town, as a user runs it: collect, train, and evaluate open loop and closed loop.

All in one process, for simulators of their own processes are what the tests of the commands start.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.command_line import logging_as_before  # noqa: F401  commands configure it
from tests.in_process import simulators_in_process
from tests.small_town import NEEDS

from tempovla.cli.main import main
from tempovla.data.nuscenes.source import open_nuscenes

pytestmark = [pytest.mark.slow, pytest.mark.sim]
for name in NEEDS:
    pytest.importorskip(name, reason=f"{name} is not installed: pip install -e '.[driving]'")

CONFIG = Path(__file__).resolve().parents[2] / "configs" / "driving_city.yaml"
TOWN = ("--town", "crossing", "--vehicles", 6, "--pedestrians", 4, "--route_least_m", 100, "--route_most_m", 150)
DEPTH_KEY = "observation.depth.front"
DEPTH = {"encoder": "depth", "output_dim": 16, "kind": "depth", "shape": [56, 100, 1], "key": DEPTH_KEY}
SMALL = {
    "model.image_size": "[56, 96]",
    "model.front_size": "[56, 100]",
    "model.front_tokens": "[2, 3]",
    "model.bev_tokens": 4,
    "model.bev_dim": 16,
    "model.bev_blocks": 1,
    "model.width": 16,
    "model.max_lidar_points": 512,
    "model.feature_dim": 32,
    "model.own_sensors": json.dumps({"depth": DEPTH}),
    "data.validation_batches": 1,
    "training.batch_size": 2,
    "training.train_steps": 4,
    "training.warmup_steps": 1,
}


@pytest.fixture
def tempovla(tmp_path, monkeypatch, capsys):
    """Run a command in a folder of its own, and give back its standard output."""
    monkeypatch.chdir(tmp_path)

    def run(*words: object) -> str:
        code = main([str(word) for word in words])
        captured = capsys.readouterr()
        assert code == 0, captured.err
        return captured.out

    with simulators_in_process():
        yield run


def test_from_scenes_to_a_drive_without_lidar_by_the_command_line(tempovla, tmp_path):
    tempovla(
        *("collect", "driving", "--tasks", "day,night", "--scenes", 2, "--seconds", 5, "--seed", 2, *TOWN),
        *("--image_height", 56, "--image_width", 100, "--supersample", 1, "--lidar_azimuths", 60),
        *("--depth", "true", "--workers", 1, "--out", "city"),
    )
    source = open_nuscenes("city")
    assert len(source) == 2
    assert source.recording["image_height"] == 56
    assert source.streams[DEPTH_KEY].shape == (56, 100, 1)
    small = [word for name, value in SMALL.items() for word in (f"--{name}", value)]
    tempovla("train", "driving", "--config", CONFIG, "--dataset", "city", *small, "--out", "run")
    checkpoint = ("--checkpoint", "run/checkpoint_latest")
    bundle = json.loads((tmp_path / "run" / "checkpoint_latest" / "bundle.json").read_text())
    assert DEPTH_KEY in {window["key"] for window in bundle["windows"]}
    tempovla("eval", "offline", *checkpoint, "--dataset", "city", "--split", "all", "--json", "offline.json")
    assert json.loads((tmp_path / "offline.json").read_text())
    tempovla(
        *("eval", "driving", *checkpoint, "--tasks", "night", "--episodes", 1, "--max_steps", 4, "--workers", 1),
        *("--execution_horizon", 1, "--without", '["lidar"]', "--json", "driven.json", *TOWN),
    )
    results = json.loads((tmp_path / "driven.json").read_text())
    assert results["tasks"]["night"]["episodes"] == 1
    assert "completion" in json.dumps(results["tasks"]["night"]["figures"])
