"""The result of a training run, and what it cost."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


def cpu_seconds() -> float:
    """Return the CPU time of this process and its ended children [s]."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


@dataclass(frozen=True)
class FitResult:
    """How a run ended.

    Attributes:
        train_step: optimiser steps done, over all sessions of the run.
        metrics: the last step's `total` and terms, and with validation `val_total` and so on.
        checkpoint: folder of the last checkpoint, a loadable `Bundle`.
        best_checkpoint: folder of the one with the lowest validation loss; None without validation.
        cpu_seconds: CPU time of this process and its ended children, over all sessions [s].
    """

    train_step: int
    metrics: Mapping[str, float]
    checkpoint: Path
    best_checkpoint: Path | None
    cpu_seconds: float
