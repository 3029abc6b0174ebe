"""Tables of what a simulator measures of episodes beside their score: text of commands, and a part of the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tempovla.report.chart import number
from tempovla.report.markup import Markup, element
from tempovla.report.measured import Measured

MOST_COLUMNS = 5
"""Columns of tasks in the text of a command, beyond which it shows the mean alone."""


def measured_section(columns: Sequence[tuple[Markup | str, Mapping[str, Measured]]]) -> Markup | None:
    """Return a table of the figures of each task and of all; None where the simulator measured none.

    Args:
        columns: the head and the figures of each column.
    """
    names = list(dict.fromkeys(name for _, figures in columns for name in figures))
    if not names:
        return None
    head = element("tr", element("th", "Figure", scope="col"), *(element("th", top, scope="col") for top, _ in columns))
    rows = [
        element("tr", element("th", in_words(name), scope="row"), *(_cell(figures.get(name)) for _, figures in columns))
        for name in names
    ]
    table = element("table", element("thead", head), element("tbody", *rows))
    note = "Means over the episodes, with 95% bootstrap intervals; every task counts alike."
    return element(
        "section",
        element("h2", "What the simulator measured"),
        element("p", note, class_="note"),
        element("div", table, class_="scroll"),
    )


def _cell(figure: Measured | None) -> Markup:
    if figure is None:
        return element("td", "\N{EN DASH}")
    interval = "no interval" if figure.ci95 is None else f"{number(figure.ci95[0])} to {number(figure.ci95[1])}"
    return element("td", number(figure.mean), element("small", interval))


def measured_lines(results: Mapping[str, Any]) -> list[str]:
    """Return the figures of results.json with their 95% intervals, for people; nothing where there are none.

    Args:
        results: the contents of results.json.
    """
    tasks = results["tasks"]
    blocks = {name: block for name, block in {**tasks, "mean": results["mean"]}.items() if "figures" in block}
    if "mean" not in blocks:
        return []
    if len(tasks) == 1 or len(blocks) > MOST_COLUMNS:
        blocks = {"mean": blocks["mean"]}
    names = list(blocks["mean"]["figures"])
    cells = [["", *blocks]]
    cells += [[in_words(name), *(_text(block["figures"].get(name)) for block in blocks.values())] for name in names]
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    table = ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
    return ["", "measured by the simulator, mean of the episodes [95%]:", *table]


def _text(figure: Mapping[str, Any] | None) -> str:
    if figure is None:
        return "-"
    ci95 = figure["ci95"]
    return number(figure["mean"]) + ("" if ci95 is None else f" [{number(ci95[0])}, {number(ci95[1])}]")


def compared_lines(comparison: Mapping[str, Any]) -> list[str]:
    """Return the paired differences of the figures of two evaluations; nothing where they share none.

    Args:
        comparison: of `compare_evaluations`.
    """
    figures = comparison.get("figures", {})
    if not figures:
        return []
    width = max(len(in_words(name)) for name in figures)
    lines = ["", f"{'':<{width}}  {'A':>9}  {'B':>9}  {'B - A [95%]':<30}  p"]
    for name, block in figures.items():
        ci95 = block["ci95"]
        interval = "no interval" if ci95 is None else f"[{_signed(ci95[0])}, {_signed(ci95[1])}]"
        difference = f"{_signed(block['difference'])} {interval}"
        told = f"{number(block['a']):>9}  {number(block['b']):>9}  {difference:<30}  {block['p_value']:.2g}"
        lines.append(f"{in_words(name):<{width}}  {told}")
    return lines


def _signed(value: float) -> str:
    return f"+{number(value)}" if value > 0 else number(value)


def in_words(name: str) -> str:
    """Return the name of a figure as words."""
    return name.replace("_", " ")
