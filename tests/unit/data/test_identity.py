"""What a dataset is read from: the same wherever it lies, another after a change of what is read, file by file."""

from __future__ import annotations

import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from tests import libero_recordings
from tests.foreign import FRONT, WRITERS, Foreign, edit_json, write_v21
from tests.recordings import ACTION, STATE, WRIST, record
from tests.small_sources import Plain, memory_source

from tempovla.data import identity
from tempovla.data.identity import evenly, hash_of_arrays, identity_of
from tempovla.data.lerobot import open_dataset
from tempovla.data.libero_hdf5 import open_libero
from tempovla.data.loader import LoaderConfig, SampleLoader
from tempovla.data.memory import preload
from tempovla.data.mixture import Mixture
from tempovla.data.open import open_source
from tempovla.data.selection import select
from tempovla.data.stream_keys import StreamKeys
from tempovla.timeline import Window

KEYS = (STATE, ACTION, FRONT)


def changed_files(before: Path, after: Path, keys: tuple[str, ...] = KEYS) -> set[str]:
    one, two = (identity_of(open_dataset(root), keys).files for root in (before, after))
    return {name for name in one | two if one.get(name) != two.get(name)}


@pytest.mark.parametrize("version", WRITERS)
def test_a_copy_elsewhere_is_the_same_and_a_changed_description_is_named(tmp_path, version):
    root = WRITERS[version](tmp_path / "here", Foreign())
    shutil.copytree(root, tmp_path / "there")
    keys = tuple(open_dataset(root).streams)
    one, two = (identity_of(open_dataset(each), keys) for each in (root, tmp_path / "there"))
    assert (one.facts, one.files) == (two.facts, two.files)
    edit_json(tmp_path / "there/meta/info.json", lambda info: info.update(robot_type="other"))
    assert changed_files(root, tmp_path / "there", keys) == {"meta/info.json"}


def test_other_words_are_named(tmp_path):
    root = write_v21(tmp_path / "here", Foreign())
    shutil.copytree(root, tmp_path / "there")
    tasks = tmp_path / "there/meta/tasks.jsonl"
    tasks.write_text(tasks.read_text().replace('"task": "', '"task": "not '))
    assert changed_files(root, tmp_path / "there", ("action",)) == {"meta/tasks.jsonl"}


def test_a_replaced_video_a_changed_row_and_a_further_episode_are_named(tmp_path):
    record(tmp_path / "here", (9, 7))
    shutil.copytree(tmp_path / "here", tmp_path / "rows")
    record(tmp_path / "more", (9, 7, 8))
    (video,) = (tmp_path / "here").glob(f"videos/{FRONT}/**/*.mp4")
    shutil.copytree(tmp_path / "here", tmp_path / "film")
    (other,) = (tmp_path / "more").glob(f"videos/{FRONT}/**/*.mp4")
    name = str(video.relative_to(tmp_path / "here"))
    shutil.copy(other, tmp_path / "film" / name)
    assert changed_files(tmp_path / "here", tmp_path / "film") == {name}
    assert changed_files(tmp_path / "here", tmp_path / "film", (STATE, ACTION, WRIST)) == set()  # is not looked at
    data = {"data/chunk-000/file-000.parquet"}
    (file,) = (tmp_path / "rows").glob("data/**/*.parquet")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(bytes(content))
    assert changed_files(tmp_path / "here", tmp_path / "rows") == data
    assert changed_files(tmp_path / "here", tmp_path / "more") >= {*data, name, "meta/info.json"}


def test_a_dataset_that_is_there_in_part_may_be_trained_on_in_part(tmp_path):
    root = write_v21(tmp_path / "data", Foreign())
    before = identity_of(open_dataset(root), KEYS).files
    (root / "data/chunk-000/episode_000001.parquet").unlink()
    after = identity_of(open_dataset(root), KEYS).files
    assert after == before | {"data/chunk-000/episode_000001.parquet": "absent"}


def test_libero_files_count_with_their_numbers_and_words(tmp_path):
    libero_recordings.record(tmp_path / "here")
    shutil.copytree(tmp_path / "here", tmp_path / "there")
    keys = [STATE, libero_recordings.AGENT]
    one, two = (identity_of(open_libero(tmp_path / name), keys) for name in ("here", "there"))
    assert (one.facts, one.files) == (two.facts, two.files)
    file = sorted((tmp_path / "there").glob("*.hdf5"))[0]
    with h5py.File(file, "r+") as opened:
        opened["data/demo_0/actions"][1, 0] += 1e-3
    changed = identity_of(open_libero(tmp_path / "there"), keys).files
    assert {name for name in changed if changed[name] != one.files[name]} == {file.name}


