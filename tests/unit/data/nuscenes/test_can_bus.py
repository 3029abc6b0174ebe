from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tempovla.data.errors import DatasetError
from tempovla.data.nuscenes.can_bus import CanBus

FIELDS = {"value": 0, "place": 3}


def can(folder: Path, rows: list[Any]) -> CanBus:
    (folder / "scene-0001_told.json").write_text(json.dumps(rows))
    return CanBus(folder, "scene-0001")


def row(utime: Any, value: Any = 1, place: Any = (0.0, 1, 2.5)) -> dict[str, Any]:
    return {"utime": utime, "value": value, "place": place, "other": "words"}


def test_rows_are_in_order_of_time_and_the_last_of_the_same_time_counts(tmp_path: Path):
    found = can(tmp_path, [row(30, 3.5), row(10), row(20, 2), row(10, 4)]).rows("told", FIELDS)
    assert found is not None
    times, values = found
    assert times.dtype == np.int64
    assert times.tolist() == [10, 20, 30]
    assert values.dtype == np.float64
    assert values.tolist() == [[4, 0, 1, 2.5], [2, 0, 1, 2.5], [3.5, 0, 1, 2.5]]


@pytest.mark.parametrize(
    "bad",
    [
        row(20, place=[1.0, 2.0]),
        row(20, place=1.0),
        row(20, value=[1.0]),
        row(20, value="1"),
        row(20, value=None),
        row(20, value=10**400),
        row(20, value=float("nan")),
        row(2.5),
        row(10**30),
        {"utime": 20},
        [1, 2],
        7,
    ],
)
def test_the_row_that_is_not_sound_is_named(tmp_path: Path, bad: Any):
    for rows in ([row(10), bad, row(30)], [row(10), bad]):
        with pytest.raises(DatasetError, match=r"scene-0001_told\.json: row 1 has "):
            can(tmp_path, rows).rows("told", FIELDS)


def test_where_all_rows_are_alike_wrong_the_first_is_named(tmp_path: Path):
    for bad in (row(10, place=[1.0, 2.0]), row(10, value="1"), row(10, value=[1.0])):
        with pytest.raises(DatasetError, match="row 0 has "):
            can(tmp_path, [bad, bad]).rows("told", FIELDS)
