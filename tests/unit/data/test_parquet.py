"""Damaged parquet files are told as such, wherever the damage shows."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tempovla.data.digests import file_digest
from tempovla.data.errors import DatasetError
from tempovla.data.parquet import open_parquet, read_columns, read_present, read_rows


@pytest.mark.parametrize("place", ["schema", "column"])
def test_names_that_are_no_utf8_are_told_with_the_file(tmp_path, place):
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"task_index": [0, 1], "words": ["a", "b"]}), path, store_schema=False)
    content = path.read_bytes()
    at = content.find(b"task_index") if place == "schema" else content.rfind(b"task_index")
    assert content.count(b"task_index") == 2
    path.write_bytes(content[:at] + b"\xff" + content[at + 1 :])
    for read in (read_rows, read_columns) if place == "schema" else (read_columns,):
        with pytest.raises(DatasetError, match=r"rows\.parquet: (no complete|damaged) parquet file .*; copy it again$"):
            read(path, ["task_index"])
    if place == "schema":
        with pytest.raises(DatasetError, match=r"rows\.parquet: no complete parquet file"):
            read_present(path, ["task_index"])
    assert file_digest(path).startswith(f"{len(content)}-")


def test_what_goes_wrong_while_a_file_is_read_is_told_with_the_file_and_closes_it(tmp_path):
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"number": [0, 1]}), path)
    told = r"rows\.parquet: damaged parquet file \(torn\); copy it again$"
    with pytest.raises(DatasetError, match=told), open_parquet(path) as file:
        raise OSError("torn")
    assert file.closed
