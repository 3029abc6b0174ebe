"""Training that is killed at random moments ends as training that is not: to the bit, and without a lost checkpoint.

    python benchmarks/kill_training.py --kills 100

A run of a toy policy, of some hundred weights, is killed by SIGKILL and resumed, again and again, until it has been
killed so often; then it ends, and its weights, optimiser state and figures are compared with those of a run that was
never killed. After every kill all its checkpoints are loaded. Processes are forked, so that none imports anything anew.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from tempovla.timeline import Bundle
from tempovla.timeline.bundle_path import LATEST
from tempovla.training.checkpoint import Checkpoint, CheckpointFolder
from tempovla.training.config import TrainConfig
from tempovla.training.fit import fit
from tempovla.training.metrics import read_metrics

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tests.toy import LinearPolicy, ToyStream

STEPS_A_KILL = 2.5
"""Train steps that a session gets before it is killed, on average; each of them is saved."""


@dataclass(frozen=True)
class Figures:
    """How a run fared.

    Attributes:
        kills: how often it was killed.
        unloadable: checkpoints that were there after a kill and could not be loaded.
        same_weights: whether the last weights and the state of the optimiser are those of a run without kills.
        same_metrics: whether the figures that were logged are, but for times.
        left_over: hidden files and folders that are there at the end.
    """

    kills: int
    unloadable: int
    same_weights: bool
    same_metrics: bool
    left_over: list[str]

    @property
    def is_good(self) -> bool:
        """Whether nothing was lost."""
        return self.unloadable == 0 and self.same_weights and self.same_metrics and not self.left_over


def train(run: Path, steps: int) -> None:
    """Train from the latest checkpoint, or from the beginning, to the end."""
    config = TrainConfig(
        train_steps=steps,
        learning_rate=1e-2,
        save_interval=0,
        save_interval_steps=1,
        keep_every=50,
        log_interval=1,
        validation_interval=5,
        weight_ema_decay=0.9,
        num_threads=1,
    )
    policy = LinearPolicy(dropout=0.2)
    latest = run / LATEST
    resume = latest if latest.exists() else None
    validation = [next(iter(ToyStream(seed=1)))]
    fit(policy, ToyStream(), config, run, bundle=policy.bundle, validation=validation, resume=resume)


def killed_after(run: Path, steps: int, seconds: float) -> bool:
    """Train in a forked process that is killed after so many seconds; whether it was, and had not ended before."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            train(run, steps)
            code = 0
        finally:
            os._exit(code)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status not in (0, -signal.SIGKILL):
        raise SystemExit(f"a session ended with code {status} instead of being killed")
    return status == -signal.SIGKILL


def unloadable(run: Path) -> int:
    """How many of the checkpoints that are there, or that the latest link promises, cannot be loaded."""
    bad = 0
    folders = CheckpointFolder(run).steps()
    for path in [*folders.values(), *([run / LATEST] if folders else [])]:
        try:
            Bundle.load(path)
            Checkpoint.load(path)
        except ValueError as error:
            logging.getLogger(__name__).error("%s", error)
            bad += 1
    return bad


def compare(folder: Path, kills: int, steps: int, seed: int) -> Figures:
    """Train twice, once with kills and once without; the figures."""
    random.seed(seed)
    whole, run = folder / "whole", folder / "run"
    started_s = time.monotonic()
    train(whole, steps)
    step_s = (time.monotonic() - started_s) / steps
    done = bad = 0
    while done < kills:
        if not killed_after(run, steps, random.uniform(0, 2 * STEPS_A_KILL) * step_s):
            shutil.rmtree(run)  # it got to its end: another one begins
        else:
            done += 1
            bad += unloadable(run)
    train(run, steps)
    left = [str(path.relative_to(run)) for path in run.rglob(".*")]
    tensors = [Checkpoint.load(path / LATEST).tensors for path in (whole, run)]
    same = tensors[0].keys() == tensors[1].keys() and all(
        torch.equal(value, tensors[1][name]) for name, value in tensors[0].items()
    )
    return Figures(done, bad, same, _losses(whole) == _losses(run), left)


def _losses(run: Path) -> list[dict[str, float]]:
    times = ("samples_per_s", "cpu_s")
    return [{name: value for name, value in line.items() if name not in times} for line in read_metrics(run)]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; 0 if nothing was lost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100, help="how often it is killed")
    parser.add_argument("--steps", type=int, default=0, help="train steps of the run; 0 takes three for each kill")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    options = parser.parse_args(arguments)
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        figures = compare(Path(folder), options.kills, options.steps or 3 * options.kills, options.seed)
    print(json.dumps(vars(figures) | {"good": figures.is_good, "cpu_seconds": round(sum(os.times()[:4]), 1)}, indent=2))
    return 0 if figures.is_good else 1


if __name__ == "__main__":
    raise SystemExit(main())
