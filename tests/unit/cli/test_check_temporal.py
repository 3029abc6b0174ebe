"""`tempovla check temporal`."""

from __future__ import annotations

import json

import pytest
import yaml
from tests import recordings
from tests.foreign import Foreign, write_v21
from tests.temporal_system import predicting_system

__all__ = ["predicting_system"]
pytestmark = pytest.mark.usefixtures("predicting_system")

OWN = """
robot_types: {arm: {observation_indices: [0, 4], action_indices: [0, 1, 2, 3]}}
mixtures: {mine: [{dataset: one, robot_type: arm}]}
"""


@pytest.fixture
def arguments(tmp_path):
    """Of a check that passes."""
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"model": {"action_horizon": 4, "temporal_delta_k": 4}}))
    (tmp_path / "own.yaml").write_text(OWN)
    recordings.record(tmp_path / "one", (12, 3))
    config = ("--config-yaml", tmp_path / "config.yaml", "--mixtures", tmp_path / "own.yaml")
    return ("check", "temporal", *config, "--data-mix", "mine")


def test_a_check_that_passes_ends_with_0_and_a_summary(tmp_path, arguments, tempovla):
    answer = tempovla(*arguments, "--check-runtime", "--data-root-dir", tmp_path)
    assert (answer.code, answer.err) == (0, "")
    lines = answer.out.splitlines()
    assert all(line.startswith("[PASS] ") for line in lines[:-1])
    assert "[PASS] targets.one: 8 of 15 steps (53.3%) have a target 4 steps later; 1 of 2 episodes is too short" in (
        answer.out
    )
    assert lines[-1] == f"{len(lines) - 1} checks: {len(lines) - 1} passed, 0 failed, 0 with a warning, 0 skipped"


def test_a_check_that_fails_ends_with_1_and_the_reason(arguments, tempovla):
    answer = tempovla(*arguments[:-1], "bridge")
    assert answer.code == 1
    assert "[FAIL] observes_k.bridge_orig_1.0.0_lerobot: robot type oxe_bridge observes [0], not t + 4" in answer.out


COMMENTED = """
robot_types:
  arm: {observation_indices: [0], action_indices: [0, 1, 2, 3]}  # observation_indices: [0, 4]; image_tk, valid_tk
mixtures: {mine: [{dataset: one, robot_type: arm}]}
"""
RUNTIME = ("--check-runtime", "--data-root-dir")


@pytest.mark.parametrize(
    ("mixture", "own", "options", "reason"),
    [
        ("bridge", OWN, (), "[FAIL] observes_k.bridge_orig_1.0.0_lerobot: "),
        ("robotwin", OWN, (), "[FAIL] mixture: mixture 'robotwin' is unknown"),
        (
            "mine",
            OWN.replace("robot_type: arm", "robot_type: leg"),
            (),
            "[FAIL] robot_type.one: robot type 'leg' is unknown",
        ),
        ("mine", COMMENTED, (), "[FAIL] observes_k.one: robot type arm observes [0], not t + 4"),
        (
            "mine",
            OWN,
            ("--future-action-window-size", 7),
            "[FAIL] chunk.one: a sample holds 4 actions, but the model predicts 8",
        ),
        ("mine", OWN, (*RUNTIME, "nowhere"), "[FAIL] path.one: nowhere/one: no such dataset"),
        ("mine", OWN, (*RUNTIME, "damaged"), "[FAIL] samples.one: "),
    ],
    ids=["no target", "mixture", "robot type", "comments", "chunk", "absent data", "damaged data"],
)
def test_nothing_that_must_hold_fails_in_silence(
    tmp_path, monkeypatch, arguments, tempovla, mixture, own, options, reason
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.yaml").write_text(own)
    write_v21(tmp_path / "damaged" / "one", Foreign(lengths=(9,)))
    (video,) = (tmp_path / "damaged").rglob("*.mp4")
    video.write_bytes(video.read_bytes()[:200])
    answer = tempovla(*arguments[:-1], mixture, *options)
    assert (answer.code, answer.err) == (1, "")
    assert reason in answer.out


def test_programs_read_json_with_an_id_a_severity_and_a_status_of_each(tmp_path, arguments, tempovla):
    answer = tempovla(*arguments, "--json")
    found = json.loads(answer.out)
    assert (answer.code, found["passed"], found["summary"]["fail"]) == (0, True, 0)
    assert {tuple(sorted(check)) for check in found["checks"]} == {("id", "message", "severity", "status")}
    failed = tempovla(
        *arguments, "--check-runtime", "--data-root-dir", tmp_path / "nowhere", "--json", tmp_path / "f.json"
    )
    assert failed.code == 1
    found = json.loads((tmp_path / "f.json").read_text())
    assert [check["id"] for check in found["checks"] if check["status"] == "fail"] == ["path.one"]
    assert not found["passed"]


def test_input_that_cannot_be_used_ends_with_2(tmp_path, arguments, fails):
    assert "config_yaml" in fails("check", "temporal", "--data-mix", "mine").replace("-", "_")
    assert "none.yaml" in fails("check", "temporal", "--config-yaml", tmp_path / "none.yaml", "--data-mix", "mine")
    assert "neither a file nor a config" in fails("check", "temporal", "--config-yaml", "none", "--data-mix", "mine")
    assert "--data-mix is not given" in fails(*arguments[:-2])
    assert "--data-root-dir is not given" in fails(*arguments, "--check-runtime")
    assert "max_trajectories=0 must be at least 1" in fails(*arguments, "--max-trajectories", 0)
    (tmp_path / "config.yaml").write_text("model: [1")
    assert "config.yaml: no YAML" in fails(*arguments)
