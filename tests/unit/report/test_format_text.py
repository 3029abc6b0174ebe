"""Numbers in words, never prettier than they are."""

import pytest

from tempovla.report.format_text import (
    and_list,
    count,
    demonstrations,
    difference,
    duration,
    interval,
    percentage,
    solved_at_once,
    told,
)
from tempovla.report.run import Rate


@pytest.mark.parametrize(
    ("success", "text"),
    [(1.0, "100%"), (0.9996, "99.9%"), (0.925, "92.5%"), (0.65, "65%"), (0.0, "0%"), (2 / 3, "66.7%")],
)
def test_percentages(success, text):
    assert percentage(Rate(success)) == text


def test_intervals_are_shown_or_their_absence_is():
    assert interval(Rate(0.95, 20, (0.764, 0.991))) == "76\u201399%"
    assert interval(Rate(0.95, 20)) == "no interval given"
    assert told(Rate(0.95, 20)) == "95%, no interval given, 19 of 20 episodes"


def test_counts():
    assert count(Rate(0.95, 20)) == "19 of 20 episodes"
    assert count(Rate(0.93, 20)) == "20 episodes"
    assert count(Rate(1.0, 1)) == "1 of 1 episode"
    assert count(Rate(0.93)) == ""


def test_episodes_that_were_solved_at_once():
    words = "episodes were solved by the first step, whatever the policy did"
    assert solved_at_once({"push": 3}, 20) == f"3 of 20 {words}"
    assert solved_at_once({"push": 2, "door": 0, "drawer": 1}, 30) == f"3 of 30 {words}: 2 of push and 1 of drawer"
    assert solved_at_once({"push": 1}, 1) == "1 of 1 episode was solved by the first step, whatever the policy did"


def test_differences_name_their_direction():
    assert difference(Rate(0.55), Rate(0.925)) == "38 points lower"
    assert difference(Rate(0.95), Rate(0.925)) == "2.5 points higher"
    assert difference(Rate(0.5), Rate(0.5)) == "the same"


@pytest.mark.parametrize(
    ("seconds", "text"), [(41.7, "42 s"), (552, "9 min 12 s"), (3840, "1 h 4 min"), (59.8, "1 min 0 s")]
)
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_lists():
    assert and_list(["a"]) == "a"
    assert and_list(["a", "b", "c"]) == "a, b and c"


def test_one_demonstration_is_no_plural():
    assert demonstrations(1, held_out=True) == "1 held-out episode"
    assert demonstrations(5, held_out=True) == "5 held-out episodes"
    assert demonstrations(1, held_out=False) == "1 episode, training ones included"
