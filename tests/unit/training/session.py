"""Training sessions in processes of their own, to be killed, interrupted, or run together.

torchrun ... session.py RUN_DIR STEPS       a run that shards
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from tests.rounding import smooth_steps
from tests.toy import LinearPolicy, ToyStream, toy_batch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from tempovla.timeline import Context, TimelineSample
from tempovla.training import distributed
from tempovla.training.config import TrainConfig
from tempovla.training.fit import fit
from tempovla.training.parallel import local
from tempovla.training.result import FitResult

PAIR_STEPS = 12
CLIP = 0.2
PARALLEL = ("ddp", "fsdp")


class PartlyIdlePolicy(LinearPolicy):
    """A part of it is frozen, two weights, one of them a unit's, take no part in the loss, and one has a single row."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        with torch.random.fork_rng():
            torch.manual_seed(1)
            self.frozen = nn.Linear(self.code_dim, self.code_dim).requires_grad_(False)
            self.idle_unit = nn.Linear(3, 5)
            self.idle = nn.Parameter(torch.randn(4, 3))
        self.gain = nn.Parameter(torch.ones(1, self.code_dim))  # of which the second process has nothing

    def _code(self, context: Context) -> Tensor:
        return self.gain * self.frozen(super()._code(context))

    def shard_units(self) -> list[nn.Module]:
        return [self.encoder, self.frozen, self.idle_unit]


class SlowStream(ToyStream):
    """Each batch from number `slow_from` on takes a second."""

    def __init__(self, slow_from: int, **options: Any) -> None:
        super().__init__(**options)
        self.slow_from = slow_from

    def __iter__(self) -> Iterator[TimelineSample]:
        for batch in super().__iter__():
            if self.taken > self.slow_from:
                time.sleep(1.0)
            yield batch


@smooth_steps()
def train(
    run_dir: str | Path,
    steps: int,
    resume: str | Path | None = None,
    *,
    policy: LinearPolicy | None = None,
    accumulation: int = 2,
    validation: list[TimelineSample] | None = None,
    slow_from: int | None = None,
    **options: Any,
) -> FitResult:
    """A run of `steps`, of which each process sees its share of the rows; `options` go to `TrainConfig`.

    From step `slow_from` on each waits for a second, so that the run cannot end before it is killed.
    """
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
        **options,
    )
    policy = policy or LinearPolicy(dropout=0.2)
    kind = ToyStream if slow_from is None else partial(SlowStream, slow_from * accumulation)
    stream = kind(samples=25, batch_size=5, rank=distributed.rank(), ranks=distributed.world_size())
    return fit(policy, stream, config, run_dir, bundle=policy.bundle, validation=validation, resume=resume)


def train_idle(run_dir: str | Path, accumulation: int, resume: str | Path | None = None, **options: Any) -> FitResult:
    """A run with validation and an active clip, of a policy of which every process writes down how much it holds."""
    rank, ranks = distributed.rank(), distributed.world_size()
    policy = PartlyIdlePolicy()
    validation = [toy_batch(torch.arange(*rows)[rank::ranks]) for rows in ((100, 108), (108, 111))]
    options = {"validation_interval": 3, "gradient_clip": CLIP, **options}
    result = train(
        run_dir, PAIR_STEPS, resume, policy=policy, accumulation=accumulation, validation=validation, **options
    )
    share = sum(local(weight).numel() for weight in policy.parameters())
    Path(run_dir, f"share_{rank}.json").write_text(json.dumps(share))
    return result


def train_alone(run_dir: str, steps: int, slow_from: int | None, resume: str | None = None) -> None:
    """One run in one process, which says what it does."""
    logging.basicConfig(level=logging.INFO)
    with distributed.process_group("cpu"):
        train(run_dir, steps, resume, slow_from=slow_from)


def train_held(run_dir: str) -> None:
    """A run in a folder that somebody holds, which ends as the command line has it end."""
    try:
        with distributed.process_group("cpu"):
            train(run_dir, 2)
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(2) from None


def train_pair(run_dir: str) -> None:
    """Runs of two processes; what a later one resumes, an earlier one has saved."""
    folder = Path(run_dir)
    first = folder / "plain/checkpoints/step_00000009"
    for name, accumulation, resume in (("plain", 1, None), ("accumulated", 2, None), ("resumed", 1, first)):
        with distributed.process_group("cpu"):
            train(folder / name, PAIR_STEPS, resume, policy=LinearPolicy(), accumulation=accumulation)
    for parallel in PARALLEL:
        for accumulation in (1, 2):
            with distributed.process_group("cpu"):
                train_idle(folder / f"{parallel}_{accumulation}", accumulation, parallel=parallel)
    for parallel in PARALLEL:
        with distributed.process_group("cpu"):
            halfway = folder / f"{parallel}_1/checkpoints/step_00000009"
            train_idle(folder / f"{parallel}_then_fsdp", 1, halfway, parallel="fsdp")


def be_a_group_of_one() -> None:
    """Train as one of one process, as torchrun tells it; then no thread of the group is left."""
    told = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "TORCHELASTIC_RUN_ID": "tests"}
    os.environ |= told | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}

    def train() -> None:
        model = DistributedDataParallel(torch.nn.Linear(2, 2))
        model(torch.ones(1, 2)).sum().backward()
        distributed.average(torch.ones(1))
        distributed.wait_for_all()

    with distributed.process_group("cpu"):
        assert torch.distributed.is_initialized()
        train()
    threads = [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]
    assert "pt_gloo_runloop" not in threads, threads


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    with distributed.process_group("cpu"):
        train(sys.argv[1], int(sys.argv[2]), parallel="fsdp")
