"""What a file declares is held against what it stores before memory is taken: 1 GB and 20 s are enough to refuse it."""

from __future__ import annotations

import json
import os

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests import libero_recordings
from tests.bounded import refusal
from tests.foreign import FRONT, Foreign, edit_json, encode_video, write_v21, write_v30
from tests.fuzz.damage import huge_png

from tempovla.data import video
from tempovla.data.hdf5_bounds import refuse_unstored
from tempovla.data.image_codec import decode_any_image, decode_image
from tempovla.data.inspection import inspect, sample_windows
from tempovla.data.parquet import read_columns, read_rows


@pytest.fixture
def dataset(tmp_path):
    return write_v30(tmp_path / "dataset", Foreign(lengths=(4, 3), storage="image"))


@pytest.mark.parametrize("fill", [None, 1])
@pytest.mark.parametrize("key", ["actions", "obs/joint_states", "obs/agentview_rgb"])
def test_hdf5_of_values_that_nobody_stored(tmp_path, key, fill):
    libero_recordings.record(tmp_path, (6,))
    (path,) = tmp_path.glob("*.hdf5")
    with h5py.File(path, "r+") as file:
        old = file[f"data/demo_0/{key}"]
        shape, dtype = old.shape, old.dtype
        del file[f"data/demo_0/{key}"]
        file.create_dataset(f"data/demo_0/{key}", (10**9, *shape[1:]), dtype, chunks=(1, *shape[1:]), fillvalue=fill)
    asked = (tmp_path, 0, 0, ["action=0", "observation.images.agentview_rgb=0"])
    told = refusal(lambda: sample_windows(*asked))
    assert f"{key} declares " in told
    assert "leave the file out, or record it again" in told


def test_hdf5_that_is_packed_well_is_read(tmp_path):
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        dark = file.create_dataset("dark", (70, 1000, 1000), np.uint8, chunks=(1, 1000, 1000), compression="gzip")
        dark[...] = 0
        refuse_unstored("dark", dark)
        wide = file.create_dataset("wide", (1,), np.uint8, chunks=(10**9,), maxshape=(None,))
        with pytest.raises(ValueError, match=r"wide declares 1,000,000,000 bytes"):
            refuse_unstored("wide", wide)


def test_a_picture_of_many_pixels_is_not_decoded():
    encoded = huge_png(13_000)
    told = refusal(lambda: decode_any_image(encoded, "here"))
    assert told == "here: a picture of 13000 x 13000 pixels, and at most 50,000,000 are read; make it smaller"
    encoded = huge_png(7_000)
    told = refusal(lambda: decode_image(encoded, (64, 64, 3), "here"))
    assert told == "here: image of shape [7000, 7000, 3], but meta/info.json declares [64, 64, 3]; correct it"


def test_a_dataset_with_such_a_picture(dataset):
    path = dataset / "data/chunk-000/file-000.parquet"
    table = pq.read_table(path)
    column = [{"bytes": huge_png(13_000), "path": None}] * table.num_rows
    kind = table.schema.field(FRONT).type
    pq.write_table(table.set_column(table.column_names.index(FRONT), FRONT, pa.array(column, kind)), path)
    assert "13000 x 13000 pixels" in refusal(lambda: sample_windows(dataset, 0, 0, [f"{FRONT}=0"]))
    assert "13000 x 13000 pixels" in refusal(lambda: inspect(dataset))


@pytest.fixture(scope="module")
def many_rows(tmp_path_factory):
    """A file of 100 million equal rows, 1 MB."""
    path = tmp_path_factory.mktemp("rows") / "rows.parquet"
    block = pa.table({"episode_index": np.zeros(10_000_000, np.int64)})
    with pq.ParquetWriter(path, block.schema, compression="zstd", data_page_size=1 << 30) as writer:
        for _ in range(10):
            writer.write_table(block, row_group_size=10_000_000)
    return path


def test_a_hundred_million_equal_rows_in_a_small_file(many_rows):
    assert many_rows.stat().st_size < 2_000_000
    told = refusal(lambda: read_columns(many_rows, ["episode_index"]))
    assert "rows.parquet: has 100,000,000 values in a file of " in told or "100,000,000 values in a file of" in told
    told = refusal(lambda: read_rows(many_rows, ["episode_index"]))
    assert "rows.parquet: has 100,000,000 rows in " in told


def test_texts_that_a_dictionary_repeats(tmp_path):
    words = pa.array(["z" * 5_000_000]).dictionary_encode()
    table = pa.table({"task": pa.DictionaryArray.from_arrays(np.zeros(100, np.int32), words.dictionary)})
    pq.write_table(table, tmp_path / "tasks.parquet")
    assert (tmp_path / "tasks.parquet").stat().st_size < 10_000_000
    assert "tasks.parquet: more than 268,435,456 bytes of text" in refusal(
        lambda: read_rows(tmp_path / "tasks.parquet", ["task"])
    )


@pytest.mark.parametrize("name", ["info.json", "tasks.jsonl", "episodes.jsonl", "episodes_stats.jsonl"])
def test_a_file_of_gigabytes(tmp_path, name):
    root = write_v21(tmp_path / "dataset", Foreign(lengths=(4,), storage="image"))
    os.truncate(root / "meta" / name, 6 << 30)  # a hole
    if name == "episodes_stats.jsonl":  # which is not needed
        assert inspect(root)["episodes"] == 1
        return
    assert f"{name}: has 6,442,450,944 bytes, where at most" in refusal(lambda: inspect(root))


def test_a_picture_that_is_declared_larger_than_memory(dataset):
    edit_json(dataset / "meta/info.json", lambda info: info["features"][FRONT].update(shape=[1_000_000, 1_000_000, 3]))
    assert "1000000, 1000000, 3" in refusal(lambda: sample_windows(dataset, 0, 0, [f"{FRONT}=0"]))


def test_a_task_of_30_mb(tmp_path):
    root = write_v21(tmp_path / "dataset", Foreign(lengths=(4,), storage="image"))
    (root / "meta/tasks.jsonl").write_text(json.dumps({"task_index": 0, "task": "z" * 30_000_000}) + "\n")
    assert "tasks.jsonl" in refusal(lambda: inspect(root))


def test_a_video_of_many_pixels(tmp_path, monkeypatch):
    path = tmp_path / "wide.mp4"
    encode_video(path, [np.zeros((64, 64, 3), np.uint8)], 10)
    monkeypatch.setattr(video, "MOST_PIXELS", 4_000)
    with pytest.raises(ValueError, match=r"wide\.mp4: declares frames of 64 x 64 pixels, and at most 4,000 are read; "):
        video.VideoFile(path)
