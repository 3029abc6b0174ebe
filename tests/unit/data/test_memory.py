"""Sources in memory: streams on other clocks are read at the control step's time; preloading changes no value."""

from pathlib import Path

import numpy as np
import pytest
from tests.recordings import ACTION, FRONT, STATE, WRIST, record

from tempovla.data.errors import DatasetError, UnknownStreamError
from tempovla.data.lerobot import open_dataset
from tempovla.data.memory import MemoryEpisode, MemorySource, preload
from tempovla.timeline import Embodiment, EpisodeSource, StreamInfo, Window
from tempovla.timeline.laws.source import check_shift

BODY = Embodiment("toy", state_dim=1, action_dim=1, rate_hz=10.0)
STREAMS = {
    "action": StreamInfo("action", (1,), "float64", 10.0),
    "slow": StreamInfo("state", (1,), "float64", 5.0),
    "fast": StreamInfo("state", (1,), "float64", 100.0),
}


def make_episode(length: int, first: float, gap: tuple[float, float] = (9.0, 9.0)) -> MemoryEpisode:
    """Each value is its own time; the slow stream starts late, and has a gap."""
    slow = np.arange(1, length // 2) / 5
    slow = slow[(slow < gap[0]) | (slow > gap[1])]
    fast = np.arange(10 * length) / 100
    values = {"action": np.arange(length) / 10, "slow": slow, "fast": fast}
    return MemoryEpisode(
        "go", length, {key: first + value[:, None] for key, value in values.items()}, {"slow": slow, "fast": fast}
    )


@pytest.fixture
def source() -> MemorySource:
    return MemorySource("toy", BODY, STREAMS, [make_episode(8, 0.0), make_episode(20, 100.0, gap=(0.7, 1.3))])


def test_a_stream_of_another_rate_is_read_at_the_latest_value_before_the_step(source: MemorySource) -> None:
    value, valid = source.read(0, "slow", range(8))
    assert valid.tolist() == [False, False, True, True, True, True, True, True]
    np.testing.assert_allclose(value[2:, 0], [0.2, 0.2, 0.4, 0.4, 0.6, 0.6])
    value, valid = source.read(0, "fast", range(8))
    assert valid.all()
    np.testing.assert_allclose(value[:, 0], np.arange(8) / 10)


def test_values_older_than_the_tolerance_are_invalid(source: MemorySource) -> None:
    value, valid = source.read(1, "slow", range(20))
    stale = [step for step in range(2, 20) if not valid[step]]
    assert stale == [9, 10, 11, 12, 13]  # the gap begins after 0.6 s, and 0.8 s is still within one period of it
    np.testing.assert_allclose(value[8, 0], 100.6)


def test_steps_outside_the_episode_are_clamped_and_invalid(source: MemorySource) -> None:
    value, valid = source.read(0, "action", [-1, 0, 7, 8])
    assert valid.tolist() == [False, True, True, False]
    np.testing.assert_allclose(value[:, 0], [0.0, 0.0, 0.7, 0.7])


def test_windows_shift_with_time_on_every_clock(source: MemorySource) -> None:
    for key in STREAMS:
        check_shift(source, Window(key, (-2, 0, 1)), episodes=(0, 1))


def test_timestamps_are_those_of_the_stream(source: MemorySource) -> None:
    assert isinstance(source, EpisodeSource)
    np.testing.assert_allclose(source.timestamps(0, "slow"), [0.2, 0.4, 0.6])
    np.testing.assert_allclose(source.timestamps(0, "action"), np.arange(8) / 10)


def test_statistics_are_those_of_all_values(source: MemorySource) -> None:
    expected = np.concatenate([np.arange(8) / 10, 100 + np.arange(20) / 10])
    np.testing.assert_allclose(source.statistics["action"]["mean"], [expected.mean()])


def test_a_stream_without_timestamps_needs_a_value_a_step() -> None:
    episode = MemoryEpisode("go", 5, {"action": np.zeros((4, 1))})
    with pytest.raises(DatasetError, match="one value for each control step"):
        MemorySource("toy", BODY, {"action": STREAMS["action"]}, [episode])


def test_unknown_streams_and_episodes_are_refused(source: MemorySource) -> None:
    with pytest.raises(UnknownStreamError, match="did you mean action"):
        source.read(0, "actions", [0])
    with pytest.raises(IndexError, match="no episode 2"):
        source.read(2, "action", [0])


def test_preloaded_streams_equal_those_on_disk(tmp_path: Path) -> None:
    record(tmp_path / "set")
    disk = open_dataset(tmp_path / "set")
    memory = preload(disk, [ACTION, STATE, FRONT, WRIST], max_bytes=1 << 20)
    assert isinstance(memory, MemorySource)
    assert disk.cache.used_bytes == 0  # the frames are held once, not twice
    assert memory.streams == {key: disk.streams[key] for key in (ACTION, STATE, FRONT, WRIST)}
    for episode in range(3):
        assert memory.episode(episode) == disk.episode(episode)
        for key in memory.streams:
            steps = range(-1, disk.episode(episode).length + 1)
            one, other = memory.read(episode, key, steps), disk.read(episode, key, steps)
            np.testing.assert_array_equal(one.value, other.value)
            np.testing.assert_array_equal(one.valid, other.valid)


def test_preloading_keeps_what_is_invalid_inside_an_episode(source: MemorySource) -> None:
    class OnDisk:
        def __getattr__(self, name: str) -> object:
            return getattr(source, name)

        def __len__(self) -> int:
            return len(source)

    memory = preload(OnDisk(), ["slow"], max_bytes=1 << 20)
    for episode in range(2):
        one, other = memory.read(episode, "slow", range(-1, 9)), source.read(episode, "slow", range(-1, 9))
        np.testing.assert_array_equal(one.valid, other.valid)
        np.testing.assert_array_equal(one.value, other.value)
    np.testing.assert_allclose(memory.timestamps(0, "slow"), source.timestamps(0, "slow"))


def test_what_does_not_fit_stays_on_disk(tmp_path: Path) -> None:
    record(tmp_path / "set")
    disk = open_dataset(tmp_path / "set")
    assert preload(disk, [FRONT], max_bytes=28 * 32 * 48 * 3 - 1) is disk
    assert preload(disk, [FRONT], max_bytes=28 * 32 * 48 * 3) is not disk
