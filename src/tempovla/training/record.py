"""The fields of a checkpoint's `trainer.json`, each with its type and range."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from tempovla.storage.json_files import shown
from tempovla.timeline.config import config_from_json
from tempovla.training.extension import planned_steps

REMEDY = "resume from another checkpoint of the run"
_MEASURES = ("steps", "rows", "seconds")
"""What the figures of an interval are divided by."""
_SIZES = {"num_epochs": False, "gradient_accumulation": False, "train_steps": True}
"""Settings from which the length of a run follows, and whether they may be null."""


@dataclass(frozen=True)
class KnownDataset:
    """A dataset that was learned from; see `training.stream.KnowsItsData`."""

    name: str
    facts: Mapping[str, Any]
    files: Mapping[str, Any]


@dataclass(frozen=True)
class DataSince:
    """Which data were learned from, from a train step on, and whether nothing but their statistics `changed` then."""

    train_step: int
    fingerprint: str
    statistics: str = ""


@dataclass(frozen=True)
class RateSince:
    """The peak learning rate, from a train step on."""

    train_step: int
    learning_rate: float

    def __post_init__(self) -> None:
        _check("learning_rates", self.learning_rate, 0 < self.learning_rate < math.inf, "greater than 0 and finite")


@dataclass(frozen=True)
class TrainerRecord:
    """The fields of `trainer.json`; those with a default are missing in checkpoints of earlier versions.

    Attributes:
        train_step: optimiser steps done.
        identity: what must be equal to go on; see `training.resume.run_identity`.
        batches: position in the order of the data, which the stream of batches checks.
        lowest_loss: of the validations so far; None before the first.
        stale_validations: validations since then.
        schedule_start: train step at which the schedule of the learning rate began.
        learning_rates: the peak of the learning rate over the run.
        interval: sums since figures were last logged.
        metrics: figures of the last step.
        cpu_seconds: CPU time so far [s].
        data: the datasets.
        data_history: which data were learned from.
        watch: state of the run's callback.
    """

    train_step: int
    identity: Mapping[str, Any]
    batches: Mapping[str, Any]
    lowest_loss: float | None
    interval: Mapping[str, Any]
    metrics: Mapping[str, Any]
    cpu_seconds: float
    stale_validations: int = 0
    schedule_start: int = 0
    learning_rates: tuple[RateSince, ...] | None = None
    data: tuple[KnownDataset, ...] | None = None
    data_history: tuple[DataSince, ...] | None = None
    watch: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        planned = _planned_steps(self.identity)
        done = self.train_step
        _check("train_step", done, 0 <= done <= planned, f"from 0 to the {planned} that the run was planned for")
        stale = self.stale_validations
        _check("stale_validations", stale, 0 <= stale <= done, f"from 0 to the {done} steps that are done")
        start = self.schedule_start
        _check("schedule_start", start, 0 <= start <= done, f"from 0 to the {done} steps that are done")
        if self.lowest_loss is not None:
            _check("lowest_loss", self.lowest_loss, math.isfinite(self.lowest_loss), "a finite number, or null")
        _check("cpu_seconds", self.cpu_seconds, 0 <= self.cpu_seconds < math.inf, "finite and not negative")
        for name, figures in (("interval", self.interval), ("metrics", self.metrics)):
            for key, value in figures.items():
                _check(f"{name}.{key}", value, _is_finite(value), "a finite number")
        for key in _MEASURES if self.interval else ():
            value = self.interval.get(key)
            _check(f"interval.{key}", value, value is not None and _is_finite(value) and value > 0, "greater than 0")
        if self.data is not None:
            history = list(self.data_history or ())
            _check("data_history", history, bool(history), "a list of which data were learned from, as there are data")
        for name, entries in (("data_history", self.data_history), ("learning_rates", self.learning_rates)):
            steps = None if entries is None else [entry.train_step for entry in entries]
            if steps is not None and name == "learning_rates":
                _check(name, steps, bool(steps), "a list of at least one")
            in_order = steps is None or (steps == sorted(steps) and all(0 <= step <= done for step in steps))
            _check(f"train_step of {name}", steps, in_order, f"in order, from 0 to the {done} steps that are done")


def check_record(path: Path, record: Mapping[str, Any]) -> None:
    """Refuse a record with values that no run writes.

    Args:
        path: the file, for the message.
        record: what is in it.

    Raises:
        ValueError: naming the file, the field and its value.
    """
    known = {entry.name for entry in fields(TrainerRecord)}
    try:
        config_from_json(TrainerRecord, {key: value for key, value in record.items() if key in known}, "record")
    except (ValueError, OverflowError) as problem:
        raise ValueError(f"{path}: {str(problem).removeprefix('record.')}; {REMEDY}") from None


def _planned_steps(identity: Mapping[str, Any]) -> int:
    training = identity.get("training")
    _check("identity.training", training, isinstance(training, Mapping), "an object")
    assert isinstance(training, Mapping)
    sizes = {f"training.{name}": (training.get(name), optional) for name, optional in _SIZES.items()}
    sizes["batches_per_epoch"] = (identity.get("batches_per_epoch"), False)
    for name, (value, optional) in sizes.items():
        is_count = isinstance(value, int) and not isinstance(value, bool) and value >= 1
        _check(f"identity.{name}", value, is_count or (optional and value is None), "a whole number of at least 1")
    return planned_steps(identity)


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _check(name: str, value: Any, holds: bool, wanted: str) -> None:
    if not holds:
        raise ValueError(f"{name} is {shown(value)}; it must be {wanted}")
