"""Samples of now and later from datasets on the disk, drawn by weight, the same for the same seed and epoch."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from tests import libero_recordings, recordings
from tests.foreign import Foreign, write_v21
from torch.utils.data import DataLoader

from tempovla.data import columns
from tempovla.data.errors import DatasetError, OutOfRangeError, UnknownStreamError
from tempovla.data.open import open_source
from tempovla.data.temporal.config import TemporalDataConfig
from tempovla.data.temporal.dataset import TemporalDataset, TemporalPart
from tempovla.timeline.keys import ACTION_KEY
from tempovla.transform.image import resize_frames

LENGTHS = (12, 3, 9)
K = 4
CONFIG = TemporalDataConfig((0, K), (0, 1, 2, 3))
FORMATS = ("v2.1", "v3.0", "hdf5")


def write(root: Path, kind: str) -> Path:
    if kind == "v2.1":
        write_v21(root, Foreign(lengths=LENGTHS))
    elif kind == "v3.0":
        recordings.record(root, LENGTHS)
    else:
        libero_recordings.record(root, LENGTHS, tasks=(libero_recordings.SOUP,))
    return root


@pytest.fixture(scope="module")
def roots(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("temporal")
    return {kind: write(folder / kind.replace(".", ""), kind) for kind in FORMATS}


def part(root: Path, config: TemporalDataConfig = CONFIG, **options) -> TemporalPart:
    return TemporalPart(open_source(root), config, **options)


def dataset(*parts: TemporalPart, **options) -> TemporalDataset:
    return TemporalDataset(parts, **{"size": 16, **options})


def same(one: dict, other: dict) -> bool:
    assert one.keys() == other.keys()
    return all(_equal(one[key], other[key]) for key in one)


def _equal(one, other) -> bool:
    if isinstance(one, list):
        return all(np.array_equal(np.array(a), np.array(b)) for a, b in zip(one, other, strict=True))
    return bool(np.array_equal(one, other))


@pytest.mark.parametrize("kind", FORMATS)
def test_an_episode_of_n_steps_has_n_minus_k_targets_and_a_shorter_one_none(roots, kind):
    samples = dataset(part(roots[kind]), include_state=True)
    assert len(samples) == sum(LENGTHS)
    valid = dict.fromkeys(range(len(LENGTHS)), 0.0)
    lengths = [samples.parts[0].source.episode(episode).length for episode in valid]
    for index in range(len(samples)):
        _, episode, step = samples.locate(index)
        row = samples[index]
        assert row["valid_tk"] == float(step + K < lengths[episode])
        valid[episode] += row["valid_tk"]
    assert list(valid.values()) == [max(0, length - K) for length in lengths]


@pytest.mark.parametrize("kind", FORMATS)
def test_later_pictures_equal_an_independent_read_of_that_step(roots, kind):
    samples = dataset(part(roots[kind]))
    cameras, other = samples.views[0].cameras, open_source(roots[kind])
    for step in (0, 3, 11):
        row = samples.at(0, 0, step)
        for place, camera in enumerate(cameras):
            frame = torch.from_numpy(other.read(0, camera, [min(step + K, 11)]).value).permute(0, 3, 1, 2)
            expected = resize_frames(frame, 16)[0].permute(1, 2, 0).numpy()
            np.testing.assert_array_equal(np.array(row["image_tk"][place]), expected)


def test_cameras_on_the_hand_come_last(roots):
    assert dataset(part(roots["v3.0"])).views[0].cameras == (recordings.FRONT, recordings.WRIST)
    assert dataset(part(roots["hdf5"])).views[0].cameras == (libero_recordings.AGENT, libero_recordings.WRIST)
    chosen = dataset(part(roots["hdf5"], cameras=(libero_recordings.WRIST,)))
    assert [len(chosen[0][key]) for key in ("image_t", "image_tk")] == [1, 1]
    with pytest.raises(UnknownStreamError, match=r"no stream 'observation.images.frnt'; did you mean"):
        dataset(part(roots["v3.0"], cameras=("observation.images.frnt",)))


def test_a_sample_follows_from_seed_epoch_and_index_alone(roots):
    parts = part(roots["v3.0"], weight=2.0), part(roots["v2.1"])
    one, other = dataset(*parts, seed=3), dataset(*parts, seed=3)
    forward = [one.locate(index) for index in range(len(one))]
    assert [other.locate(index) for index in reversed(range(len(other)))] == forward[::-1]
    assert same(one[5], other[5])
    one.set_epoch(1)
    assert [one.locate(index) for index in range(len(one))] != forward
    one.set_epoch(0)
    assert [one.locate(index) for index in range(len(one))] == forward
    assert [dataset(*parts, seed=4).locate(index) for index in range(len(one))] != forward


def test_one_dataset_is_gone_through_without_a_step_twice(roots):
    samples = dataset(part(roots["v3.0"]))
    for epoch in (0, 1):
        samples.set_epoch(epoch)
        assert len({samples.locate(index) for index in range(len(samples))}) == sum(LENGTHS)


def test_datasets_are_drawn_from_by_weight_whatever_their_sizes(roots):
    samples = dataset(part(roots["v3.0"], weight=3.0), part(roots["v2.1"], weight=1.0, episodes=(1,)))
    drawn = [samples.locate(index)[0] for epoch in range(20) for index in _of_epoch(samples, epoch)]
    assert len(samples) == sum(LENGTHS) + 3
    assert 0.70 < drawn.count(0) / len(drawn) < 0.80


def _of_epoch(samples: TemporalDataset, epoch: int) -> range:
    samples.set_epoch(epoch)
    return range(len(samples))


def test_samples_of_several_datasets_tell_theirs(roots):
    names = {"v30": 2, "v21": 1}
    samples = dataset(part(roots["v3.0"]), part(roots["v2.1"]))
    for index in range(len(samples)):
        row = samples[index]
        assert len(row["image_t"]) == names[row["dataset"]]
    assert dataset(part(roots["v3.0"]))[0]["dataset"] == ""


def test_a_loader_with_workers_gives_the_same_samples_in_every_epoch(roots):
    samples = dataset(part(roots["v3.0"]), part(roots["hdf5"]))
    loader = DataLoader(samples, batch_size=8, collate_fn=list, num_workers=1, persistent_workers=True)
    for epoch in (0, 1):
        samples.set_epoch(epoch)
        found = [row for batch in loader for row in batch]
        assert len(found) == len(samples)
        assert all(same(row, samples[index]) for index, row in enumerate(found))


def test_each_dataset_is_normalised_by_its_own_statistics_and_a_gripper_is_not(roots):
    config = TemporalDataConfig((0, K), (0, 1, 2, 3), has_gripper=True)
    recorded = open_source(roots["hdf5"])
    raw = dataset(part(roots["hdf5"], config), normalization=None).at(0, 0, 2)["action"]
    np.testing.assert_array_equal(raw, recorded.read(0, ACTION_KEY, range(2, 6)).value)
    scaled = dataset(part(roots["hdf5"], config)).at(0, 0, 2)["action"]
    low, high = (recorded.statistics[ACTION_KEY][name] for name in ("min", "max"))
    np.testing.assert_allclose(scaled[:, :6], (2 * (raw - low) / (high - low) - 1)[:, :6], atol=1e-5)
    np.testing.assert_array_equal(scaled[:, 6], raw[:, 6])


def test_a_dataset_without_the_step_k_is_refused_by_name(roots):
    parts = part(roots["v3.0"]), part(roots["v2.1"], TemporalDataConfig((0,), (0, 1, 2, 3)))
    with pytest.raises(ValueError, match=r"v21: no observation 4 steps after now, .*; add 4 to observation_indices"):
        dataset(*parts)


def test_a_dataset_without_the_step_k_that_is_allowed_is_warned_of_and_has_no_target(roots, caplog):
    parts = part(roots["v3.0"]), part(roots["v2.1"], TemporalDataConfig((0,), (0, 1, 2, 3)))
    with caplog.at_level(logging.WARNING):
        samples = dataset(*parts, allow_without_target=True)
    assert "v21: no observation 4 steps after now" in caplog.text
    assert "v30" not in caplog.text
    rows = [samples[index] for index in range(len(samples))]
    assert {row["valid_tk"] for row in rows if row["dataset"] == "v21"} == {0.0}
    assert {row["valid_tk"] for row in rows if row["dataset"] == "v30"} == {0.0, 1.0}


def test_datasets_need_one_k(roots):
    seven = TemporalDataConfig((0, 2, 7), (0, 1, 2, 3))
    with pytest.raises(ValueError, match=r"have k = 4 \(.*v30\) and k = 7 \(.*v21\); give one k"):
        dataset(part(roots["v3.0"]), part(roots["v2.1"], seven))
    with pytest.raises(ValueError, match="v30: no observation after now; add k to observation_indices"):
        dataset(part(roots["v3.0"], TemporalDataConfig()))
    assert dataset(part(roots["v2.1"], seven), k=2).at(0, 0, 0)["temporal_delta_k"] == 2


def test_other_settings_give_other_samples_of_the_same_source(roots):
    """Whatever is kept in memory between samples depends on the settings."""
    source = open_source(roots["v3.0"])
    near = TemporalDataset([TemporalPart(source, TemporalDataConfig((0, 2), (0, 1)))], size=16)
    far = TemporalDataset([TemporalPart(source, CONFIG)], size=8)
    for _ in range(2):
        assert [row["valid_tk"] for row in (near.at(0, 0, 9), far.at(0, 0, 9))] == [1.0, 0.0]
        assert [row["image_t"][0].size for row in (near.at(0, 0, 9), far.at(0, 0, 9))] == [(16, 16), (8, 8)]
        assert [len(row["action"]) for row in (near.at(0, 0, 9), far.at(0, 0, 9))] == [2, 4]


def test_the_tables_of_a_dataset_are_not_read_again_for_every_sample(roots, monkeypatch):
    samples = dataset(part(roots["v3.0"]), include_state=True)
    opened = []
    real = columns.open_parquet
    monkeypatch.setattr(
        columns, "open_parquet", lambda path, *more, **options: opened.append(path) or real(path, *more, **options)
    )
    for index in range(len(samples)):
        samples[index]
    assert len(opened) <= len(LENGTHS)


def test_what_cannot_be_read_is_an_error_and_no_other_sample_takes_its_place(tmp_path):
    write_v21(tmp_path / "set", Foreign(lengths=(5,)))
    samples = dataset(part(tmp_path / "set"))
    (video,) = (tmp_path / "set").rglob("*.mp4")
    video.write_bytes(video.read_bytes()[:200])
    with pytest.raises(DatasetError, match="mp4"):
        samples[0]


def test_steps_that_there_are_not_are_refused(roots):
    samples = dataset(part(roots["v3.0"]))
    with pytest.raises(OutOfRangeError, match="no step 3 in episode 1; it has 3"):
        samples.at(0, 1, 3)
    with pytest.raises(IndexError):
        samples[len(samples)]
    assert same(samples[-1], samples[len(samples) - 1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seed": -1}, "seed=-1 must be at least 0"),
        ({"k": 0}, "k=0 must be at least 1"),
        ({"size": 0}, "size=0 of pictures"),
        ({"include_state": "false"}, "include_state='false' is neither true nor false"),
    ],
)
def test_settings_that_make_no_dataset_are_refused(roots, options, message):
    with pytest.raises(ValueError, match=message):
        dataset(part(roots["v3.0"]), **options)


def test_two_datasets_of_one_name_are_refused(roots):
    with pytest.raises(ValueError, match="two datasets are called 'v30'; give each part a name of its own"):
        dataset(part(roots["v3.0"]), part(roots["v3.0"]))
    named = dataset(part(roots["v3.0"], name="left"), part(roots["v3.0"], name="right"))
    assert {named[index]["dataset"] for index in range(10)} == {"left", "right"}


def test_a_dataset_of_no_parts_is_refused():
    with pytest.raises(ValueError, match="a dataset of no parts has no samples"):
        TemporalDataset([])
