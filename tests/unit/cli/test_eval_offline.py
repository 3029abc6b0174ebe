"""`tempovla eval offline`."""

from __future__ import annotations

import json


def test_a_trained_policy_is_compared_with_held_out_demonstrations(tmp_path, small_statevla, tempovla, fails):
    assert tempovla("train", "statevla", "--out", tmp_path / "run", *small_statevla).code == 0
    checkpoint = tmp_path / "run" / "phase2_flow_matching" / "checkpoint_latest"
    answer = tempovla("eval", "offline", "--checkpoint", checkpoint, "--split", "all")
    lines = answer.out.splitlines()
    assert "3 episodes" in lines[0]
    assert lines[-1].startswith("mean")
    figures = json.loads(tempovla("eval", "offline", "--checkpoint", checkpoint, "--split", "all", "--json").out)
    assert f"{figures['mse']:.6f}" == lines[-1].split()[1]
    assert len(figures["dimensions"]) == 2
    assert "gripper_accuracy" not in figures
    assert "bundle.json: no such file" in fails("eval", "offline", "--checkpoint", tmp_path)
