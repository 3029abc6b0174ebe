"""Windows: the steps of a stream that a policy reads, in control steps or, where users write them, in seconds."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any

from tempovla.timeline.config import config_from_json

FARTHEST = 100_000
"""Control steps that a window, as it is written or in a file, may reach from now: an hour at 25 Hz is fewer."""

LARGEST_FRACTION = 0.1
"""How far a time may be from a control step [steps]: times are written with few digits, as ``0.033s`` at 30 Hz."""


@dataclass(frozen=True)
class Window:
    """Steps of one stream, as increasing offsets in control steps relative to now.

    Attributes:
        key: name of the stream, e.g. ``observation.state`` or ``action``.
        offsets: increasing integers; 0 is the newest observation, and the first future action.
        optional: whether the policy acts without the stream, too, as a vehicle does when a sensor fails.
    """

    key: str
    offsets: tuple[int, ...]
    optional: bool = False

    def __post_init__(self) -> None:
        try:
            object.__setattr__(self, "offsets", tuple(operator.index(offset) for offset in self.offsets))
        except TypeError:
            raise ValueError(
                f"Window({self.key!r}) offsets {self.offsets!r} are not integers; give control steps, e.g. (-1, 0)"
            ) from None
        if not self.offsets:
            raise ValueError(f"Window({self.key!r}) has no offsets; give at least one, e.g. (0,)")
        if any(b <= a for a, b in zip(self.offsets, self.offsets[1:], strict=False)):
            raise ValueError(f"Window({self.key!r}) offsets {self.offsets} must increase strictly; sort them")

    def shift(self, steps: int) -> Window:
        """Return the window moved by `steps` along the timeline."""
        return replace(self, offsets=tuple(offset + steps for offset in self.offsets))

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready form; `from_json` reads it back."""
        optional = {"optional": True} if self.optional else {}
        return {"key": self.key, "offsets": list(self.offsets), **optional}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Window:
        """Read what `to_json` wrote.

        Raises:
            ValueError: if it is something else, or an offset is beyond `FARTHEST`.
        """
        window = config_from_json(cls, data, "window")
        for offset in (window.offsets[0], window.offsets[-1]):
            if abs(offset) > FARTHEST:
                raise ValueError(
                    f"window {window.key!r} has offset {offset}; it must be within {FARTHEST:,} steps of now"
                )
        return window


def _read_steps(part: str, rate_hz: float) -> Sequence[int]:
    if part.endswith("s"):
        steps = float(part[:-1]) * rate_hz
        if abs(steps) > FARTHEST and math.isfinite(steps):
            raise _TooFarError(part)
        if abs(steps - round(steps)) > LARGEST_FRACTION:
            raise _BetweenStepsError(part, steps)
        return (round(steps),)
    bounds = [int(bound) for bound in part.split(":")]
    if any(abs(bound) > FARTHEST for bound in bounds):
        raise _TooFarError(part)
    return bounds if len(bounds) == 1 else range(*bounds)


class _BetweenStepsError(Exception):
    """A time that is not that of a control step."""


class _TooFarError(Exception):
    """Offsets further from now than `FARTHEST`."""


def parse_offsets(text: str, rate_hz: float | None = None) -> tuple[int, ...]:
    """Read offsets written as ``0``, ``-2,-1,0``, ``0:16`` (end excluded) or seconds ``-0.2s,0s``.

    Args:
        text: the offsets; ranges are `start:stop` or `start:stop:step` in control steps.
        rate_hz: control rate that resolves seconds to steps.

    Raises:
        ValueError: if the text is malformed, or in seconds without a rate, a time lies between two steps, an offset is
            beyond `FARTHEST`, or the rate is not a positive number.
    """
    if rate_hz is not None and not _is_rate(rate_hz):
        raise ValueError(f"rate_hz={rate_hz!r} is no rate; give a positive number of control steps a second")
    rate_hz = None if rate_hz is None else float(rate_hz)
    parts = [part.strip() for part in text.split(",")]
    if rate_hz is None and any(part.endswith("s") for part in parts):
        raise ValueError(f"offsets {text!r} are in seconds, but no clock is known here; give integer control steps")
    try:
        offsets = [step for part in parts for step in _read_steps(part, rate_hz or 0.0)]
    except _BetweenStepsError as between:
        part, steps = between.args
        before, after = math.floor(steps), math.ceil(steps)
        raise ValueError(
            f"offsets {text!r}: {part} is {steps:.3g} steps at {rate_hz:g} Hz, not a whole number of them; write "
            f"{before} or {after}, which are {before / rate_hz:.3g} s and {after / rate_hz:.3g} s"
        ) from None
    except _TooFarError as far:
        raise ValueError(
            f"offsets {_shortened(text)}: {_shortened(far.args[0])} is more than {FARTHEST:,} steps from now, the "
            "limit of a window; give nearer ones"
        ) from None
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"offsets {text!r} are not readable; write 0, -2,-1,0, 0:16 or -0.2s,0s") from None
    if not offsets:
        raise ValueError(f"offsets {text!r} are empty; write 0, -2,-1,0, 0:16 or -0.2s,0s")
    if len(set(offsets)) != len(offsets):
        rate = f" at {rate_hz:g} Hz" if rate_hz else ""
        raise ValueError(f"offsets {text!r} name the same step twice{rate}; space them at least one step apart")
    return tuple(sorted(offsets))


def _is_rate(rate_hz: Any) -> bool:
    return isinstance(rate_hz, Real) and not isinstance(rate_hz, bool) and 0 < float(rate_hz) < math.inf


def _shortened(text: str) -> str:
    return repr(text) if len(text) <= 60 else f"{text[:40]!r}..."


def parse_window(text: str, rate_hz: float | None = None) -> Window:
    """Read ``KEY=OFFSETS``, e.g. ``observation.state=-1,0``; see `parse_offsets`."""
    key, equals, offsets = text.partition("=")
    if not equals or not key:
        raise ValueError(f"window {text!r} is not readable; write KEY=OFFSETS, e.g. observation.state=-1,0")
    return Window(key, parse_offsets(offsets, rate_hz))
