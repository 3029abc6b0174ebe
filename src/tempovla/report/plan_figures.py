"""What a policy expected at every decision of a filmed episode, beside what came, as rollouts/index.json has it."""

from __future__ import annotations

from dataclasses import dataclass

from tempovla.report.fields import Reader, is_number
from tempovla.storage.json_files import shown


@dataclass(frozen=True)
class PlanFigures:
    """Figures of N decisions.

    Attributes:
        stride: control steps from one decision to the next.
        discount: of rewards from one decision to the next, in (0, 1).
        value: (N,) the discounted return that was expected from each decision on.
        expected: (N,) rewards that were expected until the next decision.
        received: (N,) rewards that came until the next decision.
    """

    stride: int
    discount: float
    value: tuple[float, ...]
    expected: tuple[float, ...]
    received: tuple[float, ...]

    @property
    def steps(self) -> tuple[int, ...]:
        """The control steps of the decisions."""
        return tuple(self.stride * index for index in range(len(self.value)))

    @property
    def returns(self) -> tuple[float, ...]:
        """The discounted return (N,) that came from each decision until the episode ended; nothing beyond counts."""
        found, total = [], 0.0
        for reward in reversed(self.received):
            total = reward + self.discount * total
            found.append(total)
        return tuple(reversed(found))

    @property
    def weight_beyond(self) -> tuple[float, ...]:
        """The share (N,) of the weights of all future rewards that lies beyond the end of the episode."""
        count = len(self.value)
        return tuple(self.discount ** (count - index) for index in range(count))


def read_plan_figures(entry: Reader) -> PlanFigures | None:
    """Read `plans` of an entry in rollouts/index.json; None where there is nothing.

    Raises:
        ValueError: naming the file, the entry and the remedy.
    """
    data = entry.optional("plans")
    if data is None:
        return None
    stride, discount = data.get("stride", int, required=True), data.number("discount")
    if stride < 1:
        raise data.error("stride", f"is {stride}; it must be at least 1 control step")
    if not 0 < discount < 1:
        raise data.error("discount", f"is {discount}; it must lie between 0 and 1")
    value, expected, received = (_numbers(data, key) for key in ("value", "expected", "received"))
    for key, figures in (("expected", expected), ("received", received)):
        if len(figures) != len(value):
            raise data.error(key, f"has {len(figures)} numbers; it must have {len(value)}, one for each in value")
    return PlanFigures(stride, discount, value, expected, received)


def _numbers(data: Reader, key: str) -> tuple[float, ...]:
    values = data.get(key, list, required=True)
    if not values or not all(map(is_number, values)):
        raise data.error(key, f"is {shown(values)}; it must be a list of at least one finite number")
    return tuple(values)
