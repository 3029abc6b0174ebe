"""Charts of what a policy with a world model expected in a filmed episode, beside what came."""

from __future__ import annotations

from tempovla.report.chart import Series, curve_panel
from tempovla.report.markup import Markup, element
from tempovla.report.plan_figures import PlanFigures

EXPECTED, CAME = "policy", "blind"
"""The lines' CSS classes."""
MOST_BEYOND = 0.5
"""Share of the weights of future rewards beyond the episode's end above which a return is drawn dashed."""
ACROSS = "control steps"


def plan_charts(figures: PlanFigures) -> Markup:
    """Return two charts over the episode: the value beside the return that came, and the reward of each decision."""
    returns = list(zip(figures.steps, figures.returns, strict=True))
    known = sum(share <= MOST_BEYOND for share in figures.weight_beyond)
    parts = {CAME: returns[:known], f"{CAME} dashed": returns[max(known - 1, 0) :] if known < len(returns) else []}
    value = [
        Series(EXPECTED, "expected", list(zip(figures.steps, figures.value, strict=True))),
        *[Series(style, "came", points) for style, points in parts.items() if points],
    ]
    reward = [
        Series(EXPECTED, "expected", list(zip(figures.steps, figures.expected, strict=True))),
        Series(CAME, "came", list(zip(figures.steps, figures.received, strict=True))),
    ]
    return element("div", _panel("value", value), _panel("reward of the next decision", reward), class_="panels")


def plans_note() -> list[Markup]:
    """Return what the charts and the lines over the pictures mean."""
    legend = [
        element("span", element("i", class_="swatch line"), "what the policy's world model expected"),
        element("span", element("i", class_=f"swatch line {CAME}"), "what came"),
        element("span", element("i", class_=f"swatch line {CAME} dashed"), "what came, where most lies beyond the end"),
    ]
    words = (
        "The policy was asked again what it planned and expected at each of its decisions. A value is the discounted "
        "sum of all rewards from then on. The return that came counts the rewards until the episode ended, so it falls "
        "below the value towards the end. It is dashed where more than half of the weight of all future rewards lies "
        "beyond the end. A line over a picture is the way on which the policy planned to move its hand, and fades "
        "along it."
    )
    return [element("p", words, class_="note"), element("p", *legend, class_="legend")]


def _panel(name: str, series: list[Series]) -> Markup:
    chart = curve_panel(name, series, ACROSS, plain=True)
    return element("figure", element("figcaption", name), chart, class_="panel")
