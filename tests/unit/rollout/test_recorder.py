"""A recorded rollout is itself a dataset."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tempovla.data.errors import DatasetError
from tempovla.data.lerobot import open_dataset
from tempovla.rollout.recorder import RolloutRecorder
from tempovla.rollout.runner import EpisodeResult, EpisodeSpec
from tempovla.timeline import Embodiment
from tempovla.timeline.outcomes import outcomes

BODY = Embodiment("toy", 3, 2, 10.0, ("x [m]", "y [m]", "z [m]"), ("dx", "dy"))
CAMERA = "observation.images.front"


def result(seed: int, steps: int) -> EpisodeResult:
    random = np.random.default_rng(seed)
    recording = {
        "observation.state": random.normal(size=(steps, 3)).astype(np.float32),
        CAMERA: np.full((steps, 16, 16, 3), 40 * seed, np.uint8),
        "action": random.normal(size=(steps, 2)).astype(np.float32),
    }
    return EpisodeResult(EpisodeSpec("toy-task", seed, record=True), f"do {seed}", True, steps, 0.0, recording)


def test_episodes_read_back_as_they_were_recorded(tmp_path):
    results = [result(1, 5), result(2, 3)]
    with RolloutRecorder(tmp_path / "rollouts", BODY) as recorder:
        for episode in results:
            recorder.add(episode)
    source = open_dataset(tmp_path / "rollouts")
    assert len(source) == 2
    assert source.embodiment == BODY
    for index, episode in enumerate(results):
        assert source.episode(index).length == episode.steps
        assert source.episode(index).instruction == episode.instruction
        for key in ("observation.state", "action"):
            np.testing.assert_array_equal(source.read(index, key, range(episode.steps)).value, episode.recording[key])
        frames = source.read(index, CAMERA, range(episode.steps)).value
        np.testing.assert_allclose(frames, episode.recording[CAMERA], atol=3)


def test_what_followed_each_action_is_recorded_with_the_types_of_lerobot(tmp_path):
    one = result(1, 3)
    followed = outcomes([0.0, 0.5, 1.0], [False, False, True], world_ended=True)
    with RolloutRecorder(tmp_path / "rollouts", BODY) as recorder:
        recorder.add(replace(one, recording={**one.recording, **followed}))
    source = open_dataset(tmp_path / "rollouts")
    for key, values in followed.items():
        np.testing.assert_array_equal(source.read(0, key, range(3)).value, values)
    entries = {key: source.meta.info["features"][key] for key in followed}
    assert entries == {
        "next.reward": {"dtype": "float32", "shape": [1], "names": None, "fps": 10},
        "next.success": {"dtype": "bool", "shape": [1], "names": None, "fps": 10},
        "next.done": {"dtype": "bool", "shape": [1], "names": None, "fps": 10},
        "next.terminated": {"dtype": "bool", "shape": [1], "names": None, "fps": 10},
    }


def test_a_dataset_of_before_rewards_were_recorded_is_gone_on_with_as_it_is(tmp_path):
    first, second = result(1, 3), result(2, 3)
    with RolloutRecorder(tmp_path / "rollouts", BODY) as recorder:
        recorder.add(first)
    with RolloutRecorder(tmp_path / "rollouts", BODY, earlier=[first]) as recorder:
        recorder.add(replace(second, recording={**second.recording, **outcomes([0.0] * 3, [True] * 3)}))
    source = open_dataset(tmp_path / "rollouts")
    assert len(source) == 2
    assert "next.reward" not in source.streams


def test_every_episode_is_on_the_disk_once_it_was_added(tmp_path):
    recorder = RolloutRecorder(tmp_path / "rollouts", BODY)
    recorder.add(result(1, 5))
    assert len(open_dataset(tmp_path / "rollouts")) == 1


def test_an_error_in_between_leaves_what_was_recorded(tmp_path):
    def broken_off() -> None:
        with RolloutRecorder(tmp_path / "rollouts", BODY) as recorder:
            recorder.add(result(1, 5))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        broken_off()
    assert len(open_dataset(tmp_path / "rollouts")) == 1


def test_an_error_before_the_first_episode_leaves_no_dataset(tmp_path):
    wide = result(1, 5)
    short = {**wide.recording, "action": wide.recording["action"][:3]}

    def broken_off() -> None:
        with RolloutRecorder(tmp_path / "rollouts", BODY) as recorder:
            recorder.add(replace(wide, recording=short))

    with pytest.raises(DatasetError, match=r"'action' has shape \[3, 2\], not \[5, 2\]"):
        broken_off()
    assert not (tmp_path / "rollouts").exists()


def test_a_recorder_without_episodes_leaves_no_dataset(tmp_path):
    with RolloutRecorder(tmp_path / "rollouts", BODY):
        pass
    assert not (tmp_path / "rollouts").exists()


def test_sets_of_points_are_left_out_and_said_to_be(tmp_path, caplog):
    played = result(0, 3)
    points = {"observation.points.lidar": np.full((3, 5, 4), np.nan, np.float32)}
    with RolloutRecorder(tmp_path / "data", BODY) as recorder:
        recorder.add(replace(played, recording={**played.recording, **points}))
        recorder.add(played)
    assert "observation.points.lidar" not in open_dataset(tmp_path / "data").streams
    assert caplog.text.count("recordings hold no sets of points; observation.points.lidar are left out") == 1


def test_nothing_is_overwritten(tmp_path):
    (tmp_path / "rollouts").mkdir()
    (tmp_path / "rollouts" / "notes.txt").write_text("mine")
    with pytest.raises(DatasetError, match="not empty, and nothing is overwritten"):
        RolloutRecorder(tmp_path / "rollouts", BODY)


def test_a_dataset_of_an_interrupted_call_is_gone_on_with_and_another_is_not(tmp_path):
    results = [result(1, 5), result(2, 3), result(3, 4)]
    with RolloutRecorder(tmp_path / "rollouts", BODY) as recorder:
        recorder.add(results[0])
    with pytest.raises(DatasetError, match="not empty, and holds 1 episode, not those of the interrupted evaluation;"):
        RolloutRecorder(tmp_path / "rollouts", BODY, earlier=results[1:])
    with RolloutRecorder(tmp_path / "rollouts", BODY, earlier=results[:2]) as recorder:
        assert recorder.recorded == 1
        recorder.add(results[1])
        recorder.add(results[2])
    source = open_dataset(tmp_path / "rollouts")
    assert [source.episode(index).length for index in range(len(source))] == [5, 3, 4]
