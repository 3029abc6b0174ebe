"""A column of a parquet file as an array of its declared shape and type, without any loss."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tempovla.data.availability import is_list, is_number, plain_type


class BadColumnError(ValueError):
    """An error in a column, without the place of the column.

    Attributes:
        row: the first row that is wrong; None where all are.
        rows: how many are.
    """

    def __init__(self, what: str, rows: NDArray[np.int64] | None = None) -> None:
        super().__init__(what)
        self.row = None if rows is None or not len(rows) else int(rows[0])
        self.rows = 0 if rows is None else len(np.unique(rows))


def numbers(column: pa.Array, shape: tuple[int, ...], dtype: str, part: slice | None = None) -> NDArray[Any]:
    """Return (N, *shape) array of a column of numbers or of lists of numbers, nested or flat in row-major order.

    Axes of one need no list of their own: a value of shape (1,) may be a number or a list of one.

    Args:
        column: as it is stored.
        shape: of one value, as declared.
        dtype: numpy name of the declared type.
        part: the dimensions (width,) of a vector that are taken, (N, width), where not all; in others may be null.

    Raises:
        BadColumnError: if a row is null or holds one, its lists do not have the declared shape, or a number changes
            when it becomes one of the declared type.
    """
    values, sizes = _flatten(column, shape)
    if pa.types.is_null(values.type) and len(column):
        raise BadColumnError("holds null", np.arange(len(column)))
    if _without_ones(sizes) != _without_ones(shape) and sizes != (math.prod(shape),):
        raise BadColumnError(f"holds values of shape {list(sizes)}")
    size = math.prod(shape)
    if not is_number(values.type) and not pa.types.is_null(values.type):
        raise BadColumnError(f"holds {values.type}, not numbers")
    if part is not None:
        values = values.take(pa.array(np.arange(len(values)).reshape(-1, size)[:, part].ravel()))
        size = len(range(*part.indices(size)))
        shape = (size,)
    if values.null_count:
        rows = np.flatnonzero(values.is_null().to_numpy(zero_copy_only=False)) // size
        raise BadColumnError("holds null", rows)
    flat = values.to_numpy(zero_copy_only=False)
    return lossless(flat, dtype, size).reshape(len(column), *shape)


def nested(column: pa.Array) -> NDArray[Any]:
    """Return (N, *F) array of numbers in lists of lists, as they are stored.

    Raises:
        BadColumnError: if lists at one level differ in length, or there is null or no number.
    """
    values, sizes = _flatten(column, ())
    if values.null_count or not is_number(values.type):
        raise BadColumnError("holds null" if values.null_count else f"holds {values.type}, not numbers")
    return np.asarray(values.to_numpy(zero_copy_only=False)).reshape(len(column), *sizes)


def plain_array(values: Any) -> pa.Array:
    """Return an array without its extension type or dictionary."""
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    while values.type != plain_type(values.type):
        values = values.dictionary_decode() if pa.types.is_dictionary(values.type) else values.storage
    return values


def lossless(values: NDArray[Any], dtype: str, size: int = 1) -> NDArray[Any]:
    """Return the values as `dtype`; rounding to the nearest float is no loss.

    Args:
        values: (N * size,) numbers.
        dtype: numpy name of the wanted type.
        size: numbers a row.

    Raises:
        BadColumnError: if a number is beyond the type's range, or not whole where the type is.
    """
    wanted = np.dtype(dtype)
    if values.dtype == wanted:
        return np.array(values)
    if np.issubdtype(values.dtype, np.floating) and np.issubdtype(wanted, np.floating):
        with np.errstate(over="ignore"):
            cast = values.astype(wanted)
        lost = np.isinf(cast) & np.isfinite(values)
    else:
        with np.errstate(invalid="ignore", over="ignore"):
            cast = values.astype(wanted)
        lost = _differ(values, cast)
    if lost.any():
        first = int(np.argmax(lost))
        raise BadColumnError(f"holds {values[first]}, which is no {dtype}", np.flatnonzero(lost) // size)
    return cast


def _differ(values: NDArray[Any], cast: NDArray[Any]) -> NDArray[np.bool_]:
    """Where a number is not what it was; floats beyond an integer's range come back as its ends or its opposite."""
    with np.errstate(invalid="ignore"):
        back = cast.astype(values.dtype)
    lost = back != values
    if np.issubdtype(values.dtype, np.integer) or np.issubdtype(cast.dtype, np.integer):
        lost |= (values < 0) != (cast < 0)
    for whole, other in ((values, cast), (cast, values)):
        if np.issubdtype(whole.dtype, np.integer) and np.issubdtype(other.dtype, np.floating):
            limits = np.iinfo(whole.dtype)
            wide = other.astype(np.float64)
            lost |= (wide >= float(limits.max) + 1) | (wide < float(limits.min))
    return lost


def _flatten(column: pa.Array, shape: tuple[int, ...]) -> tuple[pa.Array, tuple[int, ...]]:
    """The innermost values of a column, and the length of its lists at every level, the same in all rows.

    Raises:
        BadColumnError: if a list is null, or another list at its level is shorter or longer.
    """
    values = plain_array(column)
    sizes: list[int] = []
    while is_list(values.type):
        per_row = math.prod(sizes)
        if values.null_count:
            rows = np.flatnonzero(values.is_null().to_numpy(zero_copy_only=False)) // per_row
            raise BadColumnError("holds null", rows)
        lengths = values.value_lengths().to_numpy(zero_copy_only=False)
        wanted = {math.prod(shape) // per_row, *shape[len(sizes) : len(sizes) + 1]} if shape else set()
        usual = _usual_length(lengths, wanted)
        odd = np.flatnonzero(lengths != usual)
        if len(odd):
            raise BadColumnError(f"holds a list of {lengths[odd[0]]}, others hold {usual}", odd // per_row)
        sizes.append(usual)
        if usual == 0:
            raise BadColumnError("holds empty lists", np.arange(len(column)))
        values = plain_array(values.flatten())
    return values, tuple(sizes)


def _usual_length(lengths: NDArray[Any], wanted: set[int]) -> int:
    """The most frequent length, of those that the declared shape asks for where any list has one of them."""
    if not len(lengths):
        return max(wanted, default=1)
    if (lengths == lengths[0]).all():
        return int(lengths[0])
    found, counts = np.unique(lengths, return_counts=True)
    fits = np.isin(found, list(wanted))
    return int(found[np.argmax(np.where(fits, counts, 0) if fits.any() else counts)])


def _without_ones(sizes: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(size for size in sizes if size != 1)
