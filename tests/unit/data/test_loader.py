"""Batches hold the right windows with their validity, whatever reads them, and resume exactly."""

import gc
import shutil
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from tests import drives
from tests.recordings import ACTION, FEATURES, FRONT, STATE, WRIST, record

from tempovla.data.errors import DatasetError, UnknownStreamError
from tempovla.data.layout import Feature
from tempovla.data.lerobot import open_dataset
from tempovla.data.loader import LoaderConfig, SampleLoader, read_windows
from tempovla.data.memory import MemoryEpisode, MemorySource
from tempovla.data.mixture import Mixture
from tempovla.timeline import Embodiment, StreamInfo, TimelineSample, Window
from tempovla.timeline.keys import WORDS_KEY

WINDOWS = (Window(STATE, (-2, 0)), Window(FRONT, (0, 3)), Window(WRIST, (-1,)), Window(ACTION, (-1, 0, 1, 2)))
ON_DEMAND = LoaderConfig(batch_size=5, preload_bytes=0)
PRELOADED = LoaderConfig(batch_size=5)
WORKERS = LoaderConfig(batch_size=5, preload_bytes=0, num_workers=2)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("loader") / "set"
    record(root)
    return root


def loader(root: Path, config: LoaderConfig, **more) -> SampleLoader:
    return SampleLoader(Mixture([open_dataset(root)]), WINDOWS, config, **{"seed": 3, **more})


def assert_same(a: TimelineSample, b: TimelineSample) -> None:
    assert torch.equal(a.seed, b.seed)
    assert torch.equal(a.context.first, b.context.first)
    assert a.context.task == b.context.task
    for one, other in ((a.context.past, b.context.past), (a.context.now, b.context.now), (a.future, b.future)):
        assert one.keys() == other.keys()
        for key in one:
            assert torch.equal(one[key].value, other[key].value)
            assert torch.equal(one[key].valid, other[key].valid)
            assert torch.equal(one[key].offset, other[key].offset)


def test_samples_are_split_into_past_now_and_future(dataset: Path) -> None:
    sample = next(iter(loader(dataset, PRELOADED)))
    offsets = {
        name: {key: track.offset.tolist() for key, track in tracks.items()}
        for name, tracks in (("past", sample.context.past), ("now", sample.context.now), ("future", sample.future))
    }
    assert offsets == {
        "past": {STATE: [-2], WRIST: [-1], ACTION: [-1]},
        "now": {STATE: [0], FRONT: [0]},
        "future": {FRONT: [3], ACTION: [0, 1, 2]},
    }
    assert sample.context.now[FRONT].value.shape == (5, 1, 32, 48, 3)
    assert sample.context.now[FRONT].value.dtype == torch.uint8


OUTCOMES = {
    "next.reward": Feature("float32", (1,)),
    "next.success": Feature("bool", (1,)),
    "next.done": Feature("bool", (1,)),
}


@pytest.mark.parametrize("config", [ON_DEMAND, PRELOADED])
def test_what_follows_an_action_is_the_future_and_changes_nothing_for_who_does_not_ask(
    dataset: Path, tmp_path: Path, config: LoaderConfig
) -> None:
    record(tmp_path / "set", features=FEATURES | OUTCOMES)
    source, before = open_dataset(tmp_path / "set"), open_dataset(dataset)
    assert {key: source.streams[key].kind for key in OUTCOMES} == dict.fromkeys(OUTCOMES, "scalar")
    for ours, expected in islice(zip(loader(tmp_path / "set", config), loader(dataset, config), strict=True), 4):
        assert_same(ours, expected)
    for key in (STATE, ACTION, FRONT):
        for name, value in before.statistics[key].items():
            np.testing.assert_array_equal(source.statistics[key][name], value)
    windows = [Window(key, (-1, 0, 1)) for key in OUTCOMES]
    sample = next(iter(SampleLoader(Mixture([source]), windows, config, seed=3)))
    assert sample.context.now == {}
    for key in OUTCOMES:
        assert sample.context.past[key].offset.tolist() == [-1]
        assert sample.future[key].offset.tolist() == [0, 1]
        assert sample.future[key].value.shape == (5, 2, 1)
    assert sample.future["next.done"].value.dtype == torch.bool


