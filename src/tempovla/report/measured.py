"""What a simulator measures of episodes beside their score, as results.json has it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from tempovla.report.fields import Reader, is_number
from tempovla.storage.json_files import shown
from tempovla.timeline.driving import FIGURE_UNITS, SCORES


@dataclass(frozen=True)
class Measured:
    """The mean of a figure over some episodes, with its 95% interval where that is known."""

    mean: float
    ci95: tuple[float, float] | None


def read_measured(block: Reader) -> dict[str, Measured]:
    """Return `figures` of a task's block in results.json, by name; none where there are none.

    Raises:
        ValueError: naming the file, the key and the remedy.
    """
    figures = block.optional("figures")
    if figures is None:
        return {}
    return {name: _measured(figures.child(name)) for name in figures.value}


def _measured(data: Reader) -> Measured:
    mean, ci95 = data.number("mean"), data.value.get("ci95")
    if ci95 is None:
        return Measured(mean, None)
    if not (isinstance(ci95, list) and len(ci95) == 2 and all(map(is_number, ci95)) and ci95[0] <= ci95[1]):
        raise data.error("ci95", f"is {shown(ci95)}; it must be [low, high], finite numbers, or null")
    return Measured(mean, (ci95[0], ci95[1]))


def named(names: Collection[str]) -> dict[str, str]:
    """Return the names of figures in words, by name; those of a driving simulator with their units: `distance [m]`."""
    units = FIGURE_UNITS if set(SCORES).issubset(names) else {}
    return {name: _in_words(name, units.get(name)) for name in names}


def _in_words(name: str, unit: str | None) -> str:
    words = name.removesuffix(f"_{unit}").replace("_", " ")
    return words if unit is None else f"{words} [{unit}]"
