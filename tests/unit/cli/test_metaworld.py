"""`tempovla collect metaworld`, `eval metaworld` and `demo`: what needs no simulator, and then a small round trip."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from tests.tiny import tiny_statevla_config

from tempovla.model.vla.statevla import StateVLA
from tempovla.timeline import Bundle, Embodiment
from tempovla.timeline.config import config_to_json
from tempovla.transform.pipeline import TransformPipeline

CONFIG = Path(__file__).resolve().parents[3] / "configs" / "statevla_metaworld.yaml"
SAWYER = Embodiment("metaworld_sawyer", 4, 4, 80.0)
SMALL = tiny_statevla_config(cameras=("observation.images.corner2",), robot_state_dim=4, action_seq_len=8)


@pytest.fixture
def checkpoint(tmp_path) -> Bundle:
    """An untrained policy; save it after changing what should be wrong with it."""
    policy = StateVLA(SMALL)
    transform = TransformPipeline([]).to_json()
    config, weights = config_to_json(SMALL), policy.state_dict()
    return Bundle("statevla", config, policy.windows(), SAWYER, transform, weights, {"phase": 2})


def test_unknown_tasks_and_impossible_numbers_are_refused(tmp_path, fails):
    collect = ["collect", "metaworld", "--out", tmp_path / "data"]
    assert "no Meta-World task 'psh-v3'" in fails(*collect, "--tasks", "psh-v3", "--episodes", 1)
    assert "names nothing" in fails(*collect, "--tasks", ",", "--episodes", 1)
    assert fails(*collect, "--tasks", "push-v3", "--episodes", 0) == "--episodes 0 must be at least 1"
    evaluate = ["eval", "metaworld", "--checkpoint", tmp_path]
    assert "no Meta-World task 'psh-v3'" in fails(*evaluate, "--tasks", "psh-v3")
    assert "episodes=0 must be at least 1" in fails(*evaluate, "--tasks", "push-v3", "--episodes", 0)
    assert "demonstrations=0 must be at least 1" in fails("demo", "--out", tmp_path, "--demonstrations", 0)
    assert not any(tmp_path.iterdir())


def test_demonstrations_are_not_added_to_someone_elses(dataset, fails):
    collect = ["collect", "metaworld", "--out", dataset, "--tasks", "push-v3", "--episodes", 5]
    assert "collect.json: no such file; choose another folder" in fails(*collect)


def test_checkpoints_that_cannot_act_here_are_refused(tmp_path, checkpoint, fails):
    def refusal(bundle: Bundle) -> str:
        bundle.save(tmp_path / "checkpoint")
        return fails("eval", "metaworld", "--checkpoint", tmp_path / "checkpoint", "--tasks", "push-v3")

    assert "of phase 1 has not learned to act yet" in refusal(replace(checkpoint, provenance={"phase": 1}))
    assert "made for g1 with 26 state and 26 action" in refusal(
        replace(checkpoint, embodiment=Embodiment("g1", 26, 26, 30.0))
    )
    assert "policy 'other' is unknown" in refusal(replace(checkpoint, policy="other"))
    fewer = {name: tensor for name, tensor in checkpoint.weights.items() if name != "encoder.tokenizer.cls"}
    assert "lacks weight 'encoder.tokenizer.cls'" in refusal(replace(checkpoint, weights=fewer))
    weights = tmp_path / "checkpoint" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    evaluate = ["eval", "metaworld", "--tasks", "push-v3", "--checkpoint"]
    assert f"{weights}: not readable" in fails(*evaluate, tmp_path / "checkpoint")
    assert f"{tmp_path / 'bundle.json'}: no such file" in fails(*evaluate, tmp_path)


def test_a_folder_with_something_else_is_no_demo(tmp_path, fails):
    (tmp_path / "thesis.tex").write_text("")
    assert "choose another folder" in fails("demo", "--out", tmp_path)
    (tmp_path / "demo.json").write_text("{}")
    (tmp_path / "dataset" / "data").mkdir(parents=True)  # without a demonstration, other settings would do no harm
    assert "holds a demo that was begun with --tasks unknown" in fails("demo", "--out", tmp_path)


@pytest.mark.slow
@pytest.mark.sim
def test_demonstrations_train_a_policy_whose_rollouts_are_a_dataset_again(tmp_path, in_process, tempovla, fails):
    data, run, rollouts = (tmp_path / name for name in ("data", "run", "rollouts"))
    collect = ["collect", "metaworld", "--tasks", "drawer-open-v3,window-open-v3", "--out", data, "--seed", 3, "--json"]
    assert json.loads(tempovla(*collect, "--episodes", 1).out)["episodes"] == 2
    assert json.loads(tempovla(*collect, "--episodes", 1).out)["episodes"] == 2  # nothing is left to do
    assert "collect.json: episodes was 1, and is 2 now" in fails(*collect, "--episodes", 2)

    config = ["--config", CONFIG, "--data.data_directory", data, "--out", run]
    steps = ["--training.phase1.train_steps", 2, "--training.phase2.train_steps", 2, "--training.batch_size", 4]
    assert tempovla("train", "statevla", *config, *steps).code == 0

    checkpoint = run / "phase2_flow_matching" / "checkpoint_latest"
    evaluate = ["eval", "metaworld", "--checkpoint", checkpoint, "--tasks", "drawer-open-v3", "--max_steps", 12]
    answer = tempovla(*evaluate, "--episodes", 2, "--seed", 5, "--json", run / "results.json", "--record", rollouts)
    assert answer.code == 0, answer.err
    assert answer.out.startswith("drawer-open-v3    0%")
    results = json.loads((run / "results.json").read_text())
    assert results["tasks"]["drawer-open-v3"]["episodes"] == 2
    assert results["tasks"]["drawer-open-v3"]["instruction"] == "open the drawer"
    assert [episode["steps"] for episode in results["episodes"]] == [12, 12]

    facts = json.loads(tempovla("data", "inspect", rollouts, "--json").out)
    assert (facts["episodes"], facts["frames"], facts["tasks"]) == (2, 24, ["open the drawer"])
    assert tempovla("report", run, "--out", run / "report.html").code == 0
    assert "open the drawer" in (run / "report.html").read_text()
