"""A dataset's fingerprint: the same for the same contents anywhere, another one after any change, without decoding."""

from __future__ import annotations

import shutil

import h5py
import numpy as np
import pytest
from tests import libero_recordings
from tests.gripper_recordings import ACTION, FRONT, STATE, WRIST, record
from tests.small_sources import Plain, memory_source

from tempovla.data import lerobot
from tempovla.data.fingerprint import dataset_fingerprint, hash_arrays
from tempovla.data.lerobot import open_dataset
from tempovla.data.libero_hdf5 import open_libero
from tempovla.data.memory import MemoryEpisode, MemorySource, preload
from tempovla.data.selection import select
from tempovla.timeline import Embodiment, StreamInfo

KEYS = (STATE, FRONT, WRIST)


def test_a_copy_elsewhere_has_the_same(tmp_path):
    root = record(tmp_path / "here")
    shutil.copytree(root, tmp_path / "there" / "other_name")
    here, there = (open_dataset(path) for path in (root, tmp_path / "there" / "other_name"))
    assert dataset_fingerprint(here, KEYS) == dataset_fingerprint(there, KEYS)
    assert len(dataset_fingerprint(here, KEYS)) == 64


def test_of_a_dataset_on_disk_no_picture_is_decoded(tmp_path, monkeypatch):
    source = open_dataset(record(tmp_path / "dataset"))
    monkeypatch.setattr(lerobot.Columns, "picture", lambda *_: pytest.fail("decodes an image"))
    monkeypatch.setattr(lerobot.LeRobotSource, "read_many", lambda *_: pytest.fail("reads values"))
    dataset_fingerprint(source, KEYS)


def test_another_byte_in_a_file_of_data_changes_it(tmp_path):
    root = record(tmp_path / "dataset")
    before = dataset_fingerprint(open_dataset(root), KEYS)
    (data,) = root.glob("data/**/*.parquet")
    content = bytearray(data.read_bytes())
    place = content.find(b"IDAT") + 8  # in a stored PNG: the picture, and nothing else
    content[place] ^= 1
    data.write_bytes(bytes(content))
    assert dataset_fingerprint(open_dataset(root), KEYS) != before


def test_further_episodes_and_fewer_of_them_change_it(tmp_path):
    source = open_dataset(record(tmp_path / "dataset"))
    chosen = [select(source), select(source, demos_per_task=1), select(source, max_len_data=5)]
    found = [dataset_fingerprint(each, KEYS) for each in chosen]
    assert found[0] == dataset_fingerprint(source, KEYS)
    assert len(set(found)) == 3
    more = open_dataset(record(tmp_path / "more", episodes=5))
    assert dataset_fingerprint(more, KEYS) not in found


def test_it_does_not_matter_whether_it_was_preloaded(tmp_path):
    source = open_dataset(record(tmp_path / "dataset"))
    preloaded = preload(source, (*KEYS, ACTION), 1 << 30)
    assert preloaded is not source
    assert dataset_fingerprint(preloaded, KEYS) == dataset_fingerprint(source, KEYS)


def test_of_arrays_in_memory_every_value_counts_and_the_name_does_not():
    before = dataset_fingerprint(memory_source(), (STATE, FRONT))
    assert dataset_fingerprint(memory_source("other"), (STATE, FRONT)) == before
    pictures = np.arange(48, dtype=np.uint8).reshape(4, 2, 2, 3)
    pictures[3, 1, 1, 2] += 1
    state = np.arange(8, dtype=np.float32).reshape(4, 2)
    state[0, 0] = np.nextafter(np.float32(0), np.float32(1))
    changed = [memory_source(**{FRONT: pictures}), memory_source(**{STATE: state}), memory_source(instruction="stop")]
    found = {dataset_fingerprint(source, (STATE, FRONT)) for source in changed}
    assert len(found | {before}) == 4
    other_actions = memory_source(**{ACTION: np.ones((4, 1), dtype=np.float32)})
    assert dataset_fingerprint(other_actions, (STATE, FRONT)) == before  # not among the streams that count
    assert dataset_fingerprint(memory_source(), (STATE,)) != before


def test_when_a_slow_stream_was_read_counts():
    streams = {STATE: StreamInfo("state", (1,), "float32", 5.0)}

    def source(times_s: list[float]) -> MemorySource:
        values = {STATE: np.array([[1.0], [2.0]], dtype=np.float32)}
        episode = MemoryEpisode("go", 4, values, {STATE: np.array(times_s)})
        return MemorySource("toy", Embodiment("toy", 1, 0, 10.0), streams, [episode])

    assert dataset_fingerprint(source([0.0, 0.2]), [STATE]) != dataset_fingerprint(source([0.0, 0.1]), [STATE])


def test_a_source_that_knows_no_better_is_read():
    first, again = Plain(memory_source()), Plain(memory_source())
    changed = Plain(memory_source(**{STATE: np.ones((4, 2), dtype=np.float32)}))
    assert dataset_fingerprint(first, [STATE]) == dataset_fingerprint(again, [STATE])
    assert dataset_fingerprint(first, [STATE]) != dataset_fingerprint(changed, [STATE])


def test_arrays_of_other_types_or_shapes_are_others():
    zeros = np.zeros((2, 3), dtype=np.float32)
    others = [zeros.astype(np.int32), zeros.reshape(3, 2), zeros.T.copy(), zeros[:1]]
    assert hash_arrays({"a": zeros}) not in {hash_arrays({"a": other}) for other in others}
    assert hash_arrays({"a": zeros}) != hash_arrays({"b": zeros})
    assert hash_arrays({"a": np.ones((4, 4))[:, ::2]}) == hash_arrays({"a": np.ones((4, 2))})


def test_libero_files_count_by_their_bytes(tmp_path):
    libero_recordings.record(tmp_path / "here")
    shutil.copytree(tmp_path / "here", tmp_path / "there")
    keys = [STATE, libero_recordings.AGENT]
    before = dataset_fingerprint(open_libero(tmp_path / "here"), keys)
    assert dataset_fingerprint(open_libero(tmp_path / "there"), keys) == before
    file = sorted((tmp_path / "there").glob("*.hdf5"))[0]
    with h5py.File(file, "r+") as opened:
        pictures = opened["data/demo_0/obs/agentview_rgb"]
        pictures[2, 3, 4, 0] = pictures[2, 3, 4, 0] ^ 1
    assert dataset_fingerprint(open_libero(tmp_path / "there"), keys) != before


def test_words_count_where_they_change_and_alone_they_count_as_ever():
    def source(words: str | tuple[str, ...]) -> MemorySource:
        values = {STATE: np.zeros((3, 1), dtype=np.float32)}
        streams = {STATE: StreamInfo("state", (1,), "float32", 10.0)}
        return MemorySource("toy", Embodiment("toy", 1, 0, 10.0), streams, [MemoryEpisode(words, 3, values)])

    prints = [dataset_fingerprint(source(words), [STATE]) for words in ("go", ("go",) * 3)]
    assert prints[0] == prints[1] == "309b012cbccb9da7ba073197e91da1b6f6cc5b2b745fb2866a7e75f5f4028941"
    changing = [("go", "go", "stop"), ("go", "stop", "stop"), ("go", "stop", "go"), ("stop", "stop", "stop")]
    assert len({prints[0], *(dataset_fingerprint(source(words), [STATE]) for words in changing)}) == 5
