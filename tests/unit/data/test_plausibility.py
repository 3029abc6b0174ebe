"""Stored statistics that cannot be those of the rows are told from honest ones."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from tests.foreign import ACTION, STATE, Foreign, edit_json, write_v30

from tempovla.data import plausibility
from tempovla.data.lerobot import open_dataset
from tempovla.data.memory import MemoryEpisode, MemorySource
from tempovla.data.plausibility import findings, loose_quantiles, statistics_problems
from tempovla.data.statistics import aggregate, of_values
from tempovla.timeline.source import StreamInfo
from tempovla.timeline.task import Embodiment

FIXTURES = Path(__file__).parents[2] / "data" / "lerobot"
ALL = {ACTION: ("mean", "std", "min", "max")}


def source_of(episodes: list[np.ndarray]) -> MemorySource:
    streams = {ACTION: StreamInfo("action", (episodes[0].shape[1],), "float32", 10.0, ("lift", "grip"))}
    parts = [MemoryEpisode("go", len(values), {ACTION: values}) for values in episodes]
    return MemorySource("set", Embodiment("arm", 0, 2, 10.0), streams, parts)


def told(episodes: list[np.ndarray], change: dict[str, list[float]], needed=ALL):
    source = source_of(episodes)
    stored = {ACTION: dict(source.statistics[ACTION]) | {name: np.array(value) for name, value in change.items()}}
    return findings(source, stored, needed)


EPISODES = [np.stack([np.sin(0.1 * np.arange(40) + e), np.cos(0.3 * np.arange(40) + e)], axis=1) for e in range(6)]


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"mean": [1000.0, 0.0], "std": [0.001, 1.0]}, r"dimension 0 (lift) has mean 1000 outside of min"),
        ({"std": [-0.1, 1.0]}, "dimension 0 (lift) has std -0.1, which is negative"),
        ({"std": [9.0, 0.7]}, "dimension 0 (lift) has std 9, more than min"),
        ({"min": [2.0, -1.0]}, "dimension 0 (lift) has min 2 above max"),
        ({"q99": [1.0, -3.0]}, "dimension 1 (grip) has q90 0.950743 above q99 -3"),
        ({"mean": [0.9, 0.0], "std": [0.001, 0.7]}, "dimension 0 (lift) has mean 0.9 and std 0.001 in meta/, but its"),
        ({"min": [-0.1, -1.0], "max": [0.15, 1.0], "std": [0.1, 0.7]}, "dimension 0 (lift) has min -0.1 above q01"),
        ({"min": [-80.0, -1.0], "max": [80.0, 1.0]}, "dimension 0 (lift) has min -80 and max 80 in meta/"),
    ],
)
def test_impossible_statistics_are_refused_and_named(change, line: str) -> None:
    (finding,) = told(EPISODES, change)
    assert finding.refused
    assert line in finding.text
    assert finding.text.startswith("set: the stored statistics of 'action' do not fit the data: ")


@pytest.mark.parametrize(
    "change", [{"mean": [0.2, 0.0]}, {"std": [0.6, 0.7]}, {"max": [0.8, 1], "q90": [0.7, 0.9], "q99": [0.8, 1]}]
)
def test_slightly_stale_statistics_are_no_more_than_a_warning(change) -> None:
    (finding,) = told(EPISODES, change)
    assert not finding.refused
    assert "dimension 0 (lift)" in finding.text


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("change", [{"max": [1e308, 1.0]}, {"min": [-1e308, -1.0], "max": [1e308, 1.0]}])
def test_ends_that_nothing_has_are_told_by_their_dimension_alone(change) -> None:
    for needed in (ALL, {ACTION: ("mean", "std")}):
        (finding,) = told(EPISODES, change, needed)
        assert "dimension 0 (lift) has min " in finding.text
        assert "1e+308 in meta/" in finding.text
        assert finding.refused == (needed is ALL)


def test_doubts_about_what_is_not_used_are_no_more_than_a_warning() -> None:
    stale = {"min": [-80.0, -1.0], "max": [80.0, 1.0]}
    (finding,) = told(EPISODES, stale, {ACTION: ("mean", "std")})
    assert not finding.refused


def honest_sets():
    generator = np.random.default_rng(0)
    spikes = [np.zeros((50, 1)) for _ in range(400)]
    spikes[137][3] = 1000.0  # one spike in 20,000 rows, in an episode that is looked at or not
    yield "a rare spike", spikes
    yield "a spike that is looked at", [spikes[137], *spikes[:399]]
    yield "episodes that stand still, each elsewhere", [np.full((5, 1), x) for x in generator.normal(size=500)]
    yield "one episode", [generator.normal(size=(7, 1))]
    yield "one row", [np.full((1, 1), 0.3)]
    yield "nearly constant", [1.569 + 2e-4 * generator.normal(size=(50, 1)) for _ in range(300)]
    yield "a trend", [np.full((20, 1), 0.01 * e) for e in range(450)]


@pytest.mark.parametrize("episodes", [pytest.param(episodes, id=what) for what, episodes in honest_sets()])
def test_honest_statistics_raise_no_alarm(episodes: list[np.ndarray]) -> None:
    exact = told(episodes, {})
    joined = findings(source_of(episodes), aggregate([{ACTION: of_values(e)} for e in episodes]), ALL)
    assert (exact, joined) == ([], [])


def test_a_sample_finds_what_is_far_off(monkeypatch) -> None:
    monkeypatch.setattr(plausibility, "SAMPLED_EPISODES", 20)
    episodes = [np.random.default_rng(e).normal(size=(30, 1)) for e in range(100)]
    assert told(episodes, {}) == []
    (finding,) = told(episodes, {"mean": [5.0], "min": [-9.0], "max": [9.0]})
    assert finding.refused
    assert "but 600 rows of a sample have mean" in finding.text
    (finding,) = told(episodes, {"mean": [0.9]})
    assert not finding.refused


@pytest.mark.parametrize("name", ["v21_h264", "v21_images", "v30_h264", "v30_files", "v30_images"])
def test_what_lerobot_wrote_itself_raises_no_alarm(name: str) -> None:
    source = open_dataset(FIXTURES / name)
    numbers = [key for key, stream in source.streams.items() if stream.kind != "image"]
    assert source.statistics.findings(dict.fromkeys(numbers, ALL[ACTION])) == []


def test_percentiles_that_are_means_of_episodes_may_be_far_from_those_of_the_rows() -> None:
    episodes = [np.full((10, 1), 1.0 if e % 2 else -1.0) for e in range(10)]
    source = source_of(episodes)
    line = loose_quantiles(source, ACTION, aggregate([{ACTION: of_values(e)} for e in episodes])[ACTION])
    assert line is not None
    assert "of 'action' dimension 0 (lift) are 0 and 0, those of its 100 rows -1 and 1" in line
    assert loose_quantiles(source, ACTION, of_values(np.concatenate(episodes))) is None


def test_problems_name_the_command_that_mends_them_and_pass_by_streams_that_are_not_finite(tmp_path: Path) -> None:
    def spoil(columns, index, length):
        state = np.ones((length, 3), np.float32)
        state[0, 0] = np.nan
        return columns | {STATE: pa.array(state.tolist(), pa.list_(pa.float32()))}

    root = write_v30(tmp_path / "set", Foreign(cameras=(), columns=spoil))
    edit_json(root / "meta/stats.json", lambda stats: stats[ACTION].update(mean=[1000.0, 0.0], std=[0.001, 1.0]))
    (line,) = statistics_problems(open_dataset(root))
    assert "'action'" in line
    assert line.endswith(f"; compute them anew with `tempovla data stats {root} --recompute`")
    source = open_dataset(root)
    source.statistics.compute([ACTION])
    assert statistics_problems(open_dataset(root)) == []
