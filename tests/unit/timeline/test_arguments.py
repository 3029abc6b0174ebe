"""Arguments of another type than expected are named in one line; numpy's numbers are numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tempovla.timeline.arguments import (
    brief,
    finite_number,
    path_argument,
    plain,
    text_argument,
    whole_number,
    with_noun,
)


@pytest.mark.parametrize("value", [3, np.int64(3), np.uint8(3), np.array(3), torch.tensor(3)])
def test_whole_numbers_of_any_library_are_whole_numbers(value):
    number = whole_number("steps", value, least=1)
    assert (type(number), number) == (int, 3)


@pytest.mark.parametrize("value", ["3", 3.0, True, None, [3], np.float32(3), np.bool_(True), np.array([3])])
def test_what_is_no_whole_number_is_named(value):
    with pytest.raises(ValueError, match=r"^steps=.* must be a whole number$"):
        whole_number("steps", value)
    with pytest.raises(ValueError, match=r"^steps=2 must be at least 3$"):
        whole_number("steps", 2, least=3)


def test_finite_numbers_may_be_whole_and_nothing_else():
    assert [finite_number("rate", value) for value in (3, 0.5, np.float32(0.5), torch.tensor(2.0))] == [3, 0.5, 0.5, 2]
    for value in ("3", True, None, float("nan"), np.inf, [1.0]):
        with pytest.raises(ValueError, match=r"^rate=.* must be a finite number$"):
            finite_number("rate", value)


def test_paths_and_texts():
    assert path_argument("out", "run", "the run") == path_argument("out", Path("run"), "the run") == Path("run")
    for value in (None, 3, b"run", "", ["run"], "a\0b"):
        with pytest.raises(ValueError, match=r"^out=.* is no path; give that of the run$"):
            path_argument("out", value, "the run")
    assert text_argument("task", "open", "close") == "open"
    with pytest.raises(ValueError, match=r"^task=b'open' is no text; give one, such as 'close'$"):
        text_argument("task", b"open", "close")


def test_plain_values_are_left_alone_and_long_ones_are_shortened():
    assert (plain(Path("a")), plain("a"), plain(None), plain([np.int64(1)])) == ("a", "a", None, [1])
    assert type(plain(np.float32(0.5))) is float
    assert brief("two\nlines" * 20) == repr("two\nlines" * 20)[:60] + "..."
    assert "\n" not in brief(np.zeros((4, 4)))


def test_numbers_have_their_nouns_in_the_singular_or_the_plural():
    assert [with_noun(number, "episode") for number in (0, 1, 2)] == ["0 episodes", "1 episode", "2 episodes"]
