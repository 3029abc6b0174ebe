"""A replay: what was appended is read, from memory or from the disk, goes back exactly, and refuses what is not its."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from tests.replays import BODY, FACTS, FRONT, PICTURES, ROW_BYTES, STREAMS, create, frames

from tempovla.data import statistics
from tempovla.data.errors import DatasetError, OutOfRangeError, UnknownStreamError
from tempovla.data.replay import ReplaySource
from tempovla.timeline import StreamInfo
from tempovla.timeline.keys import ACTION_KEY, REWARD_KEY, STATE_KEY, SUCCESS_KEY

LENGTHS = (5, 3, 8, 1)


def assert_holds(replay: ReplaySource, lengths: tuple[int, ...]) -> None:
    assert [replay.episode(i).length for i in range(len(replay))] == list(lengths)
    for episode, length in enumerate(lengths):
        assert replay.instructions(episode) == (f"do {episode}",) * length
        for key, expected in frames(episode, length).items():
            value, valid = replay.read(episode, key, range(length))
            assert valid.all()
            assert value.dtype == expected.dtype
            np.testing.assert_array_equal(value, expected)


def test_appended_episodes_are_read_at_once_and_after_opening(tmp_path: Path) -> None:
    replay = ReplaySource.create(tmp_path / "replay", STREAMS, 10.0, BODY, FACTS)
    assert [replay.append(frames(i, length), f"do {i}") for i, length in enumerate(LENGTHS)] == [0, 1, 2, 3]
    assert_holds(replay, LENGTHS)
    replay.close()
    opened = ReplaySource.open(tmp_path / "replay", FACTS, STREAMS)
    assert_holds(opened, LENGTHS)
    assert (opened.embodiment, opened.streams, opened.recording) == (BODY, STREAMS, FACTS)
    assert opened.episode(0).task == "right"
    assert opened.lengths.tolist() == list(LENGTHS)


def test_values_beyond_an_episodes_ends_repeat_and_are_invalid(tmp_path: Path) -> None:
    with create(tmp_path / "replay", (3, 3)) as replay:
        value, valid = replay.read(1, STATE_KEY, (-2, 0, 2, 4))
    assert value[:, 0].tolist() == [100, 100, 102, 102]
    assert valid.tolist() == [False, True, True, False]


def test_steps_may_have_their_own_words(tmp_path: Path) -> None:
    with create(tmp_path / "replay") as replay:
        replay.append(frames(0, 3), ["go", "go", "stop"])
    replay = ReplaySource.open(tmp_path / "replay")
    assert replay.instructions(0) == ("go", "go", "stop")
    assert replay.episode(0).instruction == "go"
    assert replay.words_at(np.array([0, 0]), np.array([2, 0])) == ["stop", "go"]


@pytest.mark.parametrize("rows", [0, 1, 4, 9, 11])
def test_episodes_that_memory_does_not_hold_are_read_from_the_disk_all_the_same(tmp_path: Path, rows: int) -> None:
    with create(tmp_path / "replay", LENGTHS, max_bytes=rows * ROW_BYTES) as replay:
        assert_holds(replay, LENGTHS)
        replay.append(frames(4, 6), "do 4")
        assert_holds(replay, (*LENGTHS, 6))
        episodes, steps = np.array([4, 0, 2, 4, 1]), np.array([[0, 1], [3, 4], [7, 8], [5, 6], [-1, 0]])
        value, valid = replay.read_many(ACTION_KEY, episodes, steps)
    assert value[..., 0].tolist() == [[40, 41], [3, 4], [27, 27], [45, 45], [10, 10]]
    assert valid.tolist() == [[True, True], [True, True], [True, False], [True, False], [False, True]]
    with ReplaySource.open(tmp_path / "replay", max_bytes=rows * ROW_BYTES) as opened:
        assert_holds(opened, (*LENGTHS, 6))


def test_memory_holds_no_more_than_it_may(tmp_path: Path) -> None:
    with create(tmp_path / "replay", (6, 6, 6), max_bytes=13 * ROW_BYTES) as replay:
        assert sum(values.nbytes for values in replay._rows._values.values()) <= 13 * ROW_BYTES
        assert (replay._rows.places(np.arange(3)) >= 0).tolist() == [False, True, True]


def test_going_back_leaves_the_episodes_of_that_time_for_good(tmp_path: Path) -> None:
    with create(tmp_path / "replay", LENGTHS, max_bytes=9 * ROW_BYTES) as replay:
        replay.truncate(2)
        assert_holds(replay, LENGTHS[:2])
        assert replay.append(frames(2, 4), "do 2") == 2
        assert_holds(replay, (5, 3, 4))
    with ReplaySource.open(tmp_path / "replay") as replay:
        replay.truncate(1)
        with pytest.raises(DatasetError, match="cannot go back to 2 episodes; it has 1"):
            replay.truncate(2)
    replay = ReplaySource.open(tmp_path / "replay")
    assert_holds(replay, LENGTHS[:1])
    assert sorted(path.name for path in (tmp_path / "replay").glob("e*")) == ["episode_00000000.safetensors"]
    replay.truncate(0)
    assert (len(replay), dict(replay.statistics)) == (0, {})


def test_after_going_back_memory_holds_what_fits_again(tmp_path: Path) -> None:
    with create(tmp_path / "replay", (4, 4, 4), max_bytes=8 * ROW_BYTES) as replay:
        replay.truncate(2)
        assert_holds(replay, (4, 4))
        assert (replay._rows.places(np.arange(2)) >= 0).all()


def test_the_oldest_episodes_beyond_the_capacity_are_not_sampled_and_keep_their_numbers(tmp_path: Path) -> None:
    with create(tmp_path / "replay", (5, 3, 8, 1, 2), capacity=11) as replay:
        assert [replay.first_sampled_of(count) for count in range(6)] == [0, 0, 0, 1, 2, 2]
        assert replay.first_sampled == 2
        assert_holds(replay, (5, 3, 8, 1, 2))
        replay.append(frames(5, 20), "do 5")
        assert replay.first_sampled == 5


def test_statistics_are_those_of_all_episodes(tmp_path: Path) -> None:
    with create(tmp_path / "replay", LENGTHS) as replay:
        before = replay.statistics
        assert replay.statistics is before
        replay.append(frames(4, 6), "")
        known = replay.statistics
    whole = np.concatenate([frames(i, length)[STATE_KEY] for i, length in enumerate((*LENGTHS, 6))])
    exact = statistics.of_values(whole)
    for name in ("mean", "std", "min", "max", "count"):
        np.testing.assert_allclose(known[STATE_KEY][name], exact[name])
    assert known[SUCCESS_KEY]["mean"].tolist() == [pytest.approx(5 / 23)]
    opened = ReplaySource.open(tmp_path / "replay").statistics
    for key, entry in known.items():
        for name, value in entry.items():
            np.testing.assert_array_equal(opened[key][name], value)


def test_pictures_have_no_statistics(tmp_path: Path) -> None:
    with ReplaySource.create(tmp_path / "replay", PICTURES, 10.0, BODY, FACTS) as replay:
        replay.append(frames(7, 3, pictures=True), "look")
        assert replay.read(0, FRONT, [1]).value[0, 0, 0].tolist() == [7, 7, 7]
        assert FRONT not in replay.statistics


def test_numbers_are_taken_as_the_streams_type_where_they_are_the_same(tmp_path: Path) -> None:
    with create(tmp_path / "replay") as replay:
        given = frames(0, 3)
        given[ACTION_KEY] = np.array([[0.1], [2.0], [3.0]], np.float64)
        given[REWARD_KEY] = np.array([1, 2, 3])
        replay.append(given, "")
        assert replay.read(0, ACTION_KEY, [0]).value.tolist() == [[np.float32(0.1)]]
        assert replay.read(0, REWARD_KEY, range(3)).value.tolist() == [[1.0], [2.0], [3.0]]


NAN = np.array([[0.0], [np.nan], [0.0]], np.float32)


@pytest.mark.parametrize(
    ("changed", "words", "complaint"),
    [
        ({ACTION_KEY: NAN}, "go", "episode 2: 'action' is not finite at step 1: .nan.; repair it"),
        ({ACTION_KEY: np.zeros((3, 2))}, "go", r"episode 2: 'action' has shape \[3, 2\], not \[3, 1\]"),
        ({ACTION_KEY: np.zeros((2, 1))}, "go", r"episode 2: 'action' has shape \[2, 1\], not \[3, 1\]"),
        ({ACTION_KEY: [[0.0]] * 3}, "go", "episode 2: 'action' is of type list; give a numpy array"),
        ({ACTION_KEY: np.full((3, 1), "a")}, "go", "episode 2: 'action' is <U1, which holds no real numbers"),
        ({SUCCESS_KEY: np.array([[0], [0], [2]])}, "go", "episode 2: 'next.success' .*, at step 2"),
        ({"mood": np.zeros(3)}, "go", "episode 2: 'mood' is in the episode or in the replay, but not in both"),
        ({}, ["go"], "episode 2: 1 instructions for 3 steps; give one, or one for each step"),
        ({}, 3, "the instruction of step 0 is of type int; give a text"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_place_and_nothing_is_written(
    tmp_path: Path, changed: dict, words: object, complaint: str
) -> None:
    with create(tmp_path / "replay", (5, 3)) as replay:
        with pytest.raises(DatasetError, match=complaint) as caught:
            replay.append(frames(2, 3) | changed, words)  # type: ignore[arg-type]
        assert str(tmp_path / "replay") in str(caught.value)
        assert "\n" not in str(caught.value)
        assert_holds(replay, (5, 3))
    assert len(ReplaySource.open(tmp_path / "replay")) == 2


def test_an_episode_without_steps_is_refused(tmp_path: Path) -> None:
    with create(tmp_path / "replay") as replay, pytest.raises(DatasetError, match="episode 0: has no step"):
        replay.append({key: values[:0] for key, values in frames(0, 3).items()}, "")


def test_a_folder_of_another_task_or_shape_is_refused_with_both(tmp_path: Path) -> None:
    create(tmp_path / "replay", (2,)).close()
    with pytest.raises(DatasetError, match="holds episodes of task 'right', not of 'left'; give another folder"):
        ReplaySource.open(tmp_path / "replay", FACTS | {"task": "left"})
    with pytest.raises(DatasetError, match="holds episodes of task 'right', not of unknown; give another folder"):
        ReplaySource.open(tmp_path / "replay", {"simulator": "line"})
    wide = STREAMS | {ACTION_KEY: StreamInfo("action", (4,), "float32", 10.0)}
    with pytest.raises(DatasetError, match=r"'action' is float32 \[1\] there, not float32 \[4\]; give another folder"):
        ReplaySource.open(tmp_path / "replay", FACTS, wide)
    fewer = {key: stream for key, stream in STREAMS.items() if key != SUCCESS_KEY}
    with pytest.raises(DatasetError, match=r"'next\.success' is bool \[1\] there, not no stream"):
        ReplaySource.open(tmp_path / "replay", FACTS, fewer)
    ReplaySource.open(tmp_path / "replay", FACTS).close()  # a refusal has left no lock


def test_a_second_one_cannot_append_and_may_read(tmp_path: Path) -> None:
    replay = create(tmp_path / "replay", (2,))
    with pytest.raises(
        DatasetError, match=r"this process appends to a replay .*; let it end, or choose another folder"
    ):
        ReplaySource.open(tmp_path / "replay")
    reader = ReplaySource.open(tmp_path / "replay", read_only=True)
    assert_holds(reader, (2,))
    for change in (lambda: reader.append(frames(1, 2), ""), lambda: reader.truncate(0)):
        with pytest.raises(DatasetError, match="is closed or read only, so it does not change; open it to append"):
            change()
    replay.close()
    with pytest.raises(DatasetError, match="is closed or read only"):
        replay.append(frames(1, 2), "")
    ReplaySource.open(tmp_path / "replay").close()


def test_a_folder_with_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(DatasetError, match="it is not empty, or give another folder"):
        create(tmp_path)
    create(tmp_path / "replay").close()
    with pytest.raises(DatasetError, match="a replay is there; open it, or give another folder"):
        create(tmp_path / "replay")
    with pytest.raises(DatasetError, match=r"has no replay\.json, so it is no replay; create one there"):
        ReplaySource.open(tmp_path)
    assert not (tmp_path / ".lock").exists()


@pytest.mark.parametrize(
    ("stream", "complaint"),
    [
        (StreamInfo("state", (2,), "float16", 10.0), "is of kind 'state' and type 'float16'; give one of"),
        (StreamInfo("mood", (2,), "float32", 10.0), "is of kind 'mood' and type 'float32'; give one of"),  # type: ignore[arg-type]
        (StreamInfo("state", (0,), "float32", 10.0), r"has shape \[0\]; give positive sizes"),
        (StreamInfo("state", (2,), "float32", 5.0), "runs at 5 Hz, but control at 10 Hz; give one value for each"),
    ],
)
def test_streams_that_cannot_be_kept_are_refused(tmp_path: Path, stream: StreamInfo, complaint: str) -> None:
    with pytest.raises(DatasetError, match=complaint):
        ReplaySource.create(tmp_path / "replay", {STATE_KEY: stream}, 10.0, BODY, FACTS)
    assert not (tmp_path / "replay").exists()


def test_limits_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="capacity=0 must be at least 1 step; None samples all episodes"):
        create(tmp_path / "replay", capacity=0)
    with pytest.raises(ValueError, match="max_bytes=-1 must not be negative; 0 keeps no episode in memory"):
        create(tmp_path / "replay", max_bytes=-1)


def test_what_is_not_there_is_told(tmp_path: Path) -> None:
    with create(tmp_path / "replay", (2,)) as replay:
        with pytest.raises(OutOfRangeError, match="no episode 1; it has 1, counted from 0"):
            replay.read(1, STATE_KEY, [0])
        with pytest.raises(UnknownStreamError, match=r"no stream 'next.rewards'; did you mean next.reward"):
            replay.read(0, "next.rewards", [0])


def test_a_missing_or_damaged_episode_is_told_with_its_file(tmp_path: Path) -> None:
    create(tmp_path / "replay", LENGTHS).close()
    second = tmp_path / "replay" / "episode_00000001.safetensors"
    whole = second.read_bytes()
    second.write_bytes(whole[:-3])
    with pytest.raises(DatasetError, match=r"episode_00000001\.safetensors: damaged or cut off .*; restore it from"):
        ReplaySource.open(tmp_path / "replay")
    second.unlink()
    with pytest.raises(DatasetError, match=r"episode_00000001\.safetensors: is missing, and later episodes are there"):
        ReplaySource.open(tmp_path / "replay")
    third = tmp_path / "replay" / "episode_00000002.safetensors"
    second.write_bytes(whole)
    changed = third.read_bytes().replace(np.float32(-7).tobytes(), np.float32(np.nan).tobytes())
    third.write_bytes(changed)
    replay = ReplaySource.open(tmp_path / "replay")
    with pytest.raises(DatasetError, match=r"'observation.state' is not finite at step 7; restore it from a copy"):
        replay.read(0, STATE_KEY, [0])


@pytest.mark.parametrize(
    ("written", "changed"),
    [(np.float32(-7).tobytes(), np.float32(-6).tobytes()), (b"do 2", b"do 3")],
    ids=["number", "words"],
)
def test_an_episode_that_does_not_hold_what_was_written_is_told_when_it_is_read(
    tmp_path: Path, written: bytes, changed: bytes
) -> None:
    create(tmp_path / "replay", LENGTHS).close()
    third = tmp_path / "replay" / "episode_00000002.safetensors"
    whole = third.read_bytes()
    third.write_bytes(whole.replace(written, changed))
    with ReplaySource.open(tmp_path / "replay") as replay:
        told = r"episode_00000002\.safetensors: damaged, as its contents do not have the checksum .*; restore it from a"
        with pytest.raises(DatasetError, match=told) as caught:
            replay.read(2, STATE_KEY, [0])
        assert "\n" not in str(caught.value)
    third.write_bytes(whole)
    assert_holds(ReplaySource.open(tmp_path / "replay"), LENGTHS)


def test_episodes_that_an_earlier_version_wrote_without_a_checksum_are_read(tmp_path: Path) -> None:
    create(tmp_path / "replay", LENGTHS).close()
    for file in (tmp_path / "replay").glob("*.safetensors"):
        with safe_open(file, "numpy") as opened:
            header = json.loads(opened.metadata()["replay"])
        assert type(header.pop("crc32")) is int
        save_file(load_file(file), file, {"replay": json.dumps(header)})
    assert_holds(ReplaySource.open(tmp_path / "replay"), LENGTHS)
