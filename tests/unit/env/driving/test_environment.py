"""The driving simulator as a simulator: seeds say all, sensors agree with each other, and traffic reacts."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from tests.small_town import SMALL

from tempovla.env.driving.config import DrivingConfig
from tempovla.timeline.driving import COMMANDS, FIGURES, IMU_KEY, LIDAR_KEY, RADAR_KEY, WRONG_COMMANDS
from tempovla.timeline.keys import IMAGE_KEY_PREFIX, POSE_KEY, STATE_KEY

pytestmark = [pytest.mark.sim, pytest.mark.usefixtures("sumo")]

ALL = replace(SMALL, lidar=True, radar=True, imu=True, depth=True)
BLIND = replace(SMALL, render=False)


@pytest.fixture(scope="module")
def env() -> Iterator:
    made = ALL.make()
    yield made
    made.close()


@pytest.fixture(scope="module")
def blind() -> Iterator:
    made = BLIND.make()
    yield made
    made.close()


def test_pictures_that_cannot_be_drawn_are_told_before_anything_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUJOCO_GL", "glfw")
    with pytest.raises(ValueError, match="MUJOCO_GL=glfw cannot draw offscreen"):
        SMALL.make()
    code = "import sys, tempovla.recipe.collection.driving; sys.exit('mujoco' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0  # only its workers import mujoco


def test_a_seed_plays_the_same_episode_bit_for_bit_after_any_history(env) -> None:
    def played() -> list[dict[str, np.ndarray]]:
        seen, _ = env.reset(seed=4, options={"task": "night"})
        expert, found = env.expert(), [seen]
        for _ in range(4):
            found.append(env.step(expert.act())[0])
        return found

    first = played()
    env.reset(seed=9, options={"task": "day"})
    env.step(np.array([3.0, 0.5, 0.2]))
    for one, other in zip(first, played(), strict=True):
        for key, value in one.items():
            np.testing.assert_array_equal(value, other[key], err_msg=key)
    moved = np.abs(first[-1][IMAGE_KEY_PREFIX + "front"].astype(int) - first[0][IMAGE_KEY_PREFIX + "front"]).mean()
    assert moved > 1.0


def test_many_environments_do_not_notice_each_other() -> None:
    from tempovla.env.vector import ShardedVectorEnv

    vector = ShardedVectorEnv(BLIND, 2, 1)
    try:
        vector.reset(seed=[5, 6])
        alone = BLIND.make()
        alone.reset(seed=6)
        for _ in range(3):
            actions = np.array([[1.0, 0.0, 0.0], [2.5, 0.0, 0.0]])
            seen, *_ = vector.step(actions)
            expected, *_ = alone.step(actions[1])
            np.testing.assert_array_equal(seen[STATE_KEY][1], expected[STATE_KEY])
            np.testing.assert_array_equal(seen[POSE_KEY][1], expected[POSE_KEY])
        alone.close()
    finally:
        vector.close()


@pytest.mark.slow
def test_environments_in_processes_see_what_one_in_this_process_sees(env) -> None:
    from tempovla.env.vector import ShardedVectorEnv

    vector = ShardedVectorEnv(ALL, 2, 2)
    other = replace(ALL, task="night").make()
    try:
        seen, _ = vector.reset(seed=[5, 6], options={"task": ["day", "night"]})
        alone = [env.reset(seed=5, options={"task": "day"})[0], other.reset(seed=6)[0]]
        for step in range(3):
            for row, expected in enumerate(alone):
                for key, value in expected.items():
                    np.testing.assert_array_equal(seen[key][row], value, err_msg=f"{key} of row {row}, step {step}")
            actions = np.array([[1.5, 0.0, 0.02], [2.5, 0.0, 0.0]], np.float32)
            seen, *_ = vector.step(actions)
            alone = [one.step(action)[0] for one, action in zip((env, other), actions, strict=True)]
    finally:
        vector.close()
        other.close()


def test_streams_are_as_the_config_says() -> None:
    keys = set(ALL.spaces()[0])
    assert {LIDAR_KEY, RADAR_KEY, IMU_KEY, STATE_KEY, POSE_KEY} < keys
    broken = set(replace(ALL, without=("front", "lidar")).spaces()[0])
    assert keys - broken == {LIDAR_KEY, IMAGE_KEY_PREFIX + "front", "observation.depth.front"}
    assert set(BLIND.spaces()[0]) == {STATE_KEY, POSE_KEY}
    sightless = replace(ALL, without=("cameras", "imu"))
    assert set(sightless.spaces()[0]) == {STATE_KEY, POSE_KEY, LIDAR_KEY, RADAR_KEY}
    assert (sightless.seen, sightless.picture_keys()) == ((), ())


def test_a_broken_sensor_is_not_observed(env) -> None:
    from tempovla.env.driving.senses import CarSenses

    env.reset_state(seed=1, task="day")
    senses = CarSenses(replace(ALL, without=("back", "radar"), depth=False), "day")
    assert not {IMAGE_KEY_PREFIX + "back", RADAR_KEY} & set(senses.observe(env.now))


def test_the_pose_is_that_since_the_start_and_the_state_that_of_now(blind) -> None:
    blind.reset_state(seed=2)
    np.testing.assert_array_equal(blind.pose, np.zeros(3))
    start = blind.now.car
    blind.advance(np.array([start.speed * 0.5 + 0.3, 0.0, 0.0]))
    assert blind.pose[0] == pytest.approx(start.speed * 0.5 + 0.3, abs=0.02)
    assert blind.state[0] == pytest.approx(blind.now.car.speed)


def test_the_navigator_follows_the_route_and_a_wrong_one_does_not(blind) -> None:
    wrong = replace(BLIND, wrong_commands=True).make()
    said = set()
    for seed in range(6):
        blind.reset_state(seed=seed)
        wrong.reset_state(seed=seed)
        turn = blind.route.turns[0]
        blind._judge.progress_m = wrong._judge.progress_m = turn.start_m - 5.0
        said.add(blind.command)
        assert blind.command == turn.command
        assert wrong.command == WRONG_COMMANDS[blind.command]
        assert blind.instruction == COMMANDS[blind.command]
    wrong.close()
    assert len(said) > 1


def test_the_expert_arrives(blind) -> None:
    arrived = 0
    for seed in (1, 2, 3):
        blind.reset_state(seed=seed)
        expert, over = blind.expert(), False
        while not over:
            _, terminated, truncated, info = blind.advance(expert.act())
            over = terminated or truncated
        figures = blind.figures()
        assert set(FIGURES) <= set(figures)
        assert figures["red_lights"] == figures["off_road"] == 0.0
        arrived += info["success"]
        assert info["success"] == (figures["completion"] == 1.0)
    assert arrived >= 1


def test_a_car_that_leaves_the_road_ends_its_episode(blind) -> None:
    blind.reset_state(seed=3)
    for _ in range(20):
        _, terminated, _, info = blind.advance(np.array([4.0, -0.8, -0.35]))
        if terminated:
            break
    figures = blind.figures()
    assert terminated
    assert not info["success"]
    assert figures["off_road"] + figures["collision"] >= 1.0
    assert figures["drivable"] == 0.0 or figures["collision"] == 1.0


def test_an_episode_is_truncated_at_its_limit() -> None:
    short = replace(BLIND, max_steps=2).make()
    short.reset_state(seed=1)
    assert short.advance(np.zeros(3))[2] is False
    assert short.advance(np.zeros(3))[2] is True
    assert short.figures()["timeout"] == 1.0
    short.close()


def test_pushes_come_in_short_bursts_and_are_told() -> None:
    pushed = replace(BLIND, push_rate=0.5).make()
    pushed.reset_state(seed=1)
    expert, marks = pushed.expert(), []
    for _ in range(20):
        wanted = expert.act()
        before = pushed.now.car
        if pushed.advance(wanted)[1]:
            break
        marks.append(pushed.perturbed)
        assert before is not pushed.now.car
    pushed.close()
    assert 0 < sum(marks) < len(marks) / 2
    longest = max(len(run) for run in "".join("x" if mark else " " for mark in marks).split())
    assert longest <= 2


def test_only_what_is_in_sight_is_visible(env) -> None:
    env.reset_state(seed=4, task="day")
    shares = env.senses().visible_shares(env.now)
    assert ((shares >= 0) & (shares <= 1)).all()
    assert 0 < (shares > 0).sum() < len(shares)
    places = env.now.agents[shares > 0][:, 2:4] - env.now.pose[:2]
    assert np.hypot(*places.T).max() <= 80.0


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"cameras": ("top",)}, "no camera 'top'"),
        ({"without": ("sonar",)}, "no sensor 'sonar'"),
        ({"route_least_m": 300.0, "route_most_m": 200.0}, "the first not more"),
        ({"parked": 1.5}, "share from 0 to 1"),
        ({"vehicles": -1}, "must not be negative"),
        ({"image_height": 0}, "at least 1"),
        ({"seconds": 0.0}, "at least 1"),
    ],
)
def test_impossible_settings_are_refused(settings: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        DrivingConfig(**settings)


def test_what_is_no_action_is_refused(blind) -> None:
    blind.reset_state(seed=1)
    for action in (np.zeros(2), np.array([1.0, np.nan, 0.0])):
        with pytest.raises(ValueError, match="3 finite numbers"):
            blind.advance(action)
