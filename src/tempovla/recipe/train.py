"""Train any registered system, from Python as from the command line."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tempovla.recipe.systems.registry import find_system, name_of
from tempovla.timeline.device import on_device
from tempovla.timeline.lazy import loaded
from tempovla.train.result import FitResult

PARTS = ("data", "transform", "model", "training")
"""Fields of every recipe."""


def train(
    recipe: Any,
    out: str | Path | None = None,
    *,
    system: str | None = None,
    resume: str | Path | None = None,
    device: str | None = None,
    **options: Any,
) -> FitResult | Mapping[str, FitResult]:
    """Train a system.

    Args:
        recipe: what the run is made of, such as a `VLARecipe`.
        out: folder of the run; None takes the system's own.
        system: name in `SYSTEM_REGISTRY`; None finds it by the recipe's type.
        resume: checkpoint of this run to go on from.
        device: `cpu` or `cuda`; None takes CUDA where there is one.
        options: what the system may be told beside its recipe, such as `base_checkpoint` of a VLA; those that are None
            or False are as good as left out.

    Returns:
        How the run ended; for a system of several phases, by their names.

    Raises:
        ValueError: for an unknown system or option, for CUDA where there is none, and as the system's own training
            does.
    """
    name = system or name_of(recipe)
    found = find_system(name)
    if not isinstance(recipe, found.recipe):
        raise ValueError(f"{name} is trained from a {found.recipe.__name__}, not from a {type(recipe).__name__}")
    known = [option.name for option in found.options]
    unknown = [option for option in options if option not in known]
    if unknown:
        raise ValueError(f"{name} has no option {unknown[0]!r}; it has {', '.join(known) or 'none'}")
    given = {option: value for option, value in options.items() if value is not None and value is not False}
    with on_device(device):
        return loaded(found.train)(recipe, found.out if out is None else out, resume=resume, **given)
