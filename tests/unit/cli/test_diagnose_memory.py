"""`tempovla diagnose memory`."""

from __future__ import annotations

import json

import pytest
from tests.tiny import vla_yaml

CONTEXT = {"temporal": {"encoder_type": "lstm", "hidden_dim": 8}, "stride": 2, "sequence_length": 3}


@pytest.fixture
def checkpoint(tmp_path, dataset, tempovla):
    """A tiny VLA that remembers, trained for two steps."""
    (tmp_path / "small.yaml").write_text(vla_yaml({"action_head": "mlp", "context": CONTEXT}, train_steps=2))
    answer = tempovla(
        *("train", "vla", "--config", tmp_path / "small.yaml", "--dataset", dataset, "--output-dir", tmp_path / "run")
    )
    assert answer.code == 0, answer.err
    return tmp_path / "run" / "checkpoint_latest"


def test_a_policy_that_remembers_is_diagnosed(tmp_path, dataset, checkpoint, tempovla, fails):
    arguments = ("diagnose", "memory", "--checkpoint", checkpoint, "--dataset", dataset, "--resamples", 100)
    answer = tempovla(*arguments, "--json", tmp_path / "mine.json", "--output-dir", tmp_path / "out")
    assert answer.code == 0, answer.err
    lines = answer.out.splitlines()
    assert lines[0].startswith("15 decisions of 3 episodes (1 held out in training), one every 2 control steps")
    assert [line.split("  ")[0] for line in lines[3:12]] == [
        *("full context", "past shuffled", "past removed", "past of another episode"),
        *("last 1 frame", "last 2 frames", "last 4 frames", "all frames", "the mean action"),
    ]
    assert len(lines) < 25
    found = json.loads((tmp_path / "out" / "diagnosis.json").read_text())
    assert found == json.loads((tmp_path / "mine.json").read_text())
    assert f"{found['conditions']['removed']['error']:.4f}" in lines[5]
    assert lines[-1] == f"report: {tmp_path / 'out' / 'diagnosis.html'}"
    assert "Does history help vla?" in (tmp_path / "out" / "diagnosis.html").read_text()
    said = fails(*arguments, "--episodes", 1)
    assert "episodes=1 must be at least 2" in said
    assert "holds checkpoints, but is none itself; give" in fails(
        "diagnose", "memory", "--checkpoint", tmp_path, "--dataset", dataset
    )


def test_a_policy_of_one_frame_is_told_that_it_has_no_length(tmp_path, dataset, small_statevla, tempovla):
    assert tempovla("train", "statevla", "--out", tmp_path / "run", *small_statevla).code == 0
    checkpoint = tmp_path / "run" / "phase2_flow_matching" / "checkpoint_latest"
    answer = tempovla("diagnose", "memory", "--checkpoint", checkpoint, "--dataset", dataset, "--stride", 3)
    assert answer.code == 0, answer.err
    assert "sees one frame, so there are no lengths to compare" in answer.out
    assert "R^2 of the next action predicted from the last alone: expert" in answer.out
    assert "The policy sees one frame: it has no past." in answer.out
