"""Charts put values where they belong and hide none of them."""

import re

import numpy as np
import pytest

from tempovla.report.chart import (
    Series,
    curve_panel,
    extremes,
    linear_ticks,
    log_ticks,
    number,
    running_mean,
    stage_bar,
)
from tempovla.report.run import Stage


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0.0, 1.0, [0.0, 0.25, 0.5, 0.75, 1.0]),
        (0.1, 0.9, [0.0, 0.25, 0.5, 0.75, 1.0]),
        (600, 640, [600, 610, 620, 630, 640]),
        (-1.0, 1.0, [-1.0, -0.5, 0.0, 0.5, 1.0]),
        (3.0, 3.0, [0.0, 2.0, 4.0, 6.0]),
        (0.0, 0.0, [-1.0, -0.5, 0.0, 0.5, 1.0]),
    ],
)
def test_linear_ticks_are_round_and_cover_the_values(low, high, ticks):
    assert linear_ticks(low, high) == pytest.approx(ticks)


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0.02, 3.0, [0.01, 0.1, 1.0, 10.0]),
        (0.1, 10.0, [0.1, 1.0, 10.0]),
        (1e-10, 1.0, [1e-10, 1e-8, 1e-6, 1e-4, 1e-2, 1]),
    ],
)
def test_log_ticks_are_powers_of_ten_and_cover_the_values(low, high, ticks):
    assert log_ticks(low, high) == pytest.approx(ticks)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.0132, "0.0132"), (1e-5, "1e-5"), (0.00015, "1.5e-4"), (12400, "12,400"), (2.0, "2")],
)
def test_numbers_are_short(value, text):
    assert number(value) == text


def test_running_mean_keeps_the_ends_and_a_straight_line():
    line = [(step, 2.0 * step) for step in range(200)]

    np.testing.assert_allclose(running_mean(line), line)
    assert running_mean(line[:10]) == line[:10]


def test_thinning_keeps_every_spike():
    points = [(step, 100.0 if step == 7777 else 1.0) for step in range(10_000)]

    kept = extremes(points)

    assert len(kept) <= 320
    assert (7777, 100.0) in kept
    assert kept == sorted(kept)


def places(svg: str) -> list[tuple[float, float]]:
    path = re.findall(r'd="M([^"]*)"', svg)[-1]
    return [tuple(map(float, pair.split())) for pair in path.split("L")]


def test_curve_runs_from_top_left_to_bottom_right_of_its_axes():
    svg = curve_panel("total", [Series("policy", "train", [(0, 4.0), (50, 2.0), (100, 0.0)])])

    assert places(svg) == [(40.0, 8.0), (176.0, 78.0), (312.0, 148.0)]


def test_curve_over_decades_is_logarithmic():
    svg = curve_panel("total", [Series("policy", "train", [(0, 100.0), (50, 10.0), (100, 1.0)])])

    assert "logarithmic" in svg
    assert places(svg) == [(40.0, 8.0), (176.0, 78.0), (312.0, 148.0)]


def test_one_point_is_a_dot():
    svg = curve_panel("total", [Series("policy", "train", [(10, 4.0)])])

    assert '<circle cx="312.0"' in svg


def test_stage_bars_are_parts_of_the_longest():
    svg = stage_bar(Stage("train", cpu_seconds=20.0, wall_seconds=40.0), longest_s=80.0)

    assert re.findall(r'width="(\d+%)"', svg) == ["25%", "50%"]


def test_a_plain_panel_is_linear_and_shows_the_values_themselves():
    svg = curve_panel("value", [Series("policy", "train", [(0, 100.0), (50, 10.0), (100, 1.0)])], plain=True)

    assert "logarithmic" not in svg
    assert places(svg) == [(40.0, 8.0), (176.0, 134.0), (312.0, 146.6)]

    step = [(x, float(x >= 50)) for x in range(101)]
    drawn = places(curve_panel("reward", [Series("policy", "train", step)], plain=True))
    assert len(drawn) == 101
    assert {y for _, y in drawn} == {8.0, 148.0}
