"""Figures of plans in rollouts/index.json."""

from pathlib import Path

import pytest

from tempovla.report.fields import Reader
from tempovla.report.plan_figures import PlanFigures, read_plan_figures

PLANS = {"stride": 2, "discount": 0.5, "value": [4.0, 5, 6.0], "expected": [1.0, 2.0, 3.0], "received": [1.0, 2.0, 4.0]}


def read(**changed):
    return read_plan_figures(Reader(Path("index.json"), "[0]", {"plans": PLANS | changed}))


def test_returns_count_what_came_until_the_end():
    figures = read()
    assert figures == PlanFigures(2, 0.5, (4.0, 5, 6.0), (1.0, 2.0, 3.0), (1.0, 2.0, 4.0))
    assert figures.steps == (0, 2, 4)
    assert figures.returns == (1.0 + 0.5 * 2.0 + 0.25 * 4.0, 2.0 + 0.5 * 4.0, 4.0)
    assert figures.weight_beyond == (0.125, 0.25, 0.5)


def test_an_entry_without_plans_has_none():
    assert read_plan_figures(Reader(Path("index.json"), "[0]", {"file": "a.mp4"})) is None


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"stride": 0}, r"index.json: \[0\].plans.stride is 0; it must be at least 1 control step"),
        ({"discount": 1.0}, r"plans.discount is 1.0; it must lie between 0 and 1"),
        ({"value": []}, r"plans.value is \[\]; it must be a list of at least one finite number"),
        ({"expected": [1.0, None, 2.0]}, "plans.expected is .*; it must be a list of at least one finite number"),
        ({"received": [1.0]}, "plans.received has 1 numbers; it must have 3, one for each in value"),
    ],
)
def test_damaged_figures_are_refused(changed, message):
    with pytest.raises(ValueError, match=message):
        read(**changed)
