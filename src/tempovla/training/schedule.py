"""The learning rate as a pure function of the train step."""

from __future__ import annotations

import math

from tempovla.training.config import TrainConfig


def learning_rate_at(train_step: int, total_steps: int, config: TrainConfig, start: int = 0) -> float:
    """Return the learning rate of the optimiser step number `train_step` (from 0): linear warm-up, then cosine to the
    floor.

    Args:
        train_step: number of the step.
        total_steps: the step at which the cosine ends.
        config: its height and warm-up.
        start: the step at which the warm-up begins, which is another than 0 where a run was extended by `restart`.
    """
    train_step, total_steps = train_step - start, total_steps - start
    if train_step < config.warmup_steps:
        return config.learning_rate * (train_step + 1) / config.warmup_steps
    progress = (train_step - config.warmup_steps) / max(1, total_steps - config.warmup_steps)
    cosine = 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress)))
    return config.learning_rate * (config.learning_rate_floor + (1.0 - config.learning_rate_floor) * cosine)
