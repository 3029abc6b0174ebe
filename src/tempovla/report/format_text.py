"""Numbers of the report as text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tempovla.report.run import Rate


def duration(seconds: float) -> str:
    """'42 s', '9 min 12 s', '1 h 4 min'."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def percentage(rate: Rate) -> str:
    """Return a text such as '92.5%', with a decimal only if it is not 0. It is never rounded up to 100%."""
    percents = 100 * rate.success
    return f"{_decimal(percents if percents == 100 else min(percents, 99.9))}%"


def interval(rate: Rate) -> str:
    """'83-96%' with an en dash, or the plain fact that there is none."""
    if rate.ci95 is None:
        return "no interval given"
    return f"{100 * rate.ci95[0]:.0f}\N{EN DASH}{100 * rate.ci95[1]:.0f}%"


def count(rate: Rate) -> str:
    """'19 of 20 episodes', '20 episodes' where the successes are not a whole number, '' where n is unknown."""
    if rate.episodes is None:
        return ""
    noun = "episode" if rate.episodes == 1 else "episodes"
    of = "" if rate.successes is None else f"{rate.successes} of "
    return f"{of}{rate.episodes} {noun}"


def demonstrations(number: int, *, held_out: bool) -> str:
    """'5 held-out episodes', or '1 episode, training ones included'."""
    noun = "episode" if number == 1 else "episodes"
    return f"{number} held-out {noun}" if held_out else f"{number} {noun}, training ones included"


def told(rate: Rate) -> str:
    """Return the rate, interval and count in one phrase, for tooltips and screen readers."""
    certainty = "no interval given" if rate.ci95 is None else f"95% interval {interval(rate)}"
    return ", ".join(part for part in (percentage(rate), certainty, count(rate)) if part)


def difference(rate: Rate, reference: Rate) -> str:
    """Return the difference in words: '38 points lower' than `reference`, or higher, or the same."""
    points = 100 * (rate.success - reference.success)
    if abs(points) < 0.05:
        return "the same"
    amount = f"{abs(points):.0f}" if abs(points) >= 10 else _decimal(abs(points))
    return f"{amount} points {'higher' if points > 0 else 'lower'}"


def change_of(block: Mapping[str, Any], error: float) -> str:
    """'+12.0% [+8.1%, +16.2%]' of `error`, that of the full context."""
    if error == 0:
        return f"{block['difference']:+.4f}"
    low, high = (bound / error for bound in block["difference_ci95"])
    return f"{block['difference'] / error:+.1%} [{low:+.1%}, {high:+.1%}]"


def and_list(names: list[str]) -> str:
    """'a', 'a and b', 'a, b and c'."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def solved_at_once(counts: Mapping[str, int], episodes: int) -> str:
    """'3 of 20 episodes were solved by the first step, whatever the policy did', and of which tasks if there are more.

    Args:
        counts: of such episodes, by the name of the task.
        episodes: number of all episodes.
    """
    number = sum(counts.values())
    of_which = [f"{count} of {name}" for name, count in counts.items() if count]
    which = f": {and_list(of_which)}" if len(counts) > 1 and of_which else ""
    noun, verb = "episode" if episodes == 1 else "episodes", "was" if number == 1 else "were"
    return f"{number} of {episodes} {noun} {verb} solved by the first step, whatever the policy did{which}"


def quoted(words: str) -> str:
    """Return the words in typographic quotation marks."""
    return f"\N{LEFT DOUBLE QUOTATION MARK}{words}\N{RIGHT DOUBLE QUOTATION MARK}"


def dotted(parts: list[str]) -> str:
    """Return facts in a row with middle dots between them; empty ones are left out."""
    return " \N{MIDDLE DOT} ".join(part for part in parts if part)


def _decimal(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
