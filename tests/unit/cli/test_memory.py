"""`tempovla collect memory` and `eval memory`: refusals, and a small round trip."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

CONFIG = Path(__file__).resolve().parents[3] / "configs" / "statevla_metaworld.yaml"


def test_unknown_tasks_and_impossible_numbers_are_refused(tmp_path, fails):
    collect = ["collect", "memory", "--out", tmp_path / "data"]
    assert "did you mean colour-cue?" in fails(*collect, "--tasks", "color-cue", "--episodes", 1)
    assert fails(*collect, "--tasks", "colour-cue", "--episodes", 0) == "--episodes 0 must be at least 1"
    assert "cue_steps=0" in fails(*collect, "--tasks", "colour-cue", "--episodes", 1, "--cue_steps", 0)
    evaluate = ["eval", "memory", "--checkpoint", tmp_path, "--tasks"]
    assert "no task 'push-v3' of the memory benchmark" in fails(*evaluate, "push-v3")
    assert not any(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.sim
def test_demonstrations_train_a_policy_that_is_evaluated(tmp_path, in_process, tempovla, fails):
    data, run = tmp_path / "data", tmp_path / "run"
    collect = ["collect", "memory", "--tasks", "colour-cue,hidden-goal", "--out", data, "--seed", 3, "--episodes", 1]
    collect += ["--cue_steps", 3, "--delay_steps", 6]
    assert json.loads(tempovla(*collect, "--json").out)["episodes"] == 2
    assert "delay_steps was 6, and is 7 now" in fails(*collect[:-1], 7)
    facts = json.loads(tempovla("data", "inspect", data, "--json").out)
    assert facts["tasks"] == [
        "touch the pad that has the colour of the lamp",
        "touch the table where the green ball was",
    ]

    config = ["--config", CONFIG, "--data.data_directory", data, "--out", run]
    steps = ["--training.phase1.train_steps", 2, "--training.phase2.train_steps", 2, "--training.batch_size", 4]
    assert tempovla("train", "statevla", *config, *steps).code == 0
    assert facts["recording"] == {"simulator": "memory", "cue_steps": 3, "delay_steps": 6, "house": 0}
    checkpoint = run / "phase2_flow_matching" / "checkpoint_latest"
    evaluate = ["eval", "memory", "--checkpoint", checkpoint, "--tasks", "colour-cue", "--episodes", 2]
    answer = tempovla(*evaluate, "--max_steps", 12, "--json", run / "results.json")
    assert answer.code == 0, answer.err
    results = json.loads((run / "results.json").read_text())
    assert results["title"] == "statevla on the memory benchmark"
    assert results["simulator"]["name"] == "memory"
    assert (results["simulator"]["cue_steps"], results["simulator"]["delay_steps"]) == (3, 6)  # as was collected
    assert results["execution_horizon"] == 6
    assert [episode["steps"] for episode in results["episodes"]] == [12, 12]
    longer = fails(*evaluate, "--execution_horizon", 8)
    assert longer.startswith("execution_horizon=8 is more than delay_steps + 1 = 7")
