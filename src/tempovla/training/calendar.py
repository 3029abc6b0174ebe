"""The steps at which a run logs, validates and saves."""

from __future__ import annotations

from tempovla.training.config import TrainConfig


class Calendar:
    """The steps of a run that end an interval.

    Attributes:
        total_steps: optimiser steps of the whole run.

    Args:
        config: the intervals of the run.
        batches_per_epoch: batches of one epoch, for each process.
    """

    def __init__(self, config: TrainConfig, batches_per_epoch: int) -> None:
        self._config, self._batches_per_epoch = config, batches_per_epoch
        self.total_steps = config.total_steps(batches_per_epoch)
        self._steps_per_epoch = max(1, batches_per_epoch // config.gradient_accumulation)

    def _ends(self, train_step: int, interval: int | None) -> bool:
        """Whether a step ends an interval of optimiser steps; None is an epoch."""
        return train_step % (interval or self._steps_per_epoch) == 0

    def logs(self, train_step: int) -> bool:
        """Return whether the figures of the steps up to this one are logged."""
        return train_step % self._config.log_interval == 0

    def validates(self, train_step: int) -> bool:
        """Return whether this step is followed by a validation."""
        return self._ends(train_step, self._config.validation_interval)

    def saves(self, train_step: int) -> bool:
        """Return whether a checkpoint of this step is written, for a while or permanently."""
        keep_every = self._config.keep_every
        kept = keep_every is not None and train_step % keep_every == 0
        return kept or self._ends(train_step, self._config.save_interval_steps)

    def epoch_to_save(self, train_step: int) -> int | None:
        """Return the epoch that this step completed, if its checkpoint is kept permanently."""
        interval = self._config.save_interval * self._batches_per_epoch
        if interval == 0:
            return None
        accumulation = self._config.gradient_accumulation
        before, now = ((step * accumulation) // interval for step in (train_step - 1, train_step))
        return now * self._config.save_interval if now > before else None
