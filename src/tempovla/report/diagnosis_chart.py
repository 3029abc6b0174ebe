"""Charts of a diagnosis: bars with whiskers, and the error over the length of the past."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tempovla.report.chart import linear_ticks, number, percent
from tempovla.report.markup import Markup, element, join

WIDTH, HEIGHT = 720, 270
LEFT, RIGHT, TOP, BOTTOM = 56, 700, 12, 222


@dataclass(frozen=True)
class Estimate:
    """A value with its 95% interval and its label."""

    label: str
    value: float
    low: float
    high: float


class Axis:
    """An axis of round numbers, from left to right, that covers some estimates and 0."""

    def __init__(self, estimates: Sequence[Estimate]) -> None:
        ends = [end for each in estimates for end in (each.low, each.value, each.high)]
        self.ticks = linear_ticks(min(0.0, *ends), max(0.0, *ends))

    def share(self, value: float) -> float:
        """Return the place of a value on the axis, between 0 and 1."""
        return (value - self.ticks[0]) / (self.ticks[-1] - self.ticks[0])

    def labels(self) -> Markup:
        """Return the labels below a column of bars."""
        texts = [
            element("text", number(tick), x=percent(self.share(tick)), y=13, text_anchor="middle")
            for tick in self.ticks
        ]
        return element("svg", *texts, class_="rates axis", height=18, aria_hidden="true")

    def bar(self, estimate: Estimate, style: str) -> Markup:
        """Return a bar from 0 with its interval."""
        grid = [
            element(
                "line", x1=percent(self.share(tick)), x2=percent(self.share(tick)), y1="0", y2="100%", class_="grid"
            )
            for tick in self.ticks
        ]
        start, end = sorted((self.share(0.0), self.share(estimate.value)))
        low, high = percent(self.share(estimate.low)), percent(self.share(estimate.high))
        box = element(
            "rect", x=percent(start), width=percent(end - start), y="28%", height="44%", class_=f"bar {style}".strip()
        )
        whisker = element("line", x1=low, x2=high, y1="50%", y2="50%", class_="whisker")
        ends = [element("line", x1=x, x2=x, y1="40%", y2="60%", class_="whisker") for x in (low, high)]
        return element("svg", *grid, box, whisker, *ends, class_="rates", role="img", aria_label=spoken(estimate))


def spoken(estimate: Estimate) -> str:
    """Return an estimate in words, for screen readers and tooltips."""
    return f"{estimate.label}: {number(estimate.value)}, 95% interval {number(estimate.low)} to {number(estimate.high)}"


def lengths_chart(estimates: Sequence[Estimate], reference: float, axis_label: str) -> Markup:
    """Errors over lengths, evenly spaced in their order, in the band of their intervals; `reference` is dashed."""
    ends = [end for each in estimates for end in (each.low, each.high)]
    ticks = linear_ticks(min(ends), max(ends))
    low, high = min(ticks[0], *ends), max(ticks[-1], *ends)

    def x_of(place: int) -> float:
        return LEFT + (RIGHT - LEFT) * (place + 0.5) / len(estimates)

    def y_of(value: float) -> float:
        return BOTTOM - (BOTTOM - TOP) * (value - low) / (high - low)

    def path(values: Sequence[tuple[int, float]]) -> str:
        return "L".join(f"{x_of(place):.1f} {y_of(value):.1f}" for place, value in values)

    grid = [
        join(
            element("line", x1=LEFT, x2=RIGHT, y1=f"{y_of(tick):.1f}", y2=f"{y_of(tick):.1f}", class_="grid"),
            element("text", number(tick), x=LEFT - 8, y=f"{y_of(tick) + 3.5:.1f}", text_anchor="end"),
        )
        for tick in ticks
    ]
    places = list(enumerate(estimates))
    above, below = [(i, each.high) for i, each in places], [(i, each.low) for i, each in reversed(places)]
    names = [element("text", each.label, x=f"{x_of(i):.1f}", y=BOTTOM + 20, text_anchor="middle") for i, each in places]
    points = [
        element(
            "circle",
            element("title", spoken(each)),
            cx=f"{x_of(i):.1f}",
            cy=f"{y_of(each.value):.1f}",
            r=4.5,
            class_="point",
        )
        for i, each in places
    ]
    level = f"{y_of(reference):.1f}"
    return element(
        "svg",
        *grid,
        element("path", d=f"M{path(above)}L{path(below)}Z", class_="band"),
        element("line", x1=LEFT, x2=RIGHT, y1=level, y2=level, class_="reference"),
        element("path", d=f"M{path([(i, each.value) for i, each in places])}", class_="line"),
        *points,
        *names,
        element("text", axis_label, x=(LEFT + RIGHT) / 2, y=BOTTOM + 42, text_anchor="middle"),
        class_="lengths",
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="img",
        aria_label="; ".join(spoken(each) for each in estimates),
    )
