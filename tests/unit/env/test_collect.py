"""Demonstrations: the same for any number of workers, each playable again, failures told."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.in_process import simulators_in_process
from tests.toy_simulator import LineConfig

pytestmark = pytest.mark.sim

pytest.importorskip("metaworld")

from tempovla.env.collect import CollectConfig, Demonstration, attempt_episodes, collect_episodes  # noqa: E402
from tempovla.env.metaworld import MetaWorldConfig  # noqa: E402
from tempovla.env.seeding import episode_seed  # noqa: E402
from tempovla.timeline.keys import (  # noqa: E402
    ACTION_KEY,
    DONE_KEY,
    OUTCOME_KEYS,
    REWARD_KEY,
    STATE_KEY,
    SUCCESS_KEY,
    TERMINATED_KEY,
)

SMALL = MetaWorldConfig(image_size=16, supersample=1, cameras=("corner2",), max_steps=150)
BLIND = MetaWorldConfig(render=False, max_steps=150)
TASKS = ["push-v3", "reach-v3"]


def children() -> set[str]:
    """Ids of this process's children."""
    return set(Path("/proc/thread-self/children").read_text().split())


@pytest.fixture(scope="module")
def demonstrations() -> list[Demonstration]:
    return list(collect_episodes(TASKS, 2, seed=1, workers=2, env_config=SMALL))


def test_tasks_come_in_order_with_their_words(demonstrations: list[Demonstration]) -> None:
    assert [demonstration.task for demonstration in demonstrations] == ["push-v3"] * 2 + ["reach-v3"] * 2
    assert demonstrations[0].instruction == "push the puck to the goal"
    assert len({demonstration.seed for demonstration in demonstrations}) == 4


def test_steps_hold_observations_and_the_experts_binary_gripper_actions(demonstrations: list[Demonstration]) -> None:
    for demonstration in demonstrations:
        steps = demonstration.steps
        count = len(steps[ACTION_KEY])
        assert set(steps) == {STATE_KEY, "observation.images.corner2", ACTION_KEY, *OUTCOME_KEYS}
        assert steps[ACTION_KEY].shape == steps[STATE_KEY].shape == (count, 4)
        assert steps["observation.images.corner2"].shape == (count, 16, 16, 3)
        assert set(np.unique(steps[ACTION_KEY][:, 3])) <= {-1, 1}
        assert 10 < count < 150


def test_what_followed_each_action_is_that_of_the_simulators_steps(demonstrations: list[Demonstration]) -> None:
    """Meta-World's dense reward; experts play on for five steps behind the first success."""
    for demonstration in demonstrations:
        steps = demonstration.steps
        count = len(steps[ACTION_KEY])
        assert {key: (steps[key].shape, steps[key].dtype) for key in OUTCOME_KEYS} == {
            REWARD_KEY: ((count, 1), np.float32),
            SUCCESS_KEY: ((count, 1), np.bool_),
            DONE_KEY: ((count, 1), np.bool_),
            TERMINATED_KEY: ((count, 1), np.bool_),
        }
        assert not steps[TERMINATED_KEY].any()
        assert np.flatnonzero(steps[SUCCESS_KEY])[0] == count - 6
        assert np.flatnonzero(steps[DONE_KEY]).tolist() == [count - 1]
    first = demonstrations[0]
    env = replace(SMALL, render=False, terminate_on_success=False).make()
    env.reset_state(seed=first.seed, task=first.task)
    played = [env.advance(action) for action in first.executed]
    assert first.steps[REWARD_KEY][:, 0].tolist() == [np.float32(reward) for reward, *_ in played]
    assert first.steps[SUCCESS_KEY][:, 0].tolist() == [info["success"] for *_, info in played]
    assert len(set(first.steps[REWARD_KEY][:, 0].tolist())) > 10


def test_another_number_of_workers_gives_the_same(demonstrations: list[Demonstration]) -> None:
    with simulators_in_process():
        again = list(collect_episodes(TASKS, 2, seed=1, workers=1, env_config=SMALL))
    for first, second in zip(again, demonstrations, strict=True):
        assert (first.seed, first.attempts) == (second.seed, second.attempts)
        np.testing.assert_equal(first.steps, second.steps)


def test_a_simulator_that_nothing_here_knows_is_demonstrated_with_its_own_records() -> None:
    plain = CollectConfig(noise=None, steps_after_success=1, init_states="benchmark")
    arguments = {"workers": 1, "env_config": LineConfig(), "config": plain}
    first, second = list(collect_episodes(["right"], 2, seed=0, **arguments))
    assert (second.instruction, second.init_state, second.attempts) == ("go right", 1, 1)
    places = np.array([0.1, 0.3, 0.5, 0.7, 0.9, 1.0])
    np.testing.assert_allclose(second.steps[STATE_KEY][:, 0], places, atol=1e-6)
    np.testing.assert_allclose(second.steps[ACTION_KEY], [[1, 1]] * 4 + [[0.5, 1], [0, 1]], atol=1e-6)
    assert second.steps[REWARD_KEY][:, 0].tolist() == [0, 0, 0, 0, 1, 1]
    assert second.steps[SUCCESS_KEY][:, 0].tolist() == [False, False, False, False, True, True]
    assert second.steps[DONE_KEY][:, 0].tolist() == [False] * 5 + [True]
    np.testing.assert_allclose(second.simulator["places"], np.stack([places, np.arange(6)], axis=1), atol=1e-6)
    assert first.environment == {"env_name": "line right"}
    assert [a.steps for a in attempt_episodes(["right"], 1, seed=0, **arguments)] == [6]


def test_an_iterator_that_is_closed_early_ends_its_workers() -> None:
    before = children()
    episodes = collect_episodes(["reach-v3"], 50, seed=1, workers=2, env_config=BLIND)
    next(episodes)
    assert len(children() - before) == 2
    episodes.close()
    assert children() == before


def test_failed_attempts_are_counted_and_endless_failure_is_an_error() -> None:
    """On the line, where the start decides whether five steps are enough, and one is never."""
    found = list(collect_episodes(["right"], 3, seed=0, workers=1, env_config=LineConfig(max_steps=5)))
    assert max(demonstration.attempts for demonstration in found) > 1
    tried = [episode_seed("collect", 0, "right", episode, found[episode].attempts - 1) for episode in range(3)]
    assert [demonstration.seed for demonstration in found] == tried
    hopeless, thrice = LineConfig(max_steps=1), CollectConfig(max_attempts=3)
    with pytest.raises(ValueError, match=r"expert of right failed 3 times in a row; lower noise\.max_sigma"):
        list(collect_episodes(["right"], 1, seed=0, workers=1, env_config=hopeless, config=thrice))


def test_a_task_named_twice_is_refused_instead_of_demonstrated_twice_alike() -> None:
    before = children()
    with pytest.raises(ValueError, match=r"tasks: reach-v3 is named twice; name it once"):
        next(collect_episodes(["reach-v3", "push-v3", "reach-v3"], 1, seed=0, env_config=BLIND))
    assert children() == before


def test_unknown_tasks_are_refused_before_anything_starts() -> None:
    with pytest.raises(ValueError, match="no Meta-World task 'fly-v3'"):
        next(collect_episodes(["push-v3", "fly-v3"], 1, seed=0, env_config=BLIND))
