"""Settings of a training: its length, its speed and its safeguards."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from tempovla.objective.weights import WeightSchedule

RESUMABLE_CHANGES = frozenset(
    {
        "log_interval",
        "save_interval",
        "save_interval_steps",
        "keep_every",
        "num_threads",
        "parallel",
        "patience",
        "extend",
        "accept_changed_data",
        "learning_rate",
    }
)
"""Fields that may differ when a run is resumed: they do not change what is learned in a step, but for rounding;
`extend` and `accept_changed_data`, which say what may differ besides; and the learning rate, which a run that has
diverged needs lower. The checkpoint remembers since when it is what it is."""

MOST_ROWS = 1_000_000
"""Of one batch; no memory holds more samples."""
MOST_THREADS = 4096
LARGEST_SEED = 2**63 - 1
"""Seeds are whole numbers of 64 bits."""


@dataclass(frozen=True)
class ParameterGroupConfig:
    """Settings that differ for one part of a policy. None means that the part has the setting of the rest.

    Attributes:
        learning_rate: peak learning rate of the part; it follows the same schedule as the rest.
        weight_decay: AdamW's decoupled decay of matrices.
        gradient_clip: largest norm of the part's own gradient. The part then does not count in the norm of the rest.
    """

    learning_rate: float | None = None
    weight_decay: float | None = None
    gradient_clip: float | None = None

    def __post_init__(self) -> None:
        for name, least in (("learning_rate", "greater than 0"), ("gradient_clip", "greater than 0")):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"training.parameter_groups: {name}={value} must be {least}")
        if self.weight_decay is not None and not self.weight_decay >= 0:
            raise ValueError(f"training.parameter_groups: weight_decay={self.weight_decay} must not be negative")


@dataclass(frozen=True)
class TrainConfig:
    """Settings of one training run.

    Attributes:
        num_epochs: number of passes over the data; has no effect if `train_steps` is given.
        train_steps: number of optimiser steps; None derives it from `num_epochs`.
        batch_size: rows in a batch of one process. An optimiser step sees `batch_size * gradient_accumulation *
            processes` rows.
        gradient_accumulation: number of batches in one optimiser step, which has the gradient of one large batch.
        learning_rate: peak learning rate.
        learning_rate_floor: learning rate at the end of the cosine, as a fraction of the peak.
        warmup_steps: number of optimiser steps over which the learning rate rises linearly at the start.
        weight_decay: AdamW's decoupled decay of matrices; it does not apply to vectors, norms and marked parameters.
        gradient_clip: largest norm of the whole gradient; `inf` only measures the norm.
        weight_ema_decay: decay of the average of the weights that is evaluated and deployed; None keeps no average.
        precision: `bfloat16` computes the forward pass under autocast, while parameters stay float32. `auto` is
            `bfloat16` if the device has instructions for it, and `float32`, which is then faster, if not.
        seed: seed of all random numbers in training.
        log_interval: number of optimiser steps between two lines of metrics.
        validation_interval: number of optimiser steps between two validations; None validates after every epoch.
        save_interval: number of epochs between checkpoints that are kept as `checkpoint_epoch_N`; 0 keeps none.
        save_interval_steps: number of optimiser steps between checkpoints, of which only the latest is kept; None saves
            after every epoch.
        keep_every: also keep the checkpoints at multiples of this many optimiser steps; None keeps none of these.
        num_threads: number of torch's threads on the CPU; None leaves it as it is.
        parallel: what each of several processes holds: with `ddp` the whole model; with `fsdp` (FSDP2) a share of every
            weight, gradient and optimiser state, which takes more communication. The loss is the same.
        patience: end the run after this many validations without a new lowest loss; None never ends it early.
        extend: how the learning rate goes on if a checkpoint's run gets more steps than planned: `continue` follows the
            cosine of the longer run, as if it had been planned; `restart` warms up again and follows a new cosine over
            the remaining steps. None refuses another number of steps.
        parameter_groups: training settings of single parts, by the name of a module in the policy, such as `vlm` or
            `vlm.vision`.
        loss_weights: schedules of the weights of loss terms, by the name of the term.
        accept_changed_data: resume a checkpoint although the dataset has changed. The checkpoint records which data the
            run has learned from, and from which step on.
    """

    num_epochs: int = 1000
    train_steps: int | None = None
    batch_size: int = 64
    gradient_accumulation: int = 1
    learning_rate: float = 1e-4
    learning_rate_floor: float = 0.0
    warmup_steps: int = 0
    weight_decay: float = 0.05
    gradient_clip: float = 1.0
    weight_ema_decay: float | None = None
    precision: Literal["float32", "bfloat16", "auto"] = "float32"
    seed: int = 0
    log_interval: int = 10
    validation_interval: int | None = None
    save_interval: int = 100
    save_interval_steps: int | None = None
    keep_every: int | None = None
    num_threads: int | None = None
    parallel: Literal["ddp", "fsdp"] = "ddp"
    patience: int | None = None
    extend: Literal["continue", "restart"] | None = None
    accept_changed_data: bool = False
    parameter_groups: Mapping[str, ParameterGroupConfig] = field(default_factory=dict)
    loss_weights: Mapping[str, WeightSchedule] = field(default_factory=dict)

    def __post_init__(self) -> None:
        counts = ("num_epochs", "train_steps", "batch_size", "gradient_accumulation", "log_interval")
        intervals = ("validation_interval", "save_interval_steps", "keep_every", "num_threads", "patience")
        for name in (*counts, *intervals):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"training.{name}={value} must be at least 1")
        for name in ("learning_rate", "gradient_clip"):
            if not getattr(self, name) > 0:
                raise ValueError(f"training.{name}={getattr(self, name)} must be greater than 0")
        for name in ("learning_rate", "weight_decay"):
            if not math.isfinite(getattr(self, name)):
                raise ValueError(f"training.{name}={getattr(self, name)} must be finite")
        for name, most in (("batch_size", MOST_ROWS), ("num_threads", MOST_THREADS), ("seed", LARGEST_SEED)):
            value = getattr(self, name)
            if value is not None and value > most:
                raise ValueError(f"training.{name}={value} must be at most {most:,}")
        for name in ("weight_decay", "warmup_steps", "save_interval", "seed"):
            if getattr(self, name) < 0:
                raise ValueError(f"training.{name}={getattr(self, name)} must not be negative")
        if not 0 <= self.learning_rate_floor <= 1:
            raise ValueError(f"training.learning_rate_floor={self.learning_rate_floor} must lie in [0, 1]")
        if self.weight_ema_decay is not None and not 0 <= self.weight_ema_decay < 1:
            raise ValueError(f"training.weight_ema_decay={self.weight_ema_decay} must lie in [0, 1)")
        if self.precision not in ("float32", "bfloat16", "auto"):
            raise ValueError(f"training.precision={self.precision!r} is unknown; choose float32, bfloat16 or auto")
        if self.parallel not in ("ddp", "fsdp"):
            raise ValueError(f"training.parallel={self.parallel!r} is unknown; choose ddp or fsdp")
        if self.extend not in (None, "continue", "restart"):
            raise ValueError(f"training.extend={self.extend!r} is unknown; choose continue or restart")

    def total_steps(self, batches_per_epoch: int) -> int:
        """Return the optimiser steps of the whole run."""
        if self.train_steps is not None:
            return self.train_steps
        return max(1, self.num_epochs * batches_per_epoch // self.gradient_accumulation)
