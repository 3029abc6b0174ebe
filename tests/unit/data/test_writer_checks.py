"""What a writer is given is taken as it is, or refused in one line before anything is written."""

import numpy as np
import pytest

from tempovla.data.errors import DatasetError
from tempovla.data.words import LONGEST_WORDS
from tempovla.data.writer_checks import check_arrays, check_texts, numbers_given, rate_given


@pytest.mark.parametrize(
    ("values", "dtype", "needle"),
    [
        (np.array([1.0, 0.5]), "int64", "holds 0.5, which is no int64, at step 1"),
        (np.array([44, 300]), "uint8", "holds 300, which is no uint8, at step 1"),
        (np.array([2**33 + 5]), "int32", "holds 8589934597, which is no int32"),
        (np.array([0.0, 0.5]), "bool", "holds 0.5, which is no bool, at step 1"),
        (np.array([2**24, 2**24 + 1]), "float32", "holds 16777217, which is no float32, at step 1"),
        (np.array([[0.0, 0.0], [0.0, 1e300]]), "float32", r"holds 1e\+300, which is no float32, at step 1"),
        (np.array([1.0, 1e6], np.float32), "float16", "which is no float16, at step 1"),
        (np.array([1j]), "float32", "'x' is complex128, which holds no real numbers; give float32"),
        (np.array([None, 1.0], object), "float32", "'x' is object, which holds no real numbers"),
        (np.array(["7"]), "int64", "which holds no real numbers; give int64"),
        (np.array([[0.0], [np.nan]]), "float32", "is not finite at step 1"),
        (np.array([0.0, np.inf]), "int64", "is not finite at step 1: inf"),
    ],
)
def test_numbers_that_change_in_the_type_asked_for_are_refused_by_step_and_value(values, dtype, needle) -> None:
    with pytest.raises(DatasetError, match=f"^here: 'x' .*{needle}|^here: {needle}"):
        numbers_given("here", "x", values, dtype)


def test_numbers_that_are_the_same_in_the_type_asked_for_are_taken_and_floats_are_rounded() -> None:
    whole = numbers_given("here", "x", np.array([[1.0, -2.0]]), "int64")
    assert (whole.dtype, whole.tolist()) == (np.dtype("int64"), [[1, -2]])
    assert numbers_given("here", "x", np.array([0, 1]), "bool").tolist() == [False, True]
    assert numbers_given("here", "x", np.array([True, False]), "float32").tolist() == [1.0, 0.0]
    rounded = numbers_given("here", "x", np.array([0.1]), "float32")
    assert (rounded.dtype, rounded[0]) == (np.dtype("float32"), np.float32(0.1))


def test_what_is_no_array_is_refused_by_key() -> None:
    check_arrays("here", {"x": np.zeros(2)})
    for value, told in (([1.0], "of type list"), (None, "None")):
        with pytest.raises(DatasetError, match=rf"here: 'y' is {told}; give a numpy array \(T, ...\)"):
            check_arrays("here", {"x": np.zeros(2), "y": value})


@pytest.mark.parametrize(
    ("text", "needle"),
    [
        (None, "the instruction of step 1 is None; give a text"),
        (b"go", "the instruction of step 1 is of type bytes; give a text"),
        ("half \ud83d", "holds half a character, which no file can store"),
        ("x" * (LONGEST_WORDS + 1), "an instruction of 100,001 characters .* and 100,000 are read at the most"),
    ],
)
def test_instructions_that_no_reader_takes_are_refused(text, needle: str) -> None:
    check_texts("here", ["go", "x" * LONGEST_WORDS, "", "gehe \U0001f600"])
    with pytest.raises(DatasetError, match=f"^here: .*{needle}|^here: {needle}") as caught:
        check_texts("here", ["go", text])
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("rate", [0, -1, float("nan"), float("inf"), "10", None, True])
def test_a_rate_that_is_no_positive_number_is_refused(rate) -> None:
    assert rate_given("here", np.float32(12.5)) == 12.5
    with pytest.raises(DatasetError, match=f"here: fps is {rate!r}; it must be a positive number"):
        rate_given("here", rate)