def test_samples_hold_what_a_read_of_the_source_gives(dataset: Path) -> None:
    source = open_dataset(dataset)
    seen = 0
    where = {}
    for episode in range(len(source)):
        for step in range(source.episode(episode).length):
            where[source.read(episode, STATE, [step]).value.tobytes()] = episode, step
    for sample in loader(dataset, ON_DEMAND, epochs=1):
        for row in range(sample.batch_size):
            episode, now = where[sample.context.now[STATE].value[row].numpy().tobytes()]
            assert bool(sample.context.first[row]) == (now == 0)
            assert sample.context.task[row].instruction == source.episode(episode).instruction
            for window in WINDOWS:
                tracks = [
                    group[window.key]
                    for group in (sample.context.past, sample.context.now, sample.future)
                    if window.key in group
                ]
                value = np.concatenate([track.value[row].numpy() for track in tracks])
                valid = np.concatenate([track.valid[row].numpy() for track in tracks])
                expected = source.read(episode, window.key, [now + offset for offset in window.offsets])
                np.testing.assert_array_equal(value, expected.value)
                np.testing.assert_array_equal(valid, expected.valid)
            seen += 1
    assert seen == 28


@pytest.mark.parametrize("config", [PRELOADED, WORKERS], ids=["preloaded", "two workers"])
def test_every_way_of_reading_gives_the_same_batches(dataset: Path, config: LoaderConfig) -> None:
    for one, other in zip(loader(dataset, ON_DEMAND, epochs=2), loader(dataset, config, epochs=2), strict=True):
        assert_same(one, other)


@pytest.mark.parametrize("config", [PRELOADED, WORKERS], ids=["in process", "two workers"])
def test_resumed_loader_goes_on_after_the_last_batch_yielded(dataset: Path, config: LoaderConfig) -> None:
    whole = list(islice(loader(dataset, PRELOADED), 9))
    first = loader(dataset, config)
    list(islice(first, 4))
    second = loader(dataset, config)
    second.load_state_dict(first.state_dict())
    for expected, got in zip(whole[4:], islice(second, 5), strict=True):
        assert_same(expected, got)


def test_iterating_again_goes_on_where_it_stopped(dataset: Path) -> None:
    whole = list(islice(loader(dataset, PRELOADED), 4))
    broken = loader(dataset, PRELOADED)
    parts = [*islice(broken, 2), *islice(broken, 2)]
    for expected, got in zip(whole, parts, strict=True):
        assert_same(expected, got)


def test_ranks_share_each_batch(dataset: Path) -> None:
    whole = next(iter(loader(dataset, LoaderConfig(batch_size=4))))
    ranks = [next(iter(loader(dataset, LoaderConfig(batch_size=2), rank=rank, world_size=2))) for rank in (0, 1)]
    joined = torch.cat([part.future[ACTION].value for part in ranks])
    assert torch.equal(whole.future[ACTION].value, joined)


def test_chosen_episodes_alone_are_sampled(dataset: Path) -> None:
    mixture = Mixture([open_dataset(dataset)], episodes=[[1]])
    samples = list(SampleLoader(mixture, WINDOWS, PRELOADED, seed=3, epochs=1))
    assert sum(sample.batch_size for sample in samples) == 7
    assert {task.instruction for sample in samples for task in sample.context.task} == {"task 1"}


def test_mixture_draws_from_all_sources(dataset: Path, tmp_path: Path) -> None:
    record(tmp_path / "other", (6,))
    sources = [open_dataset(dataset), open_dataset(tmp_path / "other")]
    mixture = Mixture(sources, weights=(1.0, 1.0))
    config = LoaderConfig(batch_size=40)
    loader = SampleLoader(mixture, WINDOWS, config, seed=3)
    drawn = next(iter(loader)).context.now[STATE].value[:, 0].numpy()
    for source in sources:
        states = np.concatenate(
            [source.read(i, STATE, range(source.episode(i).length)).value for i in range(len(source))]
        )
        assert np.isin(drawn, states).all(axis=1).sum() >= 12
    assert loader.samples_per_epoch == 28 + 6


def test_unknown_stream_is_named_with_its_nearest(dataset: Path) -> None:
    windows = [Window("observation.images.font", (0,))]
    with pytest.raises(UnknownStreamError, match=r"no stream 'observation.images.font'; did you mean .*images.front"):
        SampleLoader(Mixture([open_dataset(dataset)]), windows, PRELOADED, seed=0)


