"""What `driving_table.py` measured, as tables in Markdown and as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dot_plot import draw_rates
from driving_arms import (
    BLIND,
    BROKEN,
    COLLISIONS,
    CONVENTIONS,
    DEAF,
    EXPERT,
    FIGURES,
    FUSED,
    INTACT,
    OPEN_LOOP,
    PAIRS,
    PLAYS,
    Record,
)
from tempovla.rollout.metrics import SuccessRate
from tempovla.rollout.paired import PairedOutcomes, PairedReturns


def rate_cell(record: Record | None) -> str:
    """The share of routes that were finished with its interval, and the mean driving score."""
    if record is None:
        return ""
    rate = SuccessRate.of([bool(each) for each in record["successes"]])
    low, high = rate.interval
    return f"{rate.rate:.0%} [{low:.0%}, {high:.0%}], {mean(record, 'driving_score'):.2f}"


def mean(record: Record, figure: str) -> float:
    """Of one figure over the episodes."""
    values: list[float] = record["figures"][figure]
    return sum(values) / len(values)


def print_rates(records: Mapping[str, Mapping[str, Record]], names: Sequence[str]) -> None:
    """The table of routes, in Markdown."""
    print(f"\n| policy | {' | '.join(names)} |\n|---|{'---|' * len(names)}")
    for arm, found in records.items():
        cells = [rate_cell(found.get(name)) for name in names]
        if any(cells):
            print(f"| {arm} | {' | '.join(cells)} |")


def print_infractions(records: Mapping[str, Mapping[str, Record]], names: Sequence[str]) -> None:
    """The table of what went wrong by an episode, over all of these drives, in Markdown."""
    print(f"\n| policy | {' | '.join(FIGURES)} |\n|---|{'---:|' * len(FIGURES)}")
    for arm, found in records.items():
        there = [found[name] for name in names if name in found]
        if there:
            means = [sum(mean(each, figure) for each in there) / len(there) for figure in FIGURES]
            print(f"| {arm} | {' | '.join(f'{value:.2f}' for value in means)} |")


def print_pairs(records: Mapping[str, Mapping[str, Record]], plays: Mapping[str, Sequence[str]]) -> None:
    """Policies beside others on the same routes, in Markdown: McNemar's exact test, and flipped signs of scores."""
    print("\n| policy | against | where | routes | finished | driving score |\n|---|---|---|---:|---:|---:|")
    for first, second in PAIRS:
        for where, names in plays.items():
            shared = [n for n in names if n in records.get(first, {}) and n in records.get(second, {})]
            if shared:
                pair = records[second], records[first]
                flags = [list(zip(*(each[n]["successes"] for each in pair), strict=True)) for n in shared]
                scores = [
                    list(zip(*(each[n]["figures"]["driving_score"] for each in pair), strict=True)) for n in shared
                ]
                outcomes = PairedOutcomes.of([(bool(a), bool(b)) for each in flags for a, b in each])
                returns = PairedReturns.of(*scores)
                print(
                    f"| {first} | {second} | {where} | {outcomes.pairs} | {100 * outcomes.difference:+.0f} points, "
                    f"p = {outcomes.p_value:.2g} | {returns.difference:+.2f}, p = {returns.p_value:.2g} |"
                )


def print_losses(records: Mapping[str, Mapping[str, Record]]) -> None:
    """What a policy loses without a sensor, on the same routes, in Markdown."""
    print("\n| policy | broken | finished | driving score |\n|---|---|---:|---:|")
    for arm in FUSED:
        found = records.get(arm, {})
        for name in BROKEN:
            if name == INTACT or not {INTACT, name} <= set(found):
                continue
            pairs = list(zip(found[INTACT]["successes"], found[name]["successes"], strict=True))
            outcomes = PairedOutcomes.of([(bool(a), bool(b)) for a, b in pairs])
            scores = [found[each]["figures"]["driving_score"] for each in (INTACT, name)]
            returns = PairedReturns.of(list(zip(*scores, strict=True)))
            print(
                f"| {arm} | {name} | {100 * outcomes.difference:+.0f} points, p = {outcomes.p_value:.2g} | "
                f"{returns.difference:+.2f}, p = {returns.p_value:.2g} |"
            )


def print_open_loop(records: Mapping[str, Mapping[str, Record]]) -> None:
    """The distances from recorded trajectories under both conventions, behind rows that see nothing, in Markdown."""
    measured = {arm: found[OPEN_LOOP]["rows"] for arm, found in records.items() if OPEN_LOOP in found}
    if not measured:
        return
    columns = [(convention, time) for convention in CONVENTIONS for time in ("1", "2", "3", "mean")]
    head = [f"{CONVENTIONS[convention]}, {time}{'' if time == 'mean' else ' s'}" for convention, time in columns]
    print(f"\n| open loop [m] | {' | '.join(head)} | collisions, 3 s | new ones |\n|---|{'---:|' * (len(head) + 2)}")
    first = next(iter(measured.values()))
    rows = {name: row for name, row in first.items() if name != "policy"} | {
        arm: found["policy"] for arm, found in measured.items()
    }
    for name, row in rows.items():
        told = [row["l2"][convention][time]["mean"] for convention, time in columns]
        rates = [row[kind]["uniad"]["3"]["mean"] if kind in row else None for kind in COLLISIONS]
        cells = ["" if value is None else f"{value:.2f}" for value in told]
        cells += ["" if value is None else f"{value:.1%}" for value in rates]
        print(f"| {name} | {' | '.join(cells)} |")


def print_recognised(records: Mapping[str, Mapping[str, Record]]) -> None:
    """What policies recognise of recorded scenes, with intervals over these, in Markdown."""
    told = {arm: found[OPEN_LOOP].get("recognised", {}) for arm, found in records.items() if OPEN_LOOP in found}
    names = list(dict.fromkeys(name for figures in told.values() for name in figures))
    if not names:
        return
    print(f"\n| policy | {' | '.join(name.replace('_', ' ') for name in names)} |\n|---|{'---|' * len(names)}")
    for arm, figures in told.items():
        if figures:
            print(f"| {arm} | {' | '.join(figure_cell(figures.get(name)) for name in names)} |")


def figure_cell(figure: Mapping[str, Any] | None) -> str:
    """A mean with its interval, as far as there is one."""
    if figure is None or figure["mean"] is None:
        return ""
    interval = figure["ci95"]
    return f"{figure['mean']:.2f}" + ("" if interval is None else f" [{interval[0]:.2f}, {interval[1]:.2f}]")


def draw(records: Mapping[str, Mapping[str, Record]], path: Path) -> None:
    """Draw the rates of those that drove everywhere.

    Raises:
        ValueError: if there are none.
    """
    plays = [play for play in PLAYS if play != DEAF]
    rates = {
        arm: {play: SuccessRate.of([bool(each) for each in found[play]["successes"]]) for play in plays}
        for arm, found in records.items()
        if set(plays) <= set(found)
    }
    if not rates:
        raise ValueError(f"--picture={path}: no policy has driven {', '.join(plays)}; run one first")
    rows = {arm: {play: {"success": rate.rate, "ci95": rate.interval} for play, rate in found.items()}
            for arm, found in rates.items()}  # fmt: skip
    draw_rates(rows, str(path), baselines=(EXPERT, BLIND))
