"""The page of a diagnosis shows the figures as they stand, and loads nothing."""

from __future__ import annotations

import re

import pytest
from tests.unit.report.figures import found

from tempovla.report.diagnosis import render_diagnosis, write_diagnosis
from tempovla.report.diagnosis_chart import Axis, Estimate, lengths_chart


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
