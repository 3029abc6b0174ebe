"""Scores of an episode of driving, from the figures that a driving simulator measures.

Nothing here imports torch: simulator workers load this module.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType

from tempovla.timeline.driving import FIGURES

COMFORT_BOUNDS: Mapping[str, float] = MappingProxyType(
    {
        "max_acceleration": 2.40,
        "max_deceleration": 4.05,
        "max_lateral_acceleration": 4.89,
        "max_jerk": 8.37,
        "max_longitudinal_jerk": 4.13,
        "max_yaw_rate": 0.95,
        "max_yaw_acceleration": 1.93,
    }
)
"""The bounds of nuPlan (Caesar et al., 2021; `ego_is_comfortable` of its devkit), which NAVSIM (Dauner et al., 2024)
takes over, by figure, in the figures' units."""

PENALTIES: Mapping[str, float] = MappingProxyType(
    {"collision_pedestrian": 0.50, "collision_vehicle": 0.60, "collision_static": 0.65, "red_lights": 0.70}
)
"""Factor of CARLA's leaderboard (1.0 and 2.0) for each infraction of a kind."""

PROGRESS_WEIGHT, TTC_WEIGHT, COMFORT_WEIGHT = 5, 5, 2
STATIC_COLLISION = 0.5
"""What NAVSIM leaves of the score after a collision at fault with something that stands."""


def comfortable(figures: Mapping[str, float]) -> bool:
    """Return whether the car stayed within `COMFORT_BOUNDS` all the time.

    Args:
        figures: those of `FIGURES`.

    Raises:
        ValueError: if a figure is missing or not finite.
    """
    _check(figures)
    return all(figures[name] <= bound for name, bound in COMFORT_BOUNDS.items())


def pdm_score(figures: Mapping[str, float]) -> float:
    """Return a score like NAVSIM's PDMS (Dauner et al., 2024), of a whole closed-loop episode, in [0, 1].

    PDMS = NC x DAC x (5 EP + 5 TTC + 2 C) / 12. NC is 0 after a collision at fault, or 1/2 if that was with something
    that stands alone; DAC is 1 if the car stayed on the drivable surface; EP is its progress; TTC is 1 if the time to a
    collision was never short; and C is 1 if the ride was comfortable. NAVSIM has the same product of 4 s that are
    driven from a plan among recorded traffic, which does not react.

    Args:
        figures: those of `FIGURES`.

    Raises:
        ValueError: if a figure is missing or not finite.
    """
    _check(figures)
    hit_somebody = figures["collision_pedestrian"] or figures["collision_vehicle"]
    no_fault = 1.0
    if figures["at_fault"]:
        no_fault = STATIC_COLLISION if figures["collision_static"] and not hit_somebody else 0.0
    on_road = float(figures["drivable"] > 0 and not figures["off_road"])
    weighted = (
        PROGRESS_WEIGHT * min(max(figures["progress"], 0.0), 1.0)
        + TTC_WEIGHT * (figures["ttc_violations"] == 0)
        + COMFORT_WEIGHT * comfortable(figures)
    )
    return no_fault * on_road * weighted / (PROGRESS_WEIGHT + TTC_WEIGHT + COMFORT_WEIGHT)


def driving_score(figures: Mapping[str, float]) -> float:
    """Return CARLA's driving score in [0, 1]: route completion times the penalty of every infraction.

    CARLA gives it in per cent. Leaving the road or the route, and running out of time, cost completion alone, as there.

    Args:
        figures: those of `FIGURES`.

    Raises:
        ValueError: if a figure is missing or not finite.
    """
    _check(figures)
    return figures["completion"] * math.prod(penalty ** figures[name] for name, penalty in PENALTIES.items())


def with_scores(figures: Mapping[str, float]) -> dict[str, float]:
    """Return the figures of an episode behind its scores `driving_score`, `pdm_score` and `comfort` (0 or 1).

    Args:
        figures: those of `FIGURES`, and any others.

    Raises:
        ValueError: if a figure is missing or not finite.
    """
    scores = {
        "driving_score": driving_score(figures),
        "pdm_score": pdm_score(figures),
        "comfort": float(comfortable(figures)),
    }
    return scores | {name: float(value) for name, value in figures.items()}


def _check(figures: Mapping[str, float]) -> None:
    """Refuse figures that a score cannot be made of."""
    missing = [name for name in FIGURES if name not in figures]
    if missing:
        raise ValueError(f"figures lack {missing}; give all of tempovla.timeline.driving.FIGURES")
    for name in FIGURES:
        if not math.isfinite(figures[name]):
            raise ValueError(f"figures[{name!r}] is {figures[name]}; give a finite number")
