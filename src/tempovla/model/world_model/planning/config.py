"""Settings of planners that search by sampling."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Integral
from typing import Any, Literal

KINDS = ("mppi", "cem", "icem", "shooting")
PREFIX = "model.planner."
"""How messages name a setting: as it is given to a policy, in a file and on the command line."""


def check_counts(prefix: str, **counts: Any) -> None:
    """Refuse numbers by name that are not whole, or below 1.

    Args:
        prefix: of the names, in messages.
        counts: the numbers.

    Raises:
        ValueError: naming the number.
    """
    for name, count in counts.items():
        if not isinstance(count, Integral) or isinstance(count, bool):
            raise ValueError(f"{prefix}{name}={count!r} must be a whole number")
        if count < 1:
            raise ValueError(f"{prefix}{name}={count} must be at least 1; raise it")


@dataclass(frozen=True)
class PlannerConfig:
    """How actions are searched for.

    Attributes:
        kind: `mppi` weighs the best candidates by their return (Williams et al., 2015, as in TD-MPC2); `cem` takes the
            mean and spread of the best (Rubinstein, 1999); `icem` also draws noise that is correlated in time, and
            keeps some of the best for the next round (Pinneri et al., 2020); `shooting` takes the best of one round.
        horizon: number of steps that are planned.
        num_samples: number of candidates of a round.
        num_elites: number of the best of them that decide where the next round looks.
        iterations: number of rounds; `shooting` makes one.
        num_policy_samples: number of candidates that follow the world model's own policy, where it has one.
        min_std: least spread of candidates.
        max_std: spread of the first round's candidates.
        temperature: of `mppi`; with a higher one fewer candidates count.
        policy_weight: how much a candidate is penalised by its actions' squared distance from the world model's own
            policy, in units of the running spread of its values, where it has these. It keeps plans to what the
            values were learned from. It does not count while the policy explores.
        noise_beta: of `icem`; exponent of the power spectrum of its noise, 0 for noise that is independent in time.
        keep_fraction: of `icem`; share of the best candidates that come back in the next round.
    """

    kind: Literal["mppi", "cem", "icem", "shooting"] = "mppi"
    horizon: int = 3
    num_samples: int = 512
    num_elites: int = 64
    iterations: int = 6
    num_policy_samples: int = 24
    min_std: float = 0.05
    max_std: float = 2.0
    temperature: float = 0.5
    policy_weight: float = 0.0
    noise_beta: float = 2.0
    keep_fraction: float = 0.3

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            inverse = ", or, without a search, act with --goal_by inverse_dynamics or plan(kind='inverse_dynamics')"
            hint = inverse if self.kind == "inverse_dynamics" else ""
            raise ValueError(f"{PREFIX}kind={self.kind!r} is unknown; choose from {', '.join(KINDS)}{hint}")
        counted = ("horizon", "num_samples", "num_elites", "iterations")
        check_counts(PREFIX, **{name: getattr(self, name) for name in counted})
        if self.num_policy_samples < 0 or self.num_policy_samples >= self.num_samples:
            raise ValueError(
                f"{PREFIX}num_policy_samples={self.num_policy_samples} must be at least 0, and less than "
                f"num_samples={self.num_samples}; change one of the two"
            )
        if self.num_elites > self.num_samples:
            raise ValueError(
                f"{PREFIX}num_elites={self.num_elites} are more than the num_samples={self.num_samples} candidates; "
                "lower it"
            )
        for name in ("min_std", "max_std", "temperature"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{PREFIX}{name}={getattr(self, name)} must be greater than 0, and finite")
        if self.min_std > self.max_std:
            raise ValueError(f"{PREFIX}min_std={self.min_std} is above max_std={self.max_std}; lower it")
        for name in ("noise_beta", "policy_weight"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{PREFIX}{name}={getattr(self, name)} must be finite, and not negative")
        if not 0 <= self.keep_fraction <= 1:
            raise ValueError(f"{PREFIX}keep_fraction={self.keep_fraction} must lie in [0, 1]")

    @property
    def rounds(self) -> int:
        """Number of rounds that are made."""
        return 1 if self.kind == "shooting" else self.iterations

    @property
    def unread(self) -> dict[str, str]:
        """By name, the settings that change no action with these others: why, and the remedy."""
        found: dict[str, str] = {}
        shoots = self.kind == "shooting"
        single = f"only a further round reads it; {'choose another kind' if shoots else 'make more rounds'}"
        if self.rounds == 1:
            found |= dict.fromkeys(("min_std", "keep_fraction"), single)
        if self.horizon == 1:
            found["noise_beta"] = "noise of one step has no correlation in time; plan more steps"
        readers = {"temperature": "mppi", "noise_beta": "icem", "keep_fraction": "icem"}
        for name, kind in readers.items():
            if self.kind != kind:
                found[name] = f"a search of kind {self.kind!r} does not read it; choose kind {kind!r}"
        if shoots:
            found["iterations"] = "random shooting makes one round; choose another kind"
        return found
