"""The training loop: the state of a run, and what one step, one validation and one checkpoint do."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tempovla.objective import Objective, with_weights
from tempovla.storage.said_by import said_by
from tempovla.timeline import Bundle, Progress, TimelineSample
from tempovla.timeline.bundle_path import BEST, LATEST
from tempovla.training import distributed
from tempovla.training.backward import LossGraph, backward
from tempovla.training.calendar import Calendar
from tempovla.training.callback import Callback
from tempovla.training.checkpoint import Checkpoint, CheckpointFolder
from tempovla.training.config import TrainConfig
from tempovla.training.data_history import DataHistory
from tempovla.training.divergence import DivergedError, NonFiniteLossError, exploded_tensor, non_finite_figure
from tempovla.training.ema import WeightEma
from tempovla.training.extension import check_extends
from tempovla.training.interrupt import StopRequest, TrainingInterrupted
from tempovla.training.metrics import IntervalFigures, MetricsLog
from tempovla.training.optimizer import (
    GradientClip,
    build_optimizer,
    load_optimizer_tensors,
    optimizer_tensors,
    set_learning_rate,
    trainable_parameters,
)
from tempovla.training.parallel import gathered, parallel, scattered
from tempovla.training.precision import autocast_dtype
from tempovla.training.progress import TrainingProgress
from tempovla.training.record import REMEDY
from tempovla.training.result import FitResult, cpu_seconds
from tempovla.training.resume import RunNow, compare_runs, learning_rates, run_identity
from tempovla.training.schedule import learning_rate_at
from tempovla.training.seeding import seed_draws
from tempovla.training.stream import BatchStream, TellsFigures, take_position
from tempovla.training.validation import validation_losses

VALIDATION = "val_"
LOGGER = logging.getLogger(__name__)


class Trainer:
    """The state of a run between two steps, and the methods that change it."""

    def __init__(
        self,
        policy: nn.Module,
        batches: BatchStream,
        config: TrainConfig,
        run_dir: str | Path,
        bundle: Callable[[Mapping[str, Tensor]], Bundle],
        objective: Objective,
        phase: str,
        callback: Callback | None = None,
    ) -> None:
        self.policy, self.batches, self.config, self.phase = policy, batches, config, phase
        self.bundle, self.callback = bundle, callback
        self.run_dir = Path(run_dir)
        self.checkpoints = CheckpointFolder(run_dir, config.keep_every)
        self.loss = LossGraph(policy, with_weights(objective, config.loss_weights), autocast_dtype(config))
        self.graph = parallel(self.loss, config)
        self.parameters = list(trainable_parameters(policy).values())
        self.optimizer, self.clip = build_optimizer(policy, config), GradientClip(policy, config)
        self.device, self.is_main = self.parameters[0].device, distributed.rank() == 0
        self.ema = None if config.weight_ema_decay is None else WeightEma(policy, config.weight_ema_decay)
        self.calendar = Calendar(config, batches.batches_per_epoch)
        self.total_steps = self.calendar.total_steps
        self.train_step = self.schedule_start = self.stale_validations = 0
        self.lowest_loss = math.inf
        self.learning_rates = [{"train_step": 0, "learning_rate": config.learning_rate}]
        self.data = DataHistory(batches)
        self.interval = IntervalFigures()
        self.metrics: dict[str, float] = {}
        self._cpu_base_s = -cpu_seconds()

    def start(self, resume: str | Path | None, follows_length: Collection[str] = ()) -> None:
        """Start a new run, or resume from a checkpoint."""
        check_extends(self.config, resume)
        if self.is_main:
            with distributed.ends_for_all():
                self.checkpoints.hold(resume)
        else:
            distributed.follow_first()
        if resume is not None:
            with said_by(resume, remedy=REMEDY):
                self._load(Path(resume), follows_length)

    def _load(self, folder: Path, follows_length: Collection[str]) -> None:
        checkpoint = Checkpoint.load(folder)
        record, weights = checkpoint.record, checkpoint.part("weights")
        live = self.policy.state_dict()
        model = getattr(self.policy, "config", None)
        now = RunNow(self._identity(), live, model, self.config, self.total_steps, follows_length, self.data)
        changes = compare_runs(str(folder), checkpoint, now)
        exploded = exploded_tensor(checkpoint.tensors)
        if exploded is not None:
            raise ValueError(f"{folder}: {exploded}; resume from an earlier checkpoint, or start a new run")
        with said_by(folder / "trainer.json", remedy=REMEDY):
            take_position(self.batches, record["batches"], changes.has_other_data)
        self.policy.load_state_dict({name: scattered(value, live[name]) for name, value in weights.items()})
        load_optimizer_tensors(self.optimizer, self.policy, checkpoint.part("optimizer"))
        if self.ema is not None:
            self.ema.load(checkpoint.part("average"))
        self.train_step = record["train_step"]
        self.checkpoints.proved(self.train_step - 1)  # the run has come so far
        self.learning_rates = learning_rates(str(folder), record, self.config.learning_rate)
        has_best = record["lowest_loss"] is not None and not changes.has_other_losses
        self.lowest_loss = record["lowest_loss"] if has_best else math.inf
        starts_over = changes.is_extended or changes.has_other_losses
        self.stale_validations = 0 if starts_over else record.get("stale_validations", 0)
        restarts = changes.is_extended and self.config.extend == "restart"
        self.schedule_start = self.train_step if restarts else record.get("schedule_start", 0)
        self.interval.sums, self.metrics = dict(record["interval"]), dict(record["metrics"])
        self._cpu_base_s += record["cpu_seconds"]
        if self.callback is not None and "watch" in record:  # earlier versions saved none
            self.callback.load_state_dict(record["watch"])
        self.checkpoints.check_place(folder, self.is_over)
        LOGGER.info("%s: going on from step %d of %d (%s)", self.phase, self.train_step, self.total_steps, folder)

    def _identity(self) -> dict[str, object]:
        facts = {
            "phase": self.phase,
            "samples_per_epoch": self.batches.samples_per_epoch,
            "batches_per_epoch": self.batches.batches_per_epoch,
            "processes": distributed.world_size(),
        }
        return run_identity(self.config, self.bundle(self.policy.state_dict()), facts)

    def run(
        self,
        prepare: Callable[[TimelineSample], TimelineSample],
        validation: Iterable[TimelineSample] | None,
    ) -> FitResult:
        """Step, log, validate and save until the schedule or `patience` ends."""
        if self.config.patience is not None and validation is None:
            raise ValueError(
                f"training.patience={self.config.patience} waits for a validation loss, and there is no validation; "
                "hold episodes out (data.train_split below 1), or leave it out"
            )
        log = MetricsLog(self.run_dir, self.train_step) if self.is_main else None
        progress = TrainingProgress(self.phase, self.train_step, self.total_steps, silent=not self.is_main)
        stream = iter(self.batches)
        self.policy.train()
        try:
            with StopRequest(patient=distributed.is_distributed()) as stop, progress:
                while not self.is_over:
                    started_s = time.monotonic()
                    taken = [next(stream) for _ in range(self.config.gradient_accumulation)]
                    self._seed(0)
                    samples = [prepare(sample.to(self.device)) for sample in taken]
                    stopping = self.step(samples, stop)
                    rows = sum(sample.batch_size for sample in samples) * distributed.world_size()
                    figures = {**self._losses(), "grad_norm": self.metrics["grad_norm"]}
                    self.interval.add(figures, rows, time.monotonic() - started_s)
                    progress.step(self.train_step, self._losses(), rows)
                    self._after_step(log, validation, stopping)
                    if stopping:
                        latest = self.run_dir / LATEST
                        LOGGER.warning("stopped at step %d, which is saved as %s", self.train_step, latest)
                        raise TrainingInterrupted(latest)
                if self.train_step < self.total_steps:
                    LOGGER.info(
                        "%s: ended at step %d of %d, %d validations after the lowest loss",
                        *(self.phase, self.train_step, self.total_steps, self.stale_validations),
                    )
        finally:
            if log is not None:
                log.close()
        latest, best = ((self.run_dir / name).resolve() for name in (LATEST, BEST))
        cpu_s = self._cpu_base_s + cpu_seconds()
        return FitResult(self.train_step, self.metrics, latest, best if best.exists() else None, cpu_s)

    def step(self, samples: list[TimelineSample], stop: StopRequest) -> bool:
        """Take one optimiser step; return whether some process was asked to stop.

        Raises:
            NonFiniteLossError: before the weights are touched.
        """
        rate = learning_rate_at(self.train_step, self.total_steps, self.config, self.schedule_start)
        set_learning_rate(self.optimizer, rate)
        self.optimizer.zero_grad(set_to_none=True)
        self.loss.progress = Progress(self.train_step, self.total_steps)
        report = backward(self.graph, samples, self._seed)
        grad_norm = self.clip()
        stopping = torch.tensor(float(stop.requested), device=self.device)
        names = ["total", *report.terms]
        losses = [report.total.detach(), *report.terms.values()]
        there = [torch.ones_like(losses[0]), *(report.present[name] for name in report.terms)]
        stopped, norm, *told = distributed.average(torch.stack([stopping, grad_norm, *losses, *there])).tolist()
        figures = dict(zip(names, told, strict=False))
        self._check_finite(figures | {"grad_norm": norm}, self.train_step + 1)
        figures = {name: figures[name] for name, some in zip(names, told[len(names) :], strict=True) if some}
        self.interval.add_metrics(report.metrics)
        self.checkpoints.proved(self.train_step)
        self.optimizer.step()
        self.train_step += 1
        self.policy.after_step(self.train_step)  # type: ignore[operator]
        if self.ema is not None:
            self.ema.update(self.train_step)
        validation = {name: value for name, value in self.metrics.items() if name.startswith(VALIDATION)}
        self.metrics = figures | {"grad_norm": norm} | validation
        return stopped > 0

    def _seed(self, batch: int) -> None:
        """Make what follows draw the numbers of this batch of this train step in this process, and no other's."""
        seed_draws((self.config.seed, self.train_step, batch, distributed.rank()), self.device)

    def _check_finite(self, figures: Mapping[str, float], train_step: int) -> None:
        what = non_finite_figure(figures)
        if what is not None:
            raise NonFiniteLossError(self._diverged(train_step, what))

    def _diverged(self, train_step: int, what: str) -> str:
        left, rate = self.checkpoints.what_is_left(), self.config.learning_rate
        return (
            f"{self.phase} step {train_step}: {what}; check the data, or lower training.learning_rate={rate} ({left})"
        )

    def _losses(self) -> dict[str, float]:
        """The last step's total and terms."""
        others = {"grad_norm", *(name for name in self.metrics if name.startswith(VALIDATION))}
        return {name: value for name, value in self.metrics.items() if name not in others}

    def _after_step(self, log: MetricsLog | None, validation: Iterable[TimelineSample] | None, stopping: bool) -> None:
        """Validate, log and save where that is due."""
        losses: dict[str, float] = {}
        links = []
        if validation is not None and (self.calendar.validates(self.train_step) or self.is_over):
            losses = self.validate(validation)
            self.stale_validations += 1
            if losses[f"{VALIDATION}total"] < self.lowest_loss:
                self.lowest_loss, self.stale_validations = losses[f"{VALIDATION}total"], 0
                links.append(BEST)
        last = self.is_over
        logs = self.calendar.logs(self.train_step) or last
        epoch = self.calendar.epoch_to_save(self.train_step)
        saves = bool(links) or epoch is not None or last or stopping or self.calendar.saves(self.train_step)
        if logs or saves:
            self._settle_metrics()
        figures = (self._interval_figures() if logs else {}) | losses
        if log is not None and figures:
            log.write(self.train_step, self.phase, figures)
            if self.callback is not None:
                self.callback(self.train_step, figures)
        if epoch is not None:
            links.append(f"checkpoint_epoch_{epoch}")
        if saves:
            self.save(tuple(links))

    def _settle_metrics(self) -> None:
        """Take the metrics off the device, where they were added up.

        Raises:
            NonFiniteLossError: if one of them is not finite.
        """
        latest = self.interval.settle()
        self._check_finite(latest, self.train_step)
        self.metrics |= latest

    @property
    def is_over(self) -> bool:
        """Whether the schedule has ended, or validation has not improved for `patience` times."""
        patience = self.config.patience
        return self.train_step >= self.total_steps or (patience is not None and self.stale_validations >= patience)

    def _interval_figures(self) -> dict[str, float]:
        """What is logged since it last was."""
        lr, cpu_s = self.optimizer.param_groups[0]["lr"], self._cpu_base_s + cpu_seconds()
        told = self.batches.take_figures() if isinstance(self.batches, TellsFigures) else {}
        return self.interval.take() | dict(told) | {"lr": lr, "cpu_s": cpu_s}

    def validate(self, validation: Iterable[TimelineSample]) -> dict[str, float]:
        """Return `val_total` and `val_<term>` of the weights to deploy.

        Raises:
            NonFiniteLossError: if one of them is not finite.
        """
        self.policy.eval()
        with self.ema.applied() if self.ema is not None else nullcontext():
            losses = validation_losses(self.loss, validation, self.device)
        self.policy.train()
        losses = {f"{VALIDATION}{name}": value for name, value in losses.items()}
        self._check_finite(losses, self.train_step)
        self.metrics |= losses
        return losses

    def _record(self) -> dict[str, Any]:
        """Return the entries of a checkpoint beside its tensors, as JSON values."""
        record = {
            "train_step": self.train_step,
            "identity": self._identity(),
            "batches": dict(self.batches.state_dict()),
            "lowest_loss": self.lowest_loss if math.isfinite(self.lowest_loss) else None,
            "stale_validations": self.stale_validations,
            "schedule_start": self.schedule_start,
            "learning_rates": self.learning_rates,
            "interval": self.interval.sums,
            "metrics": self.metrics,
            **self.data.to_json(),
            "cpu_seconds": self._cpu_base_s + cpu_seconds(),
        }
        return record if self.callback is None else record | {"watch": dict(self.callback.state_dict())}

    def save(self, links: tuple[str, ...]) -> None:
        """Write a checkpoint, and point `links` and `checkpoint_latest` to it.

        Raises:
            DivergedError: if a weight or an optimiser's statistic has exploded; nothing is written then.
        """
        weights = gathered(self.policy.state_dict())
        average = {} if self.ema is None else gathered(self.ema.average)
        optimizer = gathered(optimizer_tensors(self.optimizer, self.policy))
        parts = {"weights": weights, "average": average, "optimizer": optimizer}
        tensors = {f"{part}/{name}": value for part, entries in parts.items() for name, value in entries.items()}
        exploded = exploded_tensor(tensors)
        if distributed.add_up(torch.tensor(float(exploded is not None), device=self.device)) > 0:
            raise DivergedError(self._diverged(self.train_step, exploded or "a weight of another process has exploded"))
        if self.is_main:
            record = self._record()
            bundle = self.bundle(weights | average)
            bundle = replace(bundle, provenance={**bundle.provenance, "precision": self.config.precision})
            with distributed.ends_for_all():
                self.checkpoints.save(self.train_step, bundle, Checkpoint(record, tensors), links, is_last=self.is_over)
        else:
            distributed.follow_first()
