"""Which step of a dataset a goal is, and what a policy sees there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.line_worlds import BODY, SCALE, bundle_of, frames, policy_of, replay_of

from tempovla.data.layout import Feature
from tempovla.data.writer import DatasetWriter
from tempovla.recipe.evaluation import goal_steps
from tempovla.recipe.evaluation.goal_steps import find_step, prepared
from tempovla.timeline.keys import ACTION_KEY, REWARD_KEY, STATE_KEY
from tempovla.transform.pipeline import TransformPipeline

LONG, SHORT = frames([0.0, 0.1, 0.2, 0.3], [0.0, 0.5, 0.0, 9.0]), frames([0.5, 0.6, 0.7], [0.0, 2.0, 0.0])


@pytest.fixture(scope="module")
def replay(tmp_path_factory) -> Path:
    return replay_of(tmp_path_factory.mktemp("run") / "replay", LONG, SHORT)


def found(place: object, algorithm: str = "tdmpc") -> tuple[int, int]:
    policy = policy_of(algorithm)
    step = find_step(str(place), policy, bundle_of(policy))
    return step.episode, step.step


@pytest.mark.parametrize(("given", "chosen"), [(":1:0", (1, 0)), (":0:3", (0, 3)), (":1", (1, 2)), ("", (1, 2))])
def test_a_step_is_named_or_the_last_one_or_what_the_highest_reward_led_to(replay, given, chosen):
    """The reward of 9 led to what was not recorded, so that of 2 is the highest."""
    assert found(f"{replay}{given}") == chosen


def test_a_dataset_without_rewards_gives_the_end_of_its_first_episode(tmp_path):
    features = {STATE_KEY: Feature("float32", (1,)), ACTION_KEY: Feature("float32", (2,))}
    with DatasetWriter(tmp_path / "data", features, 10, robot_type="line") as writer:
        for episode in (LONG, SHORT):
            writer.add_episode({key: episode[key] for key in features}, "go left")
    assert found(tmp_path / "data") == (0, 3)
    assert found(f"{tmp_path / 'data'}:1:1") == (1, 1)


def test_a_folder_whose_name_ends_like_a_step_is_taken_as_it_is(tmp_path):
    assert found(replay_of(tmp_path / "run:7", LONG)) == (0, 2)


def test_a_goal_is_seen_through_the_transform_of_training(replay):
    policy = policy_of()
    bundle = bundle_of(policy)
    step = find_step(f"{replay}:1:1", policy, bundle)
    rows, digest = prepared(step, policy, TransformPipeline.of(bundle))
    assert len(rows) == 1
    torch.testing.assert_close(rows[0].now[STATE_KEY].value, torch.tensor([[[0.6 / SCALE]]]))
    assert rows[0].first.tolist() == [True]
    assert digest == prepared(step, policy, TransformPipeline.of(bundle))[1]
    assert digest != prepared(replace(step, step=2), policy, TransformPipeline.of(bundle))[1]


@pytest.mark.parametrize(("repeat", "seen"), [(1, [0, 1, 2, 3]), (2, [1, 3]), (3, [0, 3])])
def test_a_policy_that_remembers_sees_the_way_there(replay, monkeypatch, repeat, seen):
    monkeypatch.setattr(goal_steps, "STEPS_AT_ONCE", 3)
    policy = policy_of("dreamer", action_repeat=repeat)
    bundle = bundle_of(policy)
    rows, _ = prepared(find_step(f"{replay}:0:3", policy, bundle), policy, TransformPipeline.of(bundle))
    assert [float(row.now[STATE_KEY].value) for row in rows] == pytest.approx([0.1 * step / SCALE for step in seen])
    assert [bool(row.first) for row in rows] == [True] + [False] * (len(seen) - 1)
    done = [row.past[ACTION_KEY] for row in rows]
    assert [bool(track.valid) for track in done] == [step > 0 for step in seen]
    assert [float(track.value[0, 0, 0]) for track in done] == pytest.approx(
        [float(LONG[ACTION_KEY][max(step - 1, 0), 0]) for step in seen]
    )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (":2", r"replay has 2 episodes, counted from 0; give one of them"),
        (":1:3", r"episode 1 has 3 steps, counted from 0; give one of them"),
        ("/absent", r"no such folder; give DATASET\[:EPISODE\[:STEP\]\], such as outputs/run/replay:3:40"),
        ("/..", r"the folder of a run, not a dataset; give its episodes, .*replay"),
    ],
)
def test_a_step_that_is_not_there_is_refused(replay, given, message):
    with pytest.raises(ValueError, match=message):
        found(f"{replay}{given}")


@pytest.mark.parametrize("rewards", [[0.0, 0.0, 5.0], [1.0, 1.0, 0.0], [9.0]])
def test_rewards_that_tell_no_step_from_another_are_refused(tmp_path, rewards):
    place = replay_of(tmp_path / "replay", frames([0.0] * len(rewards), rewards))
    with pytest.raises(ValueError, match="tells no step from another; name an episode, such as"):
        found(place)
    assert found(f"{place}:0") == (0, len(rewards) - 1)


def test_what_the_policy_does_not_read_and_other_bodies_are_refused(tmp_path):
    with pytest.raises(ValueError, match="holds no episode yet"):
        found(replay_of(tmp_path / "empty"))
    blind = {key: value for key, value in LONG.items() if key != STATE_KEY}
    with pytest.raises(ValueError, match=r"reads 'observation.state', but .*blind: no stream 'observation.state'"):
        found(replay_of(tmp_path / "blind", blind))
    still = {key: value for key, value in LONG.items() if key != ACTION_KEY}
    place = replay_of(tmp_path / "still", still)
    assert found(place) == (0, 2)
    with pytest.raises(ValueError, match=r"reads 'action', but .*still: no stream 'action'"):
        found(place, "dreamer")
    other = {**LONG, STATE_KEY: np.zeros((4, 3), np.float32)}
    place = replay_of(tmp_path / "other", other, body=replace(BODY, state_dim=3, state_names=()))
    with pytest.raises(
        ValueError, match=r"other body, whose 'observation.state' has shape \[3\], but that of .* \[1\]"
    ):
        found(place)
    place = replay_of(tmp_path / "fast", LONG, body=replace(BODY, rate_hz=20.0))
    with pytest.raises(ValueError, match=r"is recorded at 20 Hz, but .* learned at 10 Hz"):
        found(place)


def test_rewards_of_no_number_count_as_unknown(replay, monkeypatch):
    policy = policy_of()
    step = find_step(str(replay), policy, bundle_of(policy))
    read = step.source.read

    def with_gaps(episode, key, steps):
        value, valid = read(episode, key, steps)
        return (np.where(value == 2.0, np.nan, value), valid) if key == REWARD_KEY else (value, valid)

    monkeypatch.setattr(step.source, "read", with_gaps)
    assert goal_steps._best(step.source) == (0, 2)
