"""Runs that get more steps than they were planned for."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from tempovla.training.config import TrainConfig

LENGTH = ("training.train_steps", "training.num_epochs")
"""Entries of a run's identity that define its length."""


def planned_steps(identity: Mapping[str, Any]) -> int:
    """Return the optimiser steps that the run of a checkpoint was planned for."""
    training = identity["training"]
    if training["train_steps"] is not None:
        return int(training["train_steps"])
    batches = training["num_epochs"] * identity["batches_per_epoch"]
    return max(1, batches // training["gradient_accumulation"])


def without_length(identity: Mapping[str, Any], follows_length: Collection[str]) -> dict[str, Any]:
    """Return the identity of a run without its length, and without entries that follow from it.

    Args:
        identity: see `training.resume.run_identity`.
        follows_length: dotted names of other entries that are computed from the length.
    """
    return without_entries(identity, (*LENGTH, *follows_length))


def without_entries(identity: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    """Return the identity of a run without the entries of these dotted names."""
    return _without(identity, [name.split(".") for name in names])


def _without(entries: Mapping[str, Any], names: Collection[Collection[str]]) -> dict[str, Any]:
    kept = {}
    for key, value in entries.items():
        below = [list(name)[1:] for name in names if next(iter(name)) == key]
        if [] in below:
            continue
        kept[key] = _without(value, below) if below and isinstance(value, Mapping) else value
    return kept


def check_extends(config: TrainConfig, resume: object) -> None:
    """Refuse to extend a run that has not begun.

    Raises:
        ValueError: if `config.extend` is set, and `resume` is None.
    """
    if config.extend is not None and resume is None:
        raise ValueError(
            f"training.extend={config.extend} extends a run that exists; give its checkpoint (--checkpoint), or leave "
            "it out"
        )


def is_extended(where: str, record: Mapping[str, Any], config: TrainConfig, total_steps: int) -> bool:
    """Return whether a run is longer than its checkpoint was planned to be.

    Args:
        where: the checkpoint, for the message.
        record: of the checkpoint.
        config: of the run that goes on from it.
        total_steps: its length.

    Raises:
        ValueError: if it is to be shorter, though `training.extend` is set.
    """
    planned = planned_steps(record["identity"])
    if config.extend is None or total_steps == planned:
        return False
    if total_steps < planned:
        raise ValueError(
            f"{where}: training.extend={config.extend} extends a run, but {total_steps} steps are fewer than the "
            f"{planned} that it was planned for ({record['train_step']} are done); raise training.train_steps"
        )
    return True
