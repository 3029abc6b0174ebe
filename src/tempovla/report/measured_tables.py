"""Tables of what a simulator measures of episodes beside their score: text of commands, and a part of the report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tempovla.report.chart import number
from tempovla.report.markup import Markup, element
from tempovla.report.measured import Measured, named
from tempovla.timeline.arguments import with_noun

TERMINAL = 100
"""Characters of a line of text at the most."""
GAP = 2
"""Spaces between columns."""
TOO_FEW = "no intervals, as fewer than six pairs can rule no difference out"
MOST_COLUMNS = 5
"""Columns of tasks in the text of a command, beyond which it shows the mean alone."""


def measured_section(
    columns: Sequence[tuple[Markup | str, Mapping[str, Measured]]], beside: Sequence[Markup | None] = ()
) -> Markup | None:
    """Return a table of the figures of each task and of all; None where the simulator measured none.

    Args:
        columns: the head and the figures of each column.
        beside: of `beside_table`, below it.
    """
    names = list(dict.fromkeys(name for _, figures in columns for name in figures))
    if not names:
        return None
    words = named(names)
    head = element("tr", element("th", "Figure", scope="col"), *(element("th", top, scope="col") for top, _ in columns))
    rows = [
        element("tr", element("th", words[name], scope="row"), *(_cell(figures.get(name)) for _, figures in columns))
        for name in names
    ]
    table = element("table", element("thead", head), element("tbody", *rows))
    lacks = any(figure.ci95 is None for _, figures in columns for figure in figures.values())
    note = "Means over the episodes, with 95% bootstrap intervals; every task counts alike."
    note += " A single episode has no interval." if lacks else ""
    return element(
        "section",
        element("h2", "What the simulator measured"),
        element("p", note, class_="note"),
        element("div", table, class_="scroll"),
        *beside,
    )


def _cell(figure: Measured | None) -> Markup:
    if figure is None:
        return element("td", "\N{EN DASH}")
    interval = None if figure.ci95 is None else f"{number(figure.ci95[0])} to {number(figure.ci95[1])}"
    return element("td", number(figure.mean), element("small", interval) if interval else None)


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
    first = ["", *named(names).values()]
    columns = [[top, *(_text(block["figures"].get(name)) for name in names)] for top, block in blocks.items()]
    lines = ["", "measured by the simulator, mean of the episodes [95%]:"]
    for group in _side_by_side(first, columns):
        lines += [*_aligned([first, *group]), ""]
    return lines[:-1]


def _side_by_side(first: Sequence[str], columns: Sequence[Sequence[str]]) -> Iterator[list[Sequence[str]]]:
    """Groups of columns that are not wider, with the first column before each, than a terminal."""
    start, group = _width(first), list[Sequence[str]]()
    for column in columns:
        if group and start + sum(GAP + _width(each) for each in [*group, column]) > TERMINAL:
            yield group
            group = []
        group.append(column)
    yield group


def _width(column: Sequence[str]) -> int:
    return max(map(len, column))


def _aligned(columns: Sequence[Sequence[str]]) -> list[str]:
    """Lines of columns that begin below each other."""
    widths = [_width(column) for column in columns]
    rows = zip(*columns, strict=True)
    gap = " " * GAP
    return [gap.join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


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
    words, lacks = named(figures), any(block["ci95"] is None for block in figures.values())
    rows = [("", f"{'A':>9}", f"{'B':>9}", "B - A" if lacks else "B - A [95%]", "p")]
    for name, block in figures.items():
        means = (f"{number(block['a']):>9}", f"{number(block['b']):>9}")
        rows.append((words[name], *means, _difference(block), f"{block['p_value']:.2g}"))
    return ["", *_aligned(list(zip(*rows, strict=True))), *([TOO_FEW] if lacks else [])]


def _difference(block: Mapping[str, Any]) -> str:
    """The difference of a comparison, with its interval where there is one."""
    ci95 = block["ci95"]
    return _signed(block["difference"]) + ("" if ci95 is None else f" [{_signed(ci95[0])}, {_signed(ci95[1])}]")


def _signed(value: float) -> str:
    return f"+{number(value)}" if value > 0 else number(value)


def beside_table(comparison: Mapping[str, Any], title: str, baseline: str) -> Markup | None:
    """Return a table of a policy's figures beside those of a baseline, on the episodes that both played.

    Args:
        comparison: of `compare_evaluations`, or its `figures` alone; A is the baseline, B the policy.
        title: of the table.
        baseline: the head of the baseline's column.

    Returns:
        None where the two share no figures.
    """
    figures = comparison.get("figures", {})
    if not figures:
        return None
    words = named(figures)
    heads = ("Figure", "Policy", baseline, "Difference", "p")
    rows = []
    for name, block in figures.items():
        ci95 = block["ci95"]
        interval = None if ci95 is None else f"{_signed(ci95[0])} to {_signed(ci95[1])}"
        difference = element("td", _signed(block["difference"]), element("small", interval) if interval else None)
        told = (element("td", number(block[key])) for key in ("b", "a"))
        row = (element("th", words[name], scope="row"), *told, difference, element("td", f"{block['p_value']:.2g}"))
        rows.append(element("tr", *row))
    head = element("thead", element("tr", *(element("th", text, scope="col") for text in heads)))
    pairs = next(iter(figures.values()))["pairs"]
    note = (
        f"Means over the {with_noun(pairs, 'episode')} that both played, and the difference of the pairs with the 95% "
        "interval and the p-value of a sign-flip permutation test."
    )
    note += (
        " Fewer than six pairs have no interval." if any(block["ci95"] is None for block in figures.values()) else ""
    )
    table = element("div", element("table", head, element("tbody", *rows)), class_="scroll")
    return element("div", element("h3", title), element("p", note, class_="note"), table)
