"""The benchmark of planners plays the episodes of an evaluation with every planner, once; the model has not learned."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.in_process import simulators_in_process
from tests.line_worlds import replay_of

from tempovla.env.dm_control import DmControlConfig
from tempovla.model.vla.tdmpc_config import TDMPCConfig
from tempovla.model.vla.world_model_config import WorldModelConfig
from tempovla.model.vla.world_model_policy import WorldModelPolicy
from tempovla.model.world_model.dynamics_config import LatentDynamicsConfig
from tempovla.model.world_model.planning.config import PlannerConfig
from tempovla.recipe.evaluation.simulators import evaluate
from tempovla.rollout.evaluate import EvaluationConfig
from tempovla.timeline import Bundle
from tempovla.timeline.config import config_to_json
from tempovla.timeline.keys import ACTION_KEY, REWARD_KEY, STATE_KEY

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
SWINGUP = DmControlConfig(task="cartpole-swingup", render=False, max_steps=4)
INVERSE = "inverse dynamics towards a goal"


@pytest.fixture
def planners(monkeypatch) -> Any:
    """The benchmark, whose episodes are short."""
    pytest.importorskip("dm_control")
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.delitem(sys.modules, "planners", raising=False)
    monkeypatch.setattr(DmControlConfig, "from_recording", lambda *_, **__: SWINGUP)
    return importlib.import_module("planners")


def save(run: Path, *, inverse_dynamics: float = 0.0) -> Path:
    """A checkpoint of random weights, and the replay of its run, whose second episode has the highest reward."""
    state = np.linspace(0.0, 1.0, 15, dtype=np.float32).reshape(3, 5)
    rewards = np.array([[0.0], [0.1], [0.0]], np.float32)
    first = {STATE_KEY: state, ACTION_KEY: state[:, :1], REWARD_KEY: rewards}
    replay_of(run / "replay", first, first | {STATE_KEY: -state, REWARD_KEY: 9 * rewards}, body=SWINGUP.embodiment)
    dynamics = LatentDynamicsConfig(latent_dim=16, group_dim=4, encoder_dim=8, hidden_dim=16, num_values=2, bins=11)
    learning = TDMPCConfig(dynamics=dynamics, inverse_dynamics_weight=inverse_dynamics, inverse_dynamics_steps=(1, 2))
    search = PlannerConfig(num_samples=8, num_elites=2, iterations=2, num_policy_samples=2)
    torch.manual_seed(0)
    sizes = {"robot_state_dim": 5, "action_dim": 1}
    policy = WorldModelPolicy(WorldModelConfig(**sizes, planner=search, tdmpc=learning))
    place, config = run / "checkpoints" / "step_00000001", config_to_json(policy.config)
    weights = policy.state_dict()
    Bundle("world-model", config, policy.windows(), SWINGUP.embodiment, {"steps": []}, weights, {}).save(place)
    return place


def words_of(checkpoint: Path, json_file: Path, *more: str) -> list[str]:
    given = ["--checkpoint", str(checkpoint), "--task", "cartpole-swingup", "--episodes", "2", "--json", str(json_file)]
    return [*given, "--seed", "7", "--simulator-candidates", "4", *more]


def returns_of(json_file: Path) -> dict[str, list[float]]:
    (rows,) = json.loads(json_file.read_text()).values()
    return {name: [episode["return"] for episode in row["episodes"].values()] for name, row in rows.items()}


def test_each_planner_plays_the_episodes_of_an_evaluation_once(planners, tmp_path, monkeypatch, capsys):
    checkpoint = save(tmp_path / "run", inverse_dynamics=1.0)
    planners.main(words_of(checkpoint, tmp_path / "found.json"))
    found, shown = returns_of(tmp_path / "found.json"), capsys.readouterr().out
    assert list(found) == [
        "policy alone",
        "random shooting",
        "CEM",
        "iCEM",
        "MPPI",
        INVERSE,
        "CEM towards the same goal",
        "the true simulator",
    ]
    config = EvaluationConfig(episodes=2, seed=7, max_steps=SWINGUP.max_steps, num_envs=1, workers=1)
    with simulators_in_process():
        results = evaluate(checkpoint, "dmc", ["cartpole-swingup"], config)
    assert found["MPPI"] == pytest.approx([each["total_reward"] for each in results["episodes"]], rel=1e-5)
    assert len({tuple(each) for each in found.values()}) > 4
    rows = [line.split("|") for line in shown.splitlines() if "[" in line]
    p_values = {row[1].strip(): row[3].strip() for row in rows}
    differences = {name: np.subtract(each, found["MPPI"]) for name, each in found.items() if name != "MPPI"}
    assert p_values == {name: "0.5" if a * b > 0 else "1" for name, (a, b) in differences.items()} | {"MPPI": ""}
    for cell in ("| 1 of 1 |", "| 1 x 16 of 3 |", "| 2 x 8 of 3 |", "| 1 of 2 |", "| 2 x 8 of 2 |", "| 2 x 4 of 3 |"):
        assert cell in shown

    def again(*_: Any) -> None:
        raise AssertionError("an episode is played again")

    for name in ("played", "play_with_simulator"):
        monkeypatch.setattr(planners, name, again)
    planners.main(words_of(checkpoint, tmp_path / "found.json"))
    assert capsys.readouterr().out == shown
    goal = f"--goal={tmp_path}/run/replay:0"
    for name, option in (("the true simulator", "--simulator-candidates=5"), (INVERSE, goal)):
        with pytest.raises(ValueError, match=f"'{name}' was played with other settings"):
            planners.main(words_of(checkpoint, tmp_path / "found.json", option))


def test_without_inverse_dynamics_the_rows_towards_a_goal_are_left_out(planners, tmp_path, capsys):
    checkpoint = save(tmp_path / "run")
    planners.main(words_of(checkpoint, tmp_path / "found.json", "--episodes", "1", "--simulator-candidates", "0"))
    assert list(returns_of(tmp_path / "found.json")) == ["policy alone", "random shooting", "CEM", "iCEM", "MPPI"]
    assert "has learned no inverse dynamics, so the rows towards a goal are left out" in capsys.readouterr().out


def test_what_cannot_be_compared_is_told_in_one_line(planners, tmp_path):
    dreamer = Bundle("world-model", {"algorithm": "dreamer"}, (), SWINGUP.embodiment, {}, {})
    with pytest.raises(ValueError, match=r"of 'dreamer'; give one of train world-model --algorithm tdmpc"):
        planners.model_of(dreamer, tmp_path)
    with pytest.raises(ValueError, match="--episodes=0 must be at least 1"):
        planners.options_of(words_of(tmp_path, tmp_path / "found.json", "--episodes", "0"))
    (tmp_path / "found.json").write_text('{"a": {"MPPI": 3}}')
    with pytest.raises(ValueError, match=r"found\.json: 'MPPI' holds no episodes of a planner; remove it, or give"):
        planners.Store(tmp_path / "found.json", "a").missing("MPPI", {}, 1)
