"""Schedules inside policies and of weights, and groups of parameters, survive a resume bit for bit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.toy import LinearPolicy, ToyStream

from tempovla.objective.weights import WeightSchedule
from tempovla.timeline import LossTerm, Progress, TimelineSample, laws
from tempovla.training.checkpoint import Checkpoint
from tempovla.training.config import ParameterGroupConfig, TrainConfig
from tempovla.training.fit import fit
from tempovla.training.metrics import read_metrics

CONFIG = TrainConfig(
    train_steps=8,
    batch_size=4,
    learning_rate=1e-2,
    warmup_steps=2,
    log_interval=1,
    save_interval=0,
    save_interval_steps=4,
    keep_every=4,
    num_threads=1,
    parameter_groups={"encoder": ParameterGroupConfig(learning_rate=1e-3, gradient_clip=0.1)},
    loss_weights={"code_variance": WeightSchedule(0.0, 1.0, begin=1, steps=5)},
)


class GatedPolicy(LinearPolicy):
    """A toy whose actions count for more, the further training has come."""

    def forward(self, sample: TimelineSample, progress: Progress) -> dict[str, LossTerm]:
        terms = super().forward(sample)
        return {**terms, "action": replace(terms["action"], weight=0.5 + progress.fraction)}


def train_to(folder: Path, resume: Path | None = None, **changes: Any) -> Any:
    policy = GatedPolicy(dropout=0.2)
    return fit(policy, ToyStream(), replace(CONFIG, **changes), folder, bundle=policy.bundle, resume=resume)


def test_a_run_with_schedules_and_groups_resumes_as_if_it_had_not_stopped(tmp_path):
    def train(legs: tuple[int, ...]) -> tuple[Any, ...]:
        halfway = tmp_path / "whole/checkpoints/step_00000004"
        result = train_to(tmp_path / "whole") if len(legs) == 1 else train_to(tmp_path / "resumed", halfway)
        saved = Checkpoint.load(result.checkpoint)
        return saved.tensors, [saved.record[key] for key in ("train_step", "batches", "metrics")]

    laws.check_resume(train, 4, 4)


def test_the_total_follows_the_step_and_another_schedule_trains_another_policy(tmp_path):
    train_to(tmp_path / "ramp")
    for step, line in enumerate(read_metrics(tmp_path / "ramp")):
        ramp = max(0.0, min(1.0, (step - 1) / 5))
        total = (0.5 + step / 8) * line["action"] + 0.5 * ramp * line["code_variance"] + 0.1 * line["code_covariance"]
        torch.testing.assert_close(line["total"], total, rtol=1e-5, atol=1e-6)


def test_a_changed_schedule_or_group_is_another_run(tmp_path):
    start = train_to(tmp_path / "run").checkpoint
    for name, value in (
        ("loss_weights", {}),
        ("parameter_groups", {"encoder": ParameterGroupConfig(learning_rate=1e-4, gradient_clip=0.1)}),
    ):
        with pytest.raises(ValueError, match=f"training.{name}.* was .*; resume with the same settings"):
            train_to(tmp_path / "other", start, **{name: value})
