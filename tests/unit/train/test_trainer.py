"""The training loop: it learns, logs, saves, resumes exactly, and stops on bad losses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.toy import LinearPolicy, ToyStream, toy_batch

from tempovla.timeline import Bundle
from tempovla.train.checkpoint import Checkpoint
from tempovla.train.config import TrainConfig
from tempovla.train.metrics import read_metrics
from tempovla.train.trainer import FitResult, NonFiniteLossError, fit

CONFIG = TrainConfig(
    train_steps=20,
    batch_size=4,
    learning_rate=1e-2,
    warmup_steps=3,
    weight_ema_decay=0.9,
    log_interval=4,
    validation_interval=5,
    save_interval=0,
    save_interval_steps=5,
    num_threads=1,
)


def run(run_dir: Path, config: TrainConfig = CONFIG, *, policy: LinearPolicy | None = None, **options) -> FitResult:
    policy = policy or LinearPolicy(dropout=0.2)
    validation = [toy_batch(torch.arange(100, 108)), toy_batch(torch.arange(108, 110))]
    return fit(policy, ToyStream(), config, run_dir, bundle=policy.bundle, validation=validation, **options)


def test_training_lowers_the_loss(tmp_path):
    config = replace(CONFIG, train_steps=300, gradient_clip=10.0, log_interval=20, save_interval_steps=None)
    run(tmp_path, config, policy=LinearPolicy())
    lines = [line for line in read_metrics(tmp_path) if line["split"] == "train"]
    assert lines[-1]["terms"]["action"] < 0.2 * lines[0]["terms"]["action"]


def test_checkpoints_of_a_resumed_run_equal_the_uninterrupted_ones(tmp_path):
    whole = run(tmp_path / "whole", replace(CONFIG, keep_every=5))
    resumed = run(tmp_path / "resumed", resume=tmp_path / "whole/checkpoints/step_00000010")
    assert (whole.train_step, resumed.train_step) == (20, 20)
    first, second = Checkpoint.load(whole.checkpoint), Checkpoint.load(resumed.checkpoint)
    assert first.tensors.keys() == second.tensors.keys()
    assert any(name.startswith("optimizer/exp_avg_sq/") for name in first.tensors)
    for name, value in first.tensors.items():
        assert torch.equal(value, second.tensors[name]), name
    for key in ("batches", "lowest_loss", "interval", "metrics"):
        assert first.record[key] == second.record[key], key


def test_the_bundle_holds_the_average_of_the_weights(tmp_path):
    result = run(tmp_path)
    saved, bundle = Checkpoint.load(result.checkpoint), Bundle.load(result.checkpoint)
    assert torch.equal(bundle.weights["head.weight"], saved.part("average")["head.weight"])
    assert not torch.equal(bundle.weights["head.weight"], saved.part("weights")["head.weight"])
    assert torch.equal(bundle.weights["slow_weight"], saved.part("weights")["slow_weight"])


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_checkpoint(tmp_path):
    def poison(sample):
        if calls.append(1) or len(calls) <= 7:
            return sample
        action = sample.future["action"]
        return replace(sample, future={"action": action.with_value(action.value / 0)})

    calls: list[int] = []
    with pytest.raises(NonFiniteLossError, match=r"step 8: loss term 'action' is (inf|nan); check the data"):
        run(tmp_path, prepare=poison)
    assert Checkpoint.load(tmp_path / "checkpoint_latest").record["train_step"] == 5
