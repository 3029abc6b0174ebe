"""Inline SVG charts. Colours and line widths are CSS classes, so that one drawing serves light, dark and paper."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from tempovla.report.format_text import told
from tempovla.report.markup import Markup, element, join
from tempovla.report.run import Rate, Stage, TaskResult

Points = Sequence[tuple[float, float]]

SHAPES = {
    "policy": element("circle", r=6),
    "blind": element("path", d="M0-5.5L5.5 0 0 5.5-5.5 0Z"),
    "wrong": element("path", d="M-4.5-4.5L4.5 4.5M-4.5 4.5L4.5-4.5"),
}
LANE_GAP = 15

PANEL_WIDTH, PANEL_HEIGHT = 320, 170
PLOT_LEFT, PLOT_RIGHT, PLOT_TOP, PLOT_BOTTOM = 40, 312, 8, 148
DRAWN_BINS = 160


@dataclass(frozen=True)
class Series:
    """One line of a learning-curve panel; `style` is its CSS class."""

    style: str
    label: str
    points: Points


def percent(fraction: float) -> str:
    """Return an SVG length along the axis of rates: 0.425 is '42.5%'."""
    return f"{100 * fraction:.4g}%"


def mark(style: str, x: str = "50%", y: float | str = "50%") -> Markup:
    """Return the symbol of the policy or of a baseline at a place."""
    return element("svg", SHAPES[style], x=x, y=y, class_=f"mark {style}")


def key(style: str) -> Markup:
    """Return the symbol alone, for legends."""
    return element("svg", mark(style), class_="key", width=16, height=16, aria_hidden="true")


def rate_row(task: TaskResult) -> Markup:
    """Return the policy's rate and interval over its baselines', each in its own lane, on an axis from 0 to 100%."""
    lanes = [
        ("policy", "policy", task.policy),
        ("blind", "blind policy", task.blind),
        ("wrong", "wrong instruction", task.wrong_instruction),
    ]
    known = [(style, label, rate) for style, label, rate in lanes if rate is not None]
    grid = [element("line", x1=x, x2=x, y1="0", y2="100%", class_="grid") for x in ("0%", "25%", "50%", "75%", "100%")]
    top = -LANE_GAP * (len(known) - 1) / 2
    drawn = [_rate(style, label, rate, top + i * LANE_GAP) for i, (style, label, rate) in enumerate(known)]
    spoken = "; ".join(f"{label} {told(rate)}" for _, label, rate in known)
    centre = element("svg", *drawn, y="50%", width="100%")
    return element("svg", *grid, centre, class_="rates", role="img", aria_label=spoken)


def rate_axis() -> Markup:
    """Return the labels under a column of `rate_row`."""
    labels = [element("text", f"{tick}%", x=f"{tick}%", y=13, text_anchor="middle") for tick in (0, 25, 50, 75, 100)]
    return element("svg", *labels, class_="rates axis", height=18, aria_hidden="true")


def stage_bar(stage: Stage, longest_s: float) -> Markup:
    """Return CPU seconds over wall seconds, as two bars on the scale shared by all stages."""
    bars = [
        element("rect", x=0, y=y, width=percent(value / longest_s), height=9, rx=2, class_=style)
        for y, value, style in ((3, stage.cpu_seconds, "cpu"), (14, stage.wall_seconds, "wall"))
    ]
    spoken = f"{stage.name}: {stage.cpu_seconds:.1f} CPU seconds, {stage.wall_seconds:.1f} seconds on the clock"
    return element("svg", *bars, class_="stage", height=26, role="img", aria_label=spoken)


def curve_panel(name: str, series: Sequence[Series], across: str = "train steps", *, plain: bool = False) -> Markup:
    """Return lines over steps: every logged value faint, its running mean strong; logarithmic where that shows more.

    Args:
        name: of the figure, for screen readers.
        series: the lines.
        across: what the steps are, as it stands below the axis, where "train" is left out.
        plain: whether the axis is always linear, and the values themselves are drawn instead of their running mean.
    """
    values = [value for line in series for _, value in line.points]
    last_step = max(line.points[-1][0] for line in series) or 1
    log = not plain and min(values) > 0 and max(values) / min(values) >= 30
    ticks = log_ticks(min(values), max(values)) if log else linear_ticks(min(values), max(values))
    low, high = min(ticks[0], *values), max(ticks[-1], *values)

    def x_of(step: float) -> float:
        return PLOT_LEFT + (PLOT_RIGHT - PLOT_LEFT) * step / last_step

    def y_of(value: float) -> float:
        value = max(value, low) if log else value  # the rounding of a mean of values far apart may be below them all
        share = math.log(value / low) / math.log(high / low) if log else (value - low) / (high - low)
        return PLOT_BOTTOM - (PLOT_BOTTOM - PLOT_TOP) * share

    def path(points: Points, style: str) -> Markup:
        places = "L".join(f"{x_of(step):.1f} {y_of(value):.1f}" for step, value in points)
        if len(points) == 1:
            return element("circle", cx=f"{x_of(points[0][0]):.1f}", cy=f"{y_of(points[0][1]):.1f}", r=2, class_=style)
        return element("path", d=f"M{places}", class_=style)

    grid = [
        join(
            element("line", x1=PLOT_LEFT, x2=PLOT_RIGHT, y1=f"{y_of(tick):.1f}", y2=f"{y_of(tick):.1f}", class_="grid"),
            element("text", number(tick), x=PLOT_LEFT - 6, y=f"{y_of(tick) + 3.5:.1f}", text_anchor="end"),
        )
        for tick in ticks
    ]
    steps = [
        element("text", "0", x=PLOT_LEFT, y=164),
        element("text", f"{last_step:,} {across.removeprefix('train ')}", x=PLOT_RIGHT, y=164, text_anchor="end"),
    ]
    lines = []
    for line in reversed(series):  # the first series lies on top
        if plain:
            lines.append(path(extremes(line.points), f"line {line.style}"))
            continue
        smooth = running_mean(line.points)
        if len(smooth) < len(line.points) or smooth != list(line.points):
            lines.append(path(extremes(line.points), f"line raw {line.style}"))
        stride = max(1, len(smooth) // DRAWN_BINS)
        lines.append(path([*smooth[:-1:stride], smooth[-1]], f"line {line.style}"))
    box = f"0 0 {PANEL_WIDTH} {PANEL_HEIGHT}"
    spoken = f"{name} over {last_step} {across}" + (", logarithmic" if log else "")
    return element("svg", *grid, *steps, *lines, class_="curve", viewBox=box, role="img", aria_label=spoken)


def running_mean(points: Points) -> list[tuple[float, float]]:
    """Return a centred mean over about a twentieth of the points; short curves stay as they are."""
    half = len(points) // 40
    if half == 0:
        return list(points)
    sums = [0.0]
    for _, value in points:
        sums.append(sums[-1] + value)
    smooth = []
    for i, (step, _) in enumerate(points):
        reach = min(half, i, len(points) - 1 - i)
        smooth.append((step, (sums[i + reach + 1] - sums[i - reach]) / (2 * reach + 1)))
    return smooth


def extremes(points: Points) -> Points:
    """Return at most about twice DRAWN_BINS points that keep the smallest and largest value of every stretch, so that
    thinning hides no spike.
    """
    if len(points) <= 2 * DRAWN_BINS:
        return points
    edges = [round(i * len(points) / DRAWN_BINS) for i in range(DRAWN_BINS + 1)]
    kept = []
    for start, stop in pairwise(edges):
        stretch = points[start:stop]
        pair = {min(stretch, key=lambda p: p[1]), max(stretch, key=lambda p: p[1])}
        kept += sorted(pair)
    return kept


def linear_ticks(low: float, high: float) -> list[float]:
    """Return three to six round numbers covering [low, high]; zero is the floor where the values come near it."""
    if 0 < low < 0.6 * high:
        low = 0.0
    if high == low:
        low, high = low - (abs(low) or 1), high + (abs(high) or 1)
    rough = (high - low) / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [i * step for i in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Return powers of ten, at most about five, inside or just outside [low, high]."""
    first, last = math.floor(math.log10(low) + 1e-9), math.ceil(math.log10(high) - 1e-9)
    stride = max(1, math.ceil((last - first) / 5))
    return [10.0**i for i in range(first, last + stride, stride)]


def number(value: float) -> str:
    """Return a short number for an axis or a caption: 0.0132, 1.5e-5, 12,400."""
    if value == 0:
        return "0"
    if abs(value) < 1e-3:
        mantissa, exponent = f"{value:.1e}".split("e")
        return f"{mantissa.removesuffix('.0')}e{int(exponent)}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _rate(style: str, label: str, rate: Rate, y: float) -> Markup:
    bar = None
    if rate.ci95 is not None:
        low, high = (percent(bound) for bound in rate.ci95)
        bar = element("line", x1=low, x2=high, y1=y, y2=y, class_=f"interval {style}")
    return element("g", element("title", f"{label}: {told(rate)}"), bar, mark(style, percent(rate.success), y))
