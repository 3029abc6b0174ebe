"""A column becomes an array of its declared shape and type without any loss, or the row that forbids it is named."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tempovla.data.column_values import BadColumnError, lossless, nested, numbers

F32 = pa.float32()
ROWS = np.arange(12, dtype=np.float32).reshape(2, 2, 3)
SWAPPED = pa.array(ROWS[::-1].ravel())


def nested_type(rank: int) -> pa.DataType:
    return pa.list_(nested_type(rank - 1)) if rank else F32


@pytest.mark.parametrize(
    "column",
    [
        pa.array(ROWS.tolist(), nested_type(2)),
        pa.array(ROWS.tolist(), pa.large_list(pa.list_(F32, 3))),
        pa.array(ROWS.reshape(2, 6).tolist(), nested_type(1)),
        pa.array(ROWS.reshape(2, 1, 2, 3).tolist(), nested_type(3)),
        pa.array([[[0.0] * 3] * 2, *ROWS.tolist()], nested_type(2)).slice(1),
        pa.array(ROWS.tolist(), pa.list_view(pa.large_list_view(F32))),
        pa.array([[[0.0] * 3] * 2, *ROWS.tolist()], pa.list_view(pa.list_(F32))).slice(1),
        pa.ListViewArray.from_arrays(pa.array([6, 0], pa.int32()), pa.array([6, 6], pa.int32()), SWAPPED),
    ],
    ids=["nested", "of fixed size", "flat", "axis of one", "slice", "views", "slice of views", "views out of order"],
)
def test_lists_of_the_declared_shape_are_read(column: pa.Array) -> None:
    np.testing.assert_array_equal(numbers(column, (2, 3), "float32"), ROWS)


@pytest.mark.parametrize("column", [pa.array([1.0, 2.0], F32), pa.array([[1.0], [2.0]], nested_type(1))])
def test_a_vector_of_one_is_a_number_or_a_list_of_one(column: pa.Array) -> None:
    np.testing.assert_array_equal(numbers(column, (1,), "float32"), [[1.0], [2.0]])


def test_numbers_that_are_stored_once_are_read_where_they_occur() -> None:
    column = pa.array([1.0, 2.0, 1.0], F32).dictionary_encode()
    np.testing.assert_array_equal(numbers(column, (1,), "float32"), [[1.0], [2.0], [1.0]])


@pytest.mark.parametrize(
    ("rows", "shape", "dtype", "row", "what"),
    [
        ([[1, 2, 3], [1, 2], [1, 2, 3, 4]], (3,), "float32", 1, "a list of 2, others hold 3"),
        ([[[1] * 7] * 2, [[1] * 6, [1] * 8]], (2, 7), "float32", 1, "a list of 6, others hold 7"),
        ([[1, 2, 3], None], (3,), "float32", 1, "holds null"),
        ([[1, 2, 3], [1, None, 3]], (3,), "float32", 1, "holds null"),
        ([1, None], (1,), "int64", 1, "holds null"),
        ([True, None], (1,), "bool", 1, "holds null"),
        ([None, None], (1,), "float32", 0, "holds null"),
        ([[], []], (3,), "float32", 0, "empty lists"),
        ([[1, 2]] * 2, (3,), "float32", None, r"of shape \[2\]$"),
        ([[[1, 2]] * 3] * 2, (2, 3), "float32", None, r"of shape \[3, 2\]"),
        (["1", "2"], (1,), "float32", None, "holds string, not numbers"),
        ([{"x": 1.0}], (1,), "float32", None, "holds struct"),
        ([7, 300], (1,), "uint8", 1, "300, which is no uint8"),
        ([7, -1], (1,), "uint64", 1, "-1, which is no uint64"),
        ([1.0, 2.5], (1,), "int64", 1, "2.5, which is no int64"),
        ([1.0, float("nan")], (1,), "int32", 1, "nan, which is no int32"),
        ([1.0, 2.0**63], (1,), "int64", 1, "which is no int64"),
        ([0, 2], (1,), "bool", 1, "2, which is no bool"),
        ([1.0, 1e39], (1,), "float32", 1, r"1e\+39, which is no float32"),
        ([2**24, 2**24 + 1], (1,), "float32", 1, "16777217, which is no float32"),
        ([2**63 - 1], (1,), "float64", 0, "9223372036854775807, which is no float64"),
    ],
)
def test_what_would_be_lost_is_named(rows: list[Any], shape: tuple[int, ...], dtype: str, row: int, what: str) -> None:
    with pytest.raises(BadColumnError, match=what) as caught:
        numbers(pa.array(rows), shape, dtype)
    assert caught.value.row == row


INTEGERS = ["int8", "uint8", "int32", "uint32", "int64", "uint64"]
TYPES = [*INTEGERS, "bool", "float16", "float32", "float64"]


ENDS = {
    edge for name in INTEGERS for end in (np.iinfo(name).min, np.iinfo(name).max) for edge in (end - 1, end, end + 1)
}
WHOLE = sorted({int(end) for end in ENDS} | {0, 1, 2, 300, 2**24, 2**24 + 1, 2**53 + 1})
FRACTIONS = [0.5, -0.5, 1.5, 255.5, 1e-8, 0.1, 65519.0, 65520.0, 3.5e38, -1e300]


def keeps(value: float, wanted: str, is_stored_as_float: bool) -> bool:
    if wanted == "bool":
        return value in (0, 1)
    if wanted in INTEGERS:
        return value == int(value) and np.iinfo(wanted).min <= value <= np.iinfo(wanted).max
    if is_stored_as_float:  # rounding is no loss
        return bool(np.isfinite(np.float64(value).astype(wanted)))
    cast = np.array(value, dtype=np.float64).astype(wanted).item()
    return bool(np.isfinite(cast)) and int(cast) == value


@pytest.mark.parametrize("wanted", TYPES)
@pytest.mark.parametrize("stored", [*INTEGERS, "float64"])
def test_a_cast_gives_the_same_number_or_is_refused(stored: str, wanted: str) -> None:
    is_float = stored == "float64"
    values = [float(v) for v in (*WHOLE, *FRACTIONS)] if is_float else WHOLE
    for value in values:
        if not is_float and not np.iinfo(stored).min <= value <= np.iinfo(stored).max:
            continue
        with np.errstate(over="ignore"):
            is_kept = keeps(value, wanted, is_float)
        if not is_kept:
            with pytest.raises(BadColumnError, match=f"which is no {wanted}"):
                lossless(np.array([value], stored), wanted)
            continue
        cast = lossless(np.array([value], stored), wanted)[0].item()
        assert cast == (pytest.approx(value, rel=1e-3, abs=1e-7) if is_float else value)


def test_numbers_are_given_in_the_shape_in_which_they_are_stored() -> None:
    assert nested(pa.array(ROWS.tolist(), nested_type(2))).shape == (2, 2, 3)
    assert nested(pa.array([1, 2])).shape == (2,)
