"""`tempovla eval dmc`, `eval gym` and `collect dmc`: what is refused in one line, and the help."""

from __future__ import annotations

import json
from contextlib import nullcontext
from dataclasses import replace

import pytest
from tests.line_worlds import bundle_of as line_bundle
from tests.line_worlds import frames, replay_of
from tests.line_worlds import policy_of as line_policy
from tests.tiny import tiny_statevla_config

from tempovla.cli.main import commands
from tempovla.env.registry import SIMULATOR_REGISTRY, WITHOUT_EXPERTS, simulator_class
from tempovla.model.vla.statevla import StateVLA
from tempovla.model.vla.world_model_policy import WorldModelPolicy
from tempovla.report.tables import score_table
from tempovla.timeline import Bundle, Embodiment
from tempovla.timeline.config import config_to_json

pytest.importorskip("dm_control")

from tempovla.env.dm_control import DmControlConfig


@pytest.mark.parametrize("simulator", ["dmc", "gym"])
def test_the_help_shows_an_example_and_the_repeats(simulator, tempovla):
    for verb in ("eval", "collect"):
        shown = tempovla(verb, simulator, "--help").out
        assert f"tempovla {verb} {simulator}" in shown
        assert "--action_repeat" in shown


@pytest.mark.parametrize("name", SIMULATOR_REGISTRY)
def test_the_help_promises_experts_exactly_where_there_are_some(name):
    listed = commands()[f"collect {name}"][1]
    assert ("scripted experts" in listed) == (name not in WITHOUT_EXPERTS)
    refused = pytest.raises(ValueError, match="has no scripted experts") if name in WITHOUT_EXPERTS else nullcontext()
    with refused:
        simulator_class(name)().experts()


@pytest.mark.parametrize("simulator", sorted(WITHOUT_EXPERTS))
def test_the_help_without_experts_shows_how_to_record_a_policy(simulator, tempovla):
    shown = tempovla("collect", simulator, "--help").out
    assert f"tempovla eval {simulator} --checkpoint" in shown
    assert "--record" in shown
    assert f"tempovla collect {simulator} --tasks" not in shown


def test_there_is_nothing_to_collect(tmp_path, fails):
    told = fails("collect", "dmc", "--episodes", 1, "--out", tmp_path / "data")
    assert told.startswith("DeepMind Control has no scripted experts to record; collect in metaworld, memory or libero")
    assert not any(tmp_path.iterdir())


def test_unknown_tasks_and_other_bodies_are_refused(tmp_path, fails):
    place = tmp_path / "checkpoint"
    config = tiny_statevla_config(cameras=("observation.images.0",), robot_state_dim=4, action_dim=4)
    policy, body = StateVLA(config), Embodiment("arm", 4, 4, 10.0)
    arguments = (config_to_json(config), policy.windows(), body, {"steps": []}, policy.state_dict(), {"phase": 2})
    Bundle("statevla", *arguments).save(place)
    assert "did you mean cup-catch?" in fails("eval", "dmc", "--checkpoint", place, "--tasks", "cup_catch")
    told = fails("eval", "dmc", "--checkpoint", place, "--tasks", "cup-catch")
    assert "made for arm with 4 state and 4 action dimensions, but DeepMind Control's has 8 and 2" in told
    assert "name them: --tasks cartpole-swingup" in fails("eval", "dmc", "--checkpoint", place)
    told = fails("eval", "gym", "--checkpoint", place, "--tasks", "CartPole-v1")
    assert told == "task: CartPole-v1 has actions of Discrete; choose a task with continuous actions"
    assert "give --plugin os and X-v0" in fails("eval", "gym", "--checkpoint", place, "--tasks", "os:X-v0")
    told = fails("eval", "dmc", "--checkpoint", place, "--tasks", "cup-catch,reacher-easy")
    assert "cup-catch has 8 state and 2 action dimensions and reacher-easy has 6 state and 2 action" in told


def test_returns_are_shown_with_their_intervals():
    tasks = {
        "cup-catch": {"return": 812.34, "return_ci95": [700.0, 924.68], "episodes": 10},
        "reacher-easy": {"return": 3.0, "return_ci95": None, "episodes": 1},
    }
    assert score_table({"score": "return", "tasks": tasks, "mean": tasks["reacher-easy"]}) == [
        "mean return:",
        "cup-catch        812.3  [700.0, 924.7] of 10",
        "reacher-easy       3.0  no interval of 1",
        "mean               3.0  no interval of 1",
    ]


def test_goals_are_refused_in_one_line_where_they_do_not_fit(tmp_path, fails):
    policy = line_policy()
    line_bundle(policy).save(tmp_path / "line")
    options = ["eval", "dmc", "--checkpoint", tmp_path / "line", "--tasks", "cartpole-swingup"]
    assert "--goal_by has no effect without a goal; give --goal DATASET" in fails(*options, "--goal_by", "search")
    told = fails(*options, "--goal", "data", "--goal_costs", '{"when": "soon"}')
    assert told == "goal_costs.when is 'soon'; choose from last, path"
    told = fails(*options, "--goal", "data", "--goal_costs.goal_weight", 0.5, "--goal_by", "inverse_dynamics")
    assert told.startswith("goal_costs have no effect with goal_by=inverse_dynamics")
    body = DmControlConfig(task="cartpole-swingup").embodiment
    config = replace(policy.config, robot_state_dim=body.state_dim, action_dim=body.action_dim)
    cart = WorldModelPolicy(config)
    arguments = (config_to_json(config), cart.windows(), body, {"steps": []}, cart.state_dict())
    Bundle("world-model", *arguments).save(tmp_path / "cart")
    options[3] = tmp_path / "cart"
    assert "absent: no such folder; give DATASET[:EPISODE[:STEP]]" in fails(*options, "--goal", tmp_path / "absent:3:4")
    place = replay_of(tmp_path / "replay", frames([0.0, 0.1], [0.0, 1.0]))
    told = fails(*options, "--goal", f"{place}:0")
    assert "is of another body, whose 'action' has shape [2], but that of" in told


def test_returns_are_compared_in_words_and_numbers(tmp_path, tempovla):
    for name, more in (("a", 0.0), ("b", 50.0)):
        rewards = [700.0 + 10 * index + more * (1 + index) for index in range(6)]
        episodes = [{"task": "cup-catch", "seed": i, "total_reward": each} for i, each in enumerate(rewards)]
        told = {"simulator": {"name": "dmc"}, "score": "return", "episodes": episodes}
        (tmp_path / f"{name}.json").write_text(json.dumps(told))
    compare = ["eval", "compare", tmp_path / "a.json", tmp_path / "b.json"]
    lines = tempovla(*compare).out.splitlines()
    assert lines[2].split() == ["A", "B", "B", "-", "A", "[95%]", "pairs", "p"]
    assert lines[3].split() == ["cup-catch", "725.0", "900.0", "+175.0", "[+50.0,", "+300.0]", "6", "0.031"]
    assert lines[3].index("6  0.031") == lines[2].index("s  p")
    assert lines[-1].startswith("B is better than A: +175.0 [+50.0, +300.0] of mean return")
    assert json.loads(tempovla(*compare, "--json").out)["all"]["difference"] == 175.0
