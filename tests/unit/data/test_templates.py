"""Templates of `info.json` make paths inside the dataset, or are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tempovla.data.errors import DatasetError
from tempovla.data.templates import Templates

PLACE = {"chunk_index": 0, "file_index": 12}


@pytest.mark.parametrize(
    ("template", "path"),
    [
        ("data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet", "data/chunk-000/file-012.parquet"),
        ("{file_index}.parquet", "12.parquet"),
        ("{file_index:d}", "12"),
        ("{file_index:6d}", "    12"),
        ("{{}}/{chunk_index:02d}", "{}/00"),
    ],
)
def test_plain_fields_are_filled_in(tmp_path: Path, template: str, path: str) -> None:
    assert Templates(tmp_path, {"data_path": template}).path("data_path", **PLACE) == tmp_path / path


@pytest.mark.parametrize(
    "template",
    [
        "{file_index:900000000d}",
        "{file_index:100d}",
        "{file_index:s}",
        "{file_index!r}",
        "{file_index.__class__}",
        "{0.__class__}",
        "{file_index[0]}",
        "{file_index:{chunk_index}}",
        "{video_key}",
        "{}",
        "{",
        "{other}",
        None,
        7,
    ],
)
def test_other_fields_are_refused_before_they_are_filled_in(tmp_path: Path, template: Any) -> None:
    with pytest.raises(
        DatasetError, match=r"info.json: data_path is .*, which gives no path from chunk_index, file_in"
    ):
        Templates(tmp_path, {"data_path": template}).path("data_path", **PLACE)


def test_a_key_may_not_lead_out(tmp_path: Path) -> None:
    templates = Templates(tmp_path, {"video_path": "videos/{video_key}/{file_index}.mp4"})
    good = templates.path("video_path", video_key="observation.images.front", **PLACE)
    assert good == tmp_path / "videos" / "observation.images.front" / "12.mp4"
    for key in ("../../victim", "..", "a\x00b"):
        with pytest.raises(DatasetError, match=r"meta/info.json: video_path 'videos/.*; restore the file"):
            templates.path("video_path", video_key=key, **PLACE)
    with pytest.raises(DatasetError, match="which gives no path from"):
        Templates(tmp_path, {"video_path": "{video_key:09d}"}).path("video_path", video_key="a", **PLACE)
