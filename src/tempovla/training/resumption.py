"""The comparison of a checkpoint with the run that goes on from it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from tempovla.training.checkpoint import Checkpoint
from tempovla.training.config import TrainConfig
from tempovla.training.data_history import DataHistory, without_data
from tempovla.training.extension import is_extended, without_length
from tempovla.training.resume import as_written_now, check_resumable, only_statistics_differ


@dataclass(frozen=True)
class RunNow:
    """The run that goes on from a checkpoint.

    Attributes:
        identity: everything that must be equal in both, see `run_identity`.
        weights: the policy's own, by name.
        model: the config of the policy; None if it has none.
        config: the settings of the training.
        total_steps: length of the run.
        follows_length: entries of the identity that are computed from the length.
        data: the datasets that are read.
    """

    identity: Mapping[str, Any]
    weights: Mapping[str, Tensor]
    model: Any
    config: TrainConfig
    total_steps: int
    follows_length: Collection[str]
    data: DataHistory


@dataclass(frozen=True)
class Changes:
    """The permitted differences between a checkpoint's run and the run that goes on from it.

    Attributes:
        is_extended: the run is longer than it was planned to be.
        has_other_data: the datasets have changed.
        has_other_losses: the datasets or their statistics have changed, so that losses are not comparable.
    """

    is_extended: bool
    has_other_data: bool
    has_other_losses: bool


def compare_runs(where: str, checkpoint: Checkpoint, now: RunNow) -> Changes:
    """Return how the runs differ, and note changed data in `now.data`.

    Args:
        where: the checkpoint's folder, for messages.
        checkpoint: what was saved.
        now: the run that goes on from it.

    Raises:
        ValueError: if the runs differ in anything that the settings do not permit.
    """
    record, weights, config = checkpoint.record, checkpoint.part("weights"), now.config
    saved, current = as_written_now(record["identity"], now.model), now.identity
    extended = is_extended(where, record, config, now.total_steps)
    if extended:
        saved, current = (without_length(identity, now.follows_length) for identity in (saved, current))
    if not now.data.reads_the_same(record):  # such as other cameras, which a setting names
        check_resumable(where, saved, current, weights, now.weights)
    is_changed = now.data.take_up(where, record, config.accept_changed_data)
    is_other = is_changed
    if not is_changed and config.accept_changed_data and only_statistics_differ(saved, current):
        is_other = True
        now.data.take_statistics(where, record["train_step"])
    if is_other:
        saved, current = (without_data(identity, now.follows_length) for identity in (saved, current))
    check_resumable(where, saved, current, weights, now.weights)
    return Changes(extended, is_changed, is_other)
