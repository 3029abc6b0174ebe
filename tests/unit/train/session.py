"""Training sessions in processes of their own, to be killed, interrupted, or run by torchrun.

python session.py RUN_DIR STEPS [CHECKPOINT]         one run
torchrun ... session.py RUN_DIR                      the runs `plain`, `accumulated` and, from the first, `resumed`
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from tests.toy import LinearPolicy, ToyStream

from tempovla.train import distributed
from tempovla.train.config import TrainConfig
from tempovla.train.trainer import FitResult, fit

PAIR_STEPS = 12


def train(
    run_dir: str | Path, steps: int, resume: str | Path | None = None, *, dropout: float = 0.2, accumulation: int = 2
) -> FitResult:
    config = TrainConfig(
        train_steps=steps,
        learning_rate=1e-2,
        gradient_accumulation=accumulation,
        weight_ema_decay=0.9,
        save_interval=0,
        save_interval_steps=3,
        keep_every=9,
        log_interval=1,
        num_threads=1,
    )
    policy = LinearPolicy(dropout=dropout)
    stream = ToyStream(samples=25, batch_size=5, rank=distributed.rank(), ranks=distributed.world_size())
    return fit(policy, stream, config, run_dir, bundle=policy.bundle, resume=resume)


def train_pair(folder: Path) -> None:
    first = folder / "plain/checkpoints/step_00000009"
    for name, accumulation, resume in (("plain", 1, None), ("accumulated", 2, None), ("resumed", 1, first)):
        with distributed.process_group("cpu"):
            train(folder / name, PAIR_STEPS, resume, dropout=0.0, accumulation=accumulation)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    if len(sys.argv) == 2:
        train_pair(Path(sys.argv[1]))
    else:
        with distributed.process_group("cpu"):
            train(sys.argv[1], int(sys.argv[2]), *sys.argv[3:])