def test_which_episodes_and_steps_are_read_counts_and_whether_they_are_in_memory_does_not(tmp_path):
    record(tmp_path / "data")
    source = open_dataset(tmp_path / "data")
    whole = identity_of(source, KEYS)
    held = preload(source, KEYS, 1 << 30)
    assert held is not source
    assert identity_of(held, KEYS) == whole
    chosen = [identity_of(select(source, **options), KEYS) for options in ({"demos_per_task": 1}, {"max_len_data": 5})]
    assert all(each.files == whole.files for each in chosen)
    assert chosen[0].facts != chosen[1].facts
    assert whole.facts not in [each.facts for each in chosen]


def test_what_a_state_is_joined_from_counts(tmp_path):
    record(tmp_path / "data")
    slices = (f"{STATE}[0:2]", f"{STATE}[1:3]")
    one, two = (
        identity_of(open_source(tmp_path / "data", keys=StreamKeys.parse(key, None, "")), (STATE, ACTION))
        for key in slices
    )
    assert one.files == two.files
    assert one.facts != two.facts


def test_arrays_in_memory_and_sources_of_ones_own_count_by_what_is_in_them():
    keys = (STATE, ACTION)
    changed = np.ones((4, 1), dtype=np.float32)
    for kind in (lambda source: source, Plain):
        same = [identity_of(kind(memory_source()), keys).facts for _ in range(2)]
        others = [memory_source(**{ACTION: changed}), memory_source(instruction="stop")]
        assert same[0] == same[1]
        assert same[0] not in [identity_of(kind(other), keys).facts for other in others]


def test_large_arrays_are_looked_at_in_part(monkeypatch):
    array = np.zeros((1000, 8), dtype=np.float32)
    whole = hash_of_arrays({"a": array})
    monkeypatch.setattr(identity, "ARRAY_BYTES", 320)
    part = hash_of_arrays({"a": array})
    assert part != whole
    array[999, 0] = 1
    assert hash_of_arrays({"a": array}) != part
    assert hash_of_arrays({"a": array[:-1]}) != part
    assert evenly(1000, 10) == [0, 111, 222, 333, 444, 555, 666, 777, 888, 999]
    assert (evenly(3, 10), evenly(0, 10)) == ([0, 1, 2], [])


def test_many_files_are_told_by_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(identity, "LISTED_FILES", 2)
    record(tmp_path / "data")
    files = identity_of(open_dataset(tmp_path / "data"), KEYS).files
    assert set(files) == {"data/chunk-000/", "meta/", "meta/episodes/chunk-000/", f"videos/{FRONT}/chunk-000/"}
    assert files["meta/"].startswith("2 files ")


def test_a_loader_tells_the_data_of_each_source_and_goes_on_over_changed_ones(tmp_path):
    for name, lengths in (("one", (8, 6)), ("two", (5, 5)), ("grown", (8, 6, 7))):
        record(tmp_path / name, lengths)
    windows = (Window(STATE, (0,)), Window(ACTION, (0, 1)))

    def loader(*names: str) -> SampleLoader:
        sources = [open_dataset(tmp_path / name) for name in names]
        return SampleLoader(Mixture(sources, [1.0] * len(sources)), windows, LoaderConfig(batch_size=4), seed=1)

    before = loader("one", "two")
    assert [each["name"] for each in before.data_identity()] == [str(tmp_path / name) for name in ("one", "two")]
    batches = iter(before)
    for _ in range(5):
        next(batches)
    state = before.state_dict()
    after = loader("grown", "two")
    with pytest.raises(ValueError, match=r"sampler: lengths is \[21, 10\], but \[14, 10\] in the checkpoint"):
        after.load_state_dict(state)
    after.take_up_changed(state)
    epochs = [-(-drawn // length) for drawn, length in zip(state["drawn"], (14, 10), strict=True)]
    assert after.state_dict()["drawn"] == [epochs[0] * 21, epochs[1] * 10]
    next(iter(after))
    with pytest.raises(ValueError, match="sampler: 1 datasets and seed 1, but 2 and 1 in the checkpoint"):
        loader("one").take_up_changed(state)
