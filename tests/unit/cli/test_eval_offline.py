"""`tempovla eval offline`."""

from __future__ import annotations

import json


def test_a_trained_policy_is_compared_with_held_out_demonstrations(tmp_path, small_statevla, tempovla, fails):
    assert tempovla("train", "statevla", "--out", tmp_path / "run", *small_statevla).code == 0
    checkpoint = tmp_path / "run" / "phase2_flow_matching" / "checkpoint_latest"
    answer = tempovla("eval", "offline", "--checkpoint", checkpoint, "--split", "all")
    lines = answer.out.splitlines()
    assert "3 episodes" in lines[0]
    actions, predictions = lines[: lines.index("")], lines[lines.index("") + 1 :]
    assert actions[-1].startswith("mean")
    assert predictions[0].startswith("predictions of the world model from ")
    figures = json.loads(tempovla("eval", "offline", "--checkpoint", checkpoint, "--split", "all", "--json").out)
    assert f"{figures['mse']:.6f}" == actions[-1].split()[1]
    assert len(figures["dimensions"]) == 2
    assert "gripper_accuracy" not in figures
    assert figures["predictions"]["horizons"][0] == figures["predictions"]["stride"]
    too_far = fails("eval", "offline", "--checkpoint", checkpoint, "--split", "all", "--horizon", 10_000)
    assert "horizon=10000 is longer than every episode of " in too_far
    assert "; use --horizon " in too_far
    assert "bundle.json: no such file" in fails("eval", "offline", "--checkpoint", tmp_path)
