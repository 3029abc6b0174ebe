"""Offline errors: how far the policy's actions are from demonstrations, beside those of the mean action."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from tempovla.report.chart import key, linear_ticks, mark, number, percent
from tempovla.report.fields import Reader, load_json
from tempovla.report.format_text import demonstrations
from tempovla.report.markup import Markup, element, join

FILE = "offline.json"
"""Output of `tempovla eval offline --json` in the folder of a run."""
MEAN_ACTION = 1.0
"""The relative error of always answering the mean action, by definition."""


@dataclass(frozen=True)
class OfflineRow:
    """The error of one action dimension, or the mean of several.

    Attributes:
        name: of the dimension.
        mse: mean squared error in the robot's units.
        relative: `mse` divided by that of always giving the mean action; None if the demonstrated actions never
            vary.
    """

    name: str
    mse: float
    relative: float | None

    @property
    def of_mean_action(self) -> float | None:
        """Mean squared error of the mean action; None where it is not known."""
        return None if self.relative is None or self.relative <= 0 else self.mse / self.relative


@dataclass(frozen=True)
class Offline:
    """Results of an offline evaluation.

    Attributes:
        rows: one an action dimension.
        relative: the mean over the dimensions that vary; None if none does.
        is_held_out: whether training did not see these episodes.
        episodes, steps: how many were compared.
        gripper_accuracy: share of steps with the right sign of the gripper; None where there is no gripper.
    """

    rows: tuple[OfflineRow, ...]
    relative: float | None
    is_held_out: bool
    episodes: int
    steps: int
    gripper_accuracy: float | None


def read_offline(run_dir: Path) -> Offline | None:
    """Read the errors of actions in RUN_DIR/offline.json; None where there are none.

    Raises:
        ValueError: naming the file, the key and the remedy.
    """
    path = run_dir / FILE
    if not path.is_file():
        return None
    data = Reader(path, "", load_json(path))
    if "dimensions" not in data.value and "predictions" in data.value:  # it learned in a simulator
        return None
    dimensions = data.child("dimensions")
    if not dimensions.value:
        raise data.error("dimensions", "is empty; run `tempovla eval offline` again")
    return Offline(
        rows=tuple(_row(dimensions.child(name), name) for name in dimensions.value),
        relative=data.optional_number("mse_relative"),
        is_held_out=data.get("split", str) == "validation",
        episodes=data.get("episodes", int, required=True),
        steps=data.get("steps", int, required=True),
        gripper_accuracy=data.optional_number("gripper_accuracy"),
    )


def _row(data: Reader, name: str) -> OfflineRow:
    return OfflineRow(name, data.number("mse"), data.optional_number("mse_relative"))


def offline_section(offline: Offline | None, run_dir: Path) -> Markup:
    """Return errors by dimension beside the mean action's, or a note on how to get them."""
    heading = element("h2", "Error of the actions")
    if offline is None:
        words = (
            f"No offline errors: {FILE} is not in the folder. `tempovla eval offline --checkpoint CHECKPOINT --json "
            f"{run_dir / FILE}` writes it."
        )
        return element("section", heading, element("p", words, class_="missing"))
    episodes = demonstrations(offline.episodes, held_out=offline.is_held_out)
    steps = f"{offline.steps:,} step{'s' * (offline.steps != 1)}"
    note = (
        f"Predicted chunks of actions against the demonstrated ones, {steps} of {episodes}. "
        f"A dot is the mean squared error divided by that of always giving the mean action, which is the "
        "dashed line at 1."
    )
    legend = element(
        "p",
        element("span", key("policy"), "policy"),
        element("span", element("i", class_="swatch line blind dashed"), "mean action"),
        class_="legend",
    )
    return element(
        "section",
        heading,
        element("p", note, class_="note"),
        legend,
        _chart(offline),
        *_cautions(offline),
        _table(offline),
    )


def _chart(offline: Offline) -> Markup | None:
    known = [(row.name, row.relative) for row in offline.rows if row.relative is not None]
    if not known:
        return None
    ticks = linear_ticks(0.0, max(MEAN_ACTION, *(relative for _, relative in known)))

    def place(value: float) -> str:
        return percent(value / ticks[-1])

    def line(value: float, style: str) -> Markup:
        return element("line", x1=place(value), x2=place(value), y1="0", y2="100%", class_=style)

    grid = [*(line(tick, "grid") for tick in ticks), line(MEAN_ACTION, "reference")]
    rows = [
        join(
            element("div", element("b", name), class_="name"),
            element(
                "div",
                element(
                    "svg",
                    *grid,
                    mark("policy", x=place(relative)),
                    class_="rates",
                    role="img",
                    aria_label=f"{name}: {number(relative)} of the mean action's error",
                ),
                class_="plot",
            ),
            element("div", element("b", f"{relative:.2f}"), class_="value"),
        )
        for name, relative in known
    ]
    labels = [element("text", number(tick), x=place(tick), y=13, text_anchor="middle") for tick in ticks]
    axis = element("svg", *labels, class_="rates axis", height=18, aria_hidden="true")
    return element("div", *rows, element("div"), axis, element("div"), class_="chart bars")


def _cautions(offline: Offline) -> list[Markup]:
    notes = []
    if offline.relative is not None and offline.relative >= MEAN_ACTION:
        notes.append(
            "The policy is no nearer to the demonstrations than their mean action: it has not learned this task yet."
        )
    if not offline.is_held_out:
        notes.append("Training saw some of these episodes, so that its errors here may be smaller than on new ones.")
    if still := [row.name for row in offline.rows if row.relative is None]:
        notes.append(f"The demonstrated actions never vary in {', '.join(still)}: no mean action to compare with.")
    return [element("p", words, class_="note") for words in notes]


def _table(offline: Offline) -> Markup:
    heads = ["Dimension", "Error of the policy", "Error of the mean action", "Relative"]
    rows = [
        element(
            "tr",
            element("th", row.name, scope="row"),
            element("td", element("b", _root(row.mse))),
            element("td", _root(row.of_mean_action)),
            element("td", _relative(row.relative)),
        )
        for row in offline.rows
    ]
    if len(rows) > 1:
        name = element("th", "Mean", element("small", "of the relative errors"), scope="row")
        dash = element("td", "\N{EN DASH}")
        rows.append(element("tr", name, dash, dash, element("td", _relative(offline.relative)), class_="mean"))
    mean = element("th", "Mean action", element("small", "always answered"), scope="row")
    dash = element("td", "\N{EN DASH}")
    rows.append(element("tr", mean, dash, dash, element("td", _relative(MEAN_ACTION))))
    head = element("thead", element("tr", *[element("th", text, scope="col") for text in heads]))
    told = "Errors are roots of mean squares, in the robot's units; relative ones compare the mean squares."
    if offline.gripper_accuracy is not None:
        told += f" The gripper opens and closes as demonstrated at {offline.gripper_accuracy:.1%} of the steps."
    table = element("div", element("table", head, element("tbody", *rows)), class_="scroll")
    return join(table, element("p", told, class_="note"))


def _root(square: float | None) -> str:
    return "\N{EN DASH}" if square is None else f"{math.sqrt(square):.4g}"


def _relative(value: float | None) -> str:
    return "\N{EN DASH}" if value is None else f"{value:.3f}"
