"""Failures over values out of a file name the file."""

from __future__ import annotations

import pytest

from tempovla.storage.said_by import said_by


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: {}["size"], "a.json: not readable (KeyError: 'size'); copy it again"),
        (lambda: len(3), "a.json: not readable (TypeError: object of type 'int' has no len()); copy it again"),
        (lambda: int("x"), "a.json: not readable (invalid literal for int() with base 10: 'x'); copy it again"),
        (lambda: 1 / 0, "a.json: not readable (ZeroDivisionError: division by zero); copy it again"),
    ],
)
def test_what_python_says_of_a_wrong_value_gets_file_and_remedy(act, message):
    with pytest.raises(ValueError, match=r"a\.json") as caught, said_by("a.json", remedy="copy it again"):
        act()
    assert str(caught.value) == message


def test_a_message_with_a_remedy_keeps_it_and_one_that_names_the_file_passes():
    with pytest.raises(ValueError, match=r"^a\.json: size=0 is none; give 1$"), said_by("a.json", remedy="copy it"):
        raise ValueError("size=0 is none; give 1")
    with pytest.raises(UnicodeError) as caught, said_by("a.json", remedy="copy it"):
        raise UnicodeError("a.json: bad; mend it")
    assert str(caught.value) == "a.json: bad; mend it"


def test_what_is_no_fault_of_a_file_passes():
    with pytest.raises(KeyboardInterrupt), said_by("a.json", remedy="copy it"):
        raise KeyboardInterrupt
    with pytest.raises(OSError, match="full"), said_by("a.json", remedy="copy it"):
        raise OSError("full")
