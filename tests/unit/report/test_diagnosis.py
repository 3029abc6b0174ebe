"""The page of a diagnosis shows the figures as they stand, and loads nothing."""

from __future__ import annotations

import re

import pytest

from tempovla.report.diagnosis import render_diagnosis, write_diagnosis
from tempovla.report.diagnosis_chart import Axis, Estimate, lengths_chart


def block(error: float, difference: float | None = None) -> dict:
    figures = {"error": error, "ci95": [error - 0.02, error + 0.02]}
    if difference is None:
        return figures
    return figures | {"difference": difference, "difference_ci95": [difference - 0.01, difference + 0.01]}


def found(context: bool = True) -> dict:
    conditions = {"full": block(0.2)}
    if context:
        conditions |= {"shuffled": block(0.25, 0.05), "removed": block(0.3, 0.1), "another": block(0.28, 0.08)}
    tasks = ["touch <it>", "let go"] if context else ["let go"]
    lengths = [{"frames": 1} | block(0.3, 0.1), {"frames": 2} | block(0.2, 0.0)]
    r2 = {"expert_r2": 0.61, "policy_r2": 0.73, "excess": 0.12}
    return {
        "title": "Does history help vla?",
        "checkpoint": "run/checkpoint",
        "checkpoint_sha256": "0123456789abcdef" * 4,
        "dataset": {"name": "data", "episodes": [0, 1], "held_out": 1, "recording": {}},
        "context": context,
        "stride": 4,
        "seed": 0,
        "resamples": 1000,
        "decisions": 1234,
        "steps": 4000,
        "longest": 2,
        "conditions": conditions,
        "mean_action": block(0.4321, 0.2321),
        "lengths": lengths if context else lengths[1:],
        "tasks": {task: {"episodes": 1, "conditions": conditions} for task in tasks},
        "copycat": {name: {"value": value, "ci95": [value - 0.05, value + 0.05]} for name, value in r2.items()}
        | {"decisions": 1200, "folds": 2, "ridge": 0.001},
        "verdict": ["The policy uses its past.", "No sign of copying (R^2)."],
        "device": "cpu",
        "versions": {"tempovla": "0"},
        "command": "tempovla diagnose memory",
    }


def test_every_figure_is_on_the_page():
    page = render_diagnosis(found())
    for shown in (
        "+50.0%",
        "[+45.0%, +55.0%]",
        "0.2500",
        "1,234 decisions",
        "+0.12",
        "0.7300",
        "all (2)",
        "1 of 2",
        "0.4321",
    ):
        assert shown in page
    assert "touch &lt;it&gt;" in page
    assert "No sign of copying (R\N{SUPERSCRIPT TWO})." in page
    assert not re.search(r"(src|href)=", page)


def test_a_policy_of_one_frame_has_a_page_that_says_so(tmp_path):
    page = write_diagnosis(found(context=False), tmp_path / "new" / "page.html").read_text()
    assert "there is no length to sweep" in page
    assert "By instruction" not in page
    assert "past removed" not in page
    assert "full context" not in page.split("</style>")[1]


def test_a_page_where_nothing_varies_says_so():
    figures = found()
    unknown = {"value": None, "ci95": None}
    figures["copycat"] |= {"policy_r2": unknown, "excess": unknown}
    assert "The actions do not vary" in render_diagnosis(figures)


def test_bars_begin_at_zero_and_reach_their_value():
    axis = Axis([Estimate("a", 0.4, 0.3, 0.5), Estimate("b", -0.1, -0.2, 0.0)])
    assert axis.ticks[0] == pytest.approx(-0.2)
    box = re.search(r'<rect x="([\d.]+)%" width="([\d.]+)%"', axis.bar(Estimate("b", -0.1, -0.2, 0.0), ""))
    span = axis.ticks[-1] - axis.ticks[0]
    assert float(box[1]) == pytest.approx(100 * 0.1 / span, abs=0.01)
    assert float(box[2]) == pytest.approx(100 * 0.1 / span, abs=0.01)


def test_lengths_are_drawn_in_order_and_higher_errors_higher():
    chart = lengths_chart([Estimate("1", 0.4, 0.3, 0.5), Estimate("2", 0.2, 0.1, 0.3)], 0.2, "frames")
    points = re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)"', chart)
    (x_1, y_1), (x_2, y_2) = ((float(x), float(y)) for x, y in points)
    assert x_1 < x_2
    assert y_1 < y_2
    assert f'y1="{y_2:.1f}" y2="{y_2:.1f}" class="reference"' in chart