def test_error_in_a_worker_is_one_line(dataset: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(dataset, tmp_path / "set"))
    broken = loader(root, WORKERS)
    next(root.glob("videos/*/*/*.mp4")).unlink()
    with pytest.raises(DatasetError, match=r"mp4: missing") as caught:
        list(islice(broken, 10))
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_memory_is_flat_over_epochs(tmp_path: Path) -> None:
    features = {ACTION: FEATURES[ACTION], FRONT: Feature("video", (128, 128, 3))}
    record(tmp_path / "set", (60, 60, 60), features)
    mixture = Mixture([open_dataset(tmp_path / "set", cache_bytes=2 << 20)])  # a quarter of the frames
    endless = SampleLoader(mixture, [Window(FRONT, (-1, 0)), Window(ACTION, (0,))], ON_DEMAND, seed=0)
    batches = iter(endless)
    memory_mb = []
    for _ in range(4):
        for _ in range(endless.batches_per_epoch):
            next(batches)
        gc.collect()
        lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
        memory_mb.append(sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) / 1024)
    assert memory_mb[3] - memory_mb[0] < 8  # three epochs decode 26 MB


def test_mixture_of_two_shapes_is_refused(dataset: Path, tmp_path: Path) -> None:
    record(tmp_path / "other", (6,), FEATURES | {ACTION: Feature("float32", (4,))})
    mixture = Mixture([open_dataset(dataset), open_dataset(tmp_path / "other")])
    with pytest.raises(DatasetError, match=r"'action' has shape \[4\], but \[2\]"):
        SampleLoader(mixture, WINDOWS, PRELOADED, seed=0)


def test_points_of_a_source_become_tracks_that_know_which_are_absent():
    lidar = "observation.points.lidar"
    clouds = np.arange(24, dtype=np.float32).reshape(3, 4, 2)
    clouds[1, 2:] = np.nan
    streams = {
        lidar: StreamInfo("points", (4, 2), "float32", 10.0),
        ACTION: StreamInfo("action", (1,), "float32", 10.0),
    }
    values = {lidar: clouds, ACTION: np.zeros((3, 1), np.float32)}
    source = MemorySource("toy", Embodiment("car", 0, 1, 10.0), streams, [MemoryEpisode("drive", 3, values)])
    assert set(source.statistics) == {ACTION}
    windows = (Window(lidar, (-1, 0)), Window(ACTION, (0,)))
    sample = next(iter(SampleLoader(Mixture([source]), windows, LoaderConfig(batch_size=3), seed=0, epochs=1)))
    track = sample.context.track(lidar)
    assert track.value.isfinite().all()
    first, present = track.value[:, 1, 0, 0].tolist(), track.element_valid[:, 1].sum(-1).tolist()
    assert dict(zip(first, present, strict=True)) == {0: 4, 8: 2, 16: 4}


def test_past_words_are_those_of_their_own_steps() -> None:
    source = drives.drives(1, 6)
    told = source.instructions(0)
    windows = (Window(WORDS_KEY, (-3, -1)), Window(STATE, (0,)))
    context, _ = read_windows(source, windows, np.zeros(2, np.int64), np.array([1, 5]))
    track = context.past[WORDS_KEY]
    assert track.valid.tolist() == [[False, True], [True, True]]
    words = [[bytes(step.tolist()).rstrip(b"\0").decode() for step in row] for row in track.value]
    assert words == [[told[0], told[0]], [told[2], told[4]]]
    assert [task.instruction for task in context.task] == [told[1], told[5]]


def test_a_window_that_is_optional_is_left_out_where_the_source_lacks_its_stream() -> None:
    source = drives.drives(1, 6)
    windows = (Window(STATE, (0,)), Window("observation.points.sonar", (0,), optional=True))
    loader = SampleLoader(Mixture([source]), windows, LoaderConfig(batch_size=2), seed=0)
    assert set(next(iter(loader)).context.now) == {STATE}
    with pytest.raises(UnknownStreamError, match=r"observation\.points\.sonar"):
        SampleLoader(Mixture([source]), [Window(w.key, w.offsets) for w in windows], LoaderConfig(), seed=0)
