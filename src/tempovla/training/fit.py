"""Training of any policy on any stream of batches, in one call."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from tempovla.objective import Objective
from tempovla.timeline import Bundle, TimelineSample
from tempovla.training.callback import Callback
from tempovla.training.config import TrainConfig
from tempovla.training.precision import settle_precision
from tempovla.training.result import FitResult
from tempovla.training.stream import BatchStream
from tempovla.training.trainer import Trainer


def fit(
    policy: nn.Module,
    batches: BatchStream,
    config: TrainConfig,
    run_dir: str | Path,
    *,
    bundle: Callable[[Mapping[str, Tensor]], Bundle],
    prepare: Callable[[TimelineSample], TimelineSample] = lambda sample: sample,
    validation: Iterable[TimelineSample] | None = None,
    objective: Objective | None = None,
    callback: Callback | None = None,
    phase: str = "train",
    resume: str | Path | None = None,
    follows_length: Collection[str] = (),
) -> FitResult:
    """Train a policy to the end of its schedule, with checkpoints and metrics in `run_dir`.

    Everything random in a step follows from (`config.seed`, train step, process), so that a resumed run repeats the
    uninterrupted one bit for bit on the CPU in float32.

    Args:
        policy: satisfies `timeline.Policy`; its parameters with `requires_grad` are trained, on the device they are on.
        batches: training data as the dataset gives it.
        config: how to train.
        run_dir: folder of the run.
        bundle: builds the bundle to deploy from the weights (from their average where there is one).
        prepare: transforms and augmentation of a training batch, on the policy's device.
        validation: prepared batches, gone through at each validation; equally many in every process.
        objective: reduces the policy's loss terms.
        callback: receives the train step and its figures whenever these are logged; checkpoints save its state.
        phase: name of the training phase in metrics and messages.
        resume: checkpoint folder, or link to one, of the same run to go on from.
        follows_length: entries of a run's identity that its length decides; they may differ under `config.extend`.

    Raises:
        ValueError: if `run_dir` holds a run already, or `resume` is damaged or of another policy, config or dataset.
        NonFiniteLossError: if a loss or figure, of training or validation, becomes NaN or infinite.
        DivergedError: if weights or the optimiser's statistics do so; the last checkpoint is intact in either case.
        TrainingInterrupted: after SIGINT or SIGTERM, once a checkpoint is saved.
    """
    if config.num_threads is not None:
        torch.set_num_threads(config.num_threads)
    config = settle_precision(config, next(policy.parameters()).device, resume)
    trainer = Trainer(policy, batches, config, run_dir, bundle, objective or Objective(), phase, callback)
    try:
        trainer.start(resume, follows_length)
        return trainer.run(prepare, validation)
    finally:
        trainer.checkpoints.release()
