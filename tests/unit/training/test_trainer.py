"""The training loop: it learns, logs, saves, resumes exactly, and stops on bad losses."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.toy import LinearPolicy, ToyStream, toy_batch

from tempovla.objective import Objective
from tempovla.timeline import Bundle, laws
from tempovla.training.checkpoint import Checkpoint, CheckpointFolder
from tempovla.training.config import TrainConfig
from tempovla.training.divergence import DivergedError, NonFiniteLossError
from tempovla.training.fit import fit
from tempovla.training.metrics import read_metrics
from tempovla.training.result import FitResult

TERMS = ("action", "code_variance", "code_covariance", "code_size")
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
    lines = [line for line in read_metrics(tmp_path) if "action" in line]
    assert lines[-1]["action"] < 0.2 * lines[0]["action"]


def test_training_with_a_stop_equals_training_in_one_go(tmp_path):
    def train(legs: tuple[int, ...]) -> tuple[Any, ...]:
        result = run(tmp_path / "whole", replace(CONFIG, keep_every=5)) if len(legs) == 1 else None
        for stop in legs[:-1]:
            result = run(tmp_path / "resumed", resume=tmp_path / f"whole/checkpoints/step_{stop:08d}")
        saved = Checkpoint.load(result.checkpoint)
        return saved.tensors, [saved.record[key] for key in ("train_step", "batches", "lowest_loss", "metrics")]

    laws.check_resume(train, 10, 10)
    assert any(
        name.startswith("optimizer/exp_avg_sq/")
        for name in Checkpoint.load(tmp_path / "resumed/checkpoint_latest").tensors
    )


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


def test_a_validation_loss_that_is_not_finite_stops_the_run_and_is_no_best(tmp_path):
    class Validation:
        asked = 0

        def __iter__(self):
            self.asked += 1
            batch = toy_batch(torch.arange(100, 108))
            if self.asked > 1:
                action = batch.future["action"]
                batch = replace(batch, future={"action": action.with_value(action.value / 0)})
            yield batch

    policy = LinearPolicy()
    with pytest.raises(NonFiniteLossError, match=r"step 10: validation loss 'val_action' is (inf|nan); check the data"):
        fit(policy, ToyStream(), CONFIG, tmp_path, bundle=policy.bundle, validation=Validation())
    for name in ("checkpoint_latest", "checkpoint_best"):
        assert Checkpoint.load(tmp_path / name).record["train_step"] == 5
    assert [line["train_step"] for line in read_metrics(tmp_path) if "val_total" in line] == [5]


class ExplodingPolicy(LinearPolicy):
    """A buffer of it takes a value after step 7, which no loss depends on."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def after_step(self, train_step: int) -> None:
        if train_step == 7:
            self.slow_weight[0, 0] = self.value


@pytest.mark.parametrize(
    ("value", "what"), [(float("nan"), "holds values that are not finite"), (2e30, r"has grown to 2e\+30")]
)
def test_weights_that_exploded_are_not_saved(tmp_path, value, what):
    with pytest.raises(DivergedError, match=rf"step 10: weight 'slow_weight' {what}; .* checkpoint is of step 5"):
        run(tmp_path, policy=ExplodingPolicy(value))
    for name in ("checkpoint_latest", "checkpoint_best"):
        assert Checkpoint.load(tmp_path / name).record["train_step"] == 5


class HugeFromStep(LinearPolicy):
    """Its weights become so large after a step that they are finite, and the loss of the next step is not."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self.step = step

    def after_step(self, train_step: int) -> None:
        if train_step == self.step:
            with torch.no_grad():
                self.head.weight.fill_(1e25)


def test_a_checkpoint_is_good_only_once_its_weights_gave_a_finite_loss(tmp_path):
    config = replace(CONFIG, weight_ema_decay=None, save_interval_steps=1)
    policy = HugeFromStep(3)
    with pytest.raises(NonFiniteLossError) as caught:
        fit(policy, ToyStream(), config, tmp_path, bundle=policy.bundle)
    assert list(CheckpointFolder(tmp_path).steps()) == [2, 3]
    good = tmp_path / "checkpoints/step_00000002"
    assert f"(the last good checkpoint is of step 2; go on from {good})" in str(caught.value)
    healthy, config = LinearPolicy(), replace(config, learning_rate=1e-4)
    assert fit(healthy, ToyStream(), config, tmp_path, bundle=healthy.bundle, resume=good).train_step == 20
    assert list(CheckpointFolder(tmp_path).steps()) == [20]


def test_where_no_checkpoint_is_known_to_be_good_that_is_said(tmp_path):
    config = replace(CONFIG, weight_ema_decay=None, save_interval_steps=1)
    policy = HugeFromStep(1)
    with pytest.raises(NonFiniteLossError, match=r"no checkpoint of .* is known to be good; start a new run"):
        fit(policy, ToyStream(), config, tmp_path, bundle=policy.bundle)


def test_a_gradient_that_is_not_clipped_is_saved_resumed_and_measured(tmp_path):
    config = replace(CONFIG, gradient_clip=math.inf, keep_every=5)
    whole = run(tmp_path / "whole", config)
    text = (tmp_path / "whole/checkpoint_latest/trainer.json").read_text()
    assert json.loads(text, parse_constant=pytest.fail)["identity"]["training"]["gradient_clip"] == "Infinity"
    resumed = run(tmp_path / "resumed", config, resume=tmp_path / "whole/checkpoints/step_00000010")
    assert resumed.metrics == whole.metrics
    with pytest.raises(ValueError, match=r"training.gradient_clip was 'Infinity', and is 1.0 now"):
        run(tmp_path / "other", CONFIG, resume=tmp_path / "whole/checkpoints/step_00000010")


def test_best_is_the_checkpoint_of_the_lowest_validation_loss(tmp_path):
    result = run(tmp_path)
    losses = {line["train_step"]: line["val_total"] for line in read_metrics(tmp_path) if "val_total" in line}
    assert list(losses) == [5, 10, 15, 20]
    best = Checkpoint.load(result.best_checkpoint).record
    assert best["train_step"] == min(losses, key=losses.__getitem__)
    assert best["lowest_loss"] == min(losses.values())
    assert result.metrics["val_total"] == losses[20]


def test_validation_uses_the_averaged_weights_without_dropout_and_weighs_batches_by_rows(tmp_path):
    result = run(tmp_path)
    policy = LinearPolicy(dropout=0.2).eval()
    policy.load_state_dict(dict(Bundle.load(result.checkpoint).weights))
    rows = [torch.arange(100, 108), torch.arange(108, 110)]
    losses = [Objective()(policy(toy_batch(each))).terms["action"].item() for each in rows]
    assert result.metrics["val_action"] == pytest.approx(0.8 * losses[0] + 0.2 * losses[1], rel=1e-5)


def test_every_nth_epoch_stays_as_a_checkpoint_of_its_own(tmp_path):
    config = replace(CONFIG, save_interval=2, save_interval_steps=None, train_steps=19)  # 6 batches an epoch
    fit(LinearPolicy(), ToyStream(), config, tmp_path, bundle=LinearPolicy().bundle)
    links = {path.name: Checkpoint.load(path).record["train_step"] for path in tmp_path.glob("checkpoint_*")}
    assert links == {"checkpoint_epoch_2": 12, "checkpoint_latest": 19}


def test_without_intervals_every_epoch_is_validated_and_saved(tmp_path):
    config = replace(CONFIG, validation_interval=None, save_interval_steps=None, log_interval=7)
    saved = []
    save = CheckpointFolder.save
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            CheckpointFolder,
            "save",
            lambda *given, **told: (saved.append(given[1]), save(*given, **told)),
        )
        run(tmp_path, config)
    epochs = [6, 12, 18, 20]  # 6 batches an epoch, and the end
    assert saved == epochs
    assert [line["train_step"] for line in read_metrics(tmp_path) if "val_total" in line] == epochs


class Diary:
    """Remembers the steps that it was told of."""

    def __init__(self) -> None:
        self.told: dict[int, dict[str, float]] = {}
        self.steps: list[int] = []

    def __call__(self, train_step: int, figures: dict[str, float]) -> None:
        self.told[train_step] = figures
        self.steps.append(train_step)

    def state_dict(self) -> dict[str, list[int]]:
        return {"steps": list(self.steps)}

    def load_state_dict(self, state: dict[str, list[int]]) -> None:
        self.steps = list(state["steps"])


def test_who_watches_is_told_the_figures_that_are_logged(tmp_path):
    config, diary = replace(CONFIG, log_interval=4), Diary()
    fit(LinearPolicy(), ToyStream(), config, tmp_path, bundle=LinearPolicy().bundle, callback=diary)
    told = diary.told
    lines = {line["train_step"]: line for line in read_metrics(tmp_path)}
    assert list(told) == [4, 8, 12, 16, 20]
    assert all(lines[step].items() >= figures.items() for step, figures in told.items())


def test_who_watches_remembers_after_a_stop_what_was_told_before(tmp_path):
    config = replace(CONFIG, log_interval=5, keep_every=10, save_interval_steps=10)
    fit(LinearPolicy(), ToyStream(), config, tmp_path / "run", bundle=LinearPolicy().bundle, callback=Diary())
    halfway = tmp_path / "run" / "checkpoints" / "step_00000010"
    resumed = Diary()
    again = tmp_path / "again"
    fit(LinearPolicy(), ToyStream(), config, again, bundle=LinearPolicy().bundle, callback=resumed, resume=halfway)
    assert [*resumed.told] == [15, 20]
    assert resumed.steps == [5, 10, 15, 20]  # what is saved at step 10 knows of step 10


def test_metrics_lines_hold_means_since_the_line_before(tmp_path):
    config = replace(CONFIG, weight_ema_decay=None, log_interval=1)
    run(tmp_path / "each", config)
    run(tmp_path / "fourth", replace(config, log_interval=4))
    each, fourth = (read_metrics(tmp_path / name) for name in ("each", "fourth"))
    logged = {line["train_step"]: line for line in fourth if "total" in line}
    assert list(logged) == [4, 8, 12, 16, 20]
    assert logged[8]["action"] == pytest.approx(sum(line["action"] for line in each[4:8]) / 4)
    assert each[0]["lr"] == pytest.approx(1e-2 / 3)
    figures = {"total", "grad_norm", "lr", "samples_per_s", "cpu_s"}
    assert set(logged[8]) == {"train_step", "phase", *TERMS, *figures}
    assert set(logged[20]) == {*logged[8], "val_total", *(f"val_{name}" for name in TERMS)}


class SeldomPolicy(LinearPolicy):
    """Has a term without a valid row until train step 3, and from step 6 on."""

    def forward(self, sample, progress):
        terms = super().forward(sample)
        size, there = terms["code_size"], torch.tensor(not self.training or 3 <= progress.train_step < 6)
        return terms | {"code_size": replace(size, valid=size.valid & there, weight=0.5)}


def test_a_term_without_a_valid_row_is_left_out_and_never_logged_as_0(tmp_path):
    config = replace(CONFIG, weight_ema_decay=None, log_interval=1, train_steps=12)
    result = run(tmp_path / "each", config, policy=SeldomPolicy())
    run(tmp_path / "fourth", replace(config, log_interval=4), policy=SeldomPolicy())
    each, fourth = (read_metrics(tmp_path / name) for name in ("each", "fourth"))
    steps = {line["train_step"]: line["code_size"] for line in each if "code_size" in line}
    assert list(steps) == [4, 5, 6]
    assert all("val_code_size" in line for line in each if "val_total" in line)
    means = {line["train_step"]: line.get("code_size") for line in fourth if "total" in line}
    assert means == {4: pytest.approx(steps[4]), 8: pytest.approx((steps[5] + steps[6]) / 2), 12: None}
    for line in each:  # the total is what is optimised, with 0 where nothing is valid
        parts = {"action": 1.0, "code_variance": 0.5, "code_covariance": 0.1, "code_size": 0.5}
        assert line["total"] == pytest.approx(sum(line.get(name, 0.0) * weight for name, weight in parts.items()))
    assert "code_size" not in result.metrics


def test_randomness_of_a_step_does_not_depend_on_what_ran_before(tmp_path):
    torch.manual_seed(1)
    first = run(tmp_path / "first")
    torch.manual_seed(2)
    second = run(tmp_path / "second")
    assert first.metrics == second.metrics


def test_bfloat16_trains_float32_weights(tmp_path):
    config = replace(CONFIG, precision="bfloat16", train_steps=100, gradient_clip=10.0, validation_interval=None)
    result = run(tmp_path, config, policy=LinearPolicy())
    losses = [line["action"] for line in read_metrics(tmp_path) if "action" in line]
    assert losses[-1] < 0.6 * losses[0]
    assert {value.dtype for value in Bundle.load(result.checkpoint).weights.values()} == {torch.float32}


WORSENING = replace(CONFIG, learning_rate=3.0, gradient_clip=100.0, warmup_steps=0, validation_interval=2, patience=3)


def test_without_a_lower_validation_loss_for_as_long_as_patience_lasts_the_run_ends(tmp_path):
    result = run(tmp_path, WORSENING)
    losses = {line["train_step"]: line["val_total"] for line in read_metrics(tmp_path) if "val_total" in line}
    best = min(losses, key=losses.__getitem__)
    assert best < result.train_step < WORSENING.train_steps
    assert [step for step in losses if step > best] == [best + 2, best + 4, best + 6]
    assert result.train_step == best + 6
    last = Checkpoint.load(result.checkpoint).record
    assert (last["train_step"], last["stale_validations"]) == (result.train_step, 3)
    assert Checkpoint.load(result.best_checkpoint).record["train_step"] == best


def test_patience_counts_on_over_a_stop_and_may_be_extended(tmp_path):
    config = replace(WORSENING, save_interval_steps=1, keep_every=1)
    whole = run(tmp_path / "whole", config)
    middle = tmp_path / f"whole/checkpoints/step_{whole.train_step - 3:08d}"
    assert Checkpoint.load(middle).record["stale_validations"] == 1
    resumed = run(tmp_path / "resumed", config, resume=middle)
    assert resumed.train_step == whole.train_step
    one, two = (Checkpoint.load(result.checkpoint).tensors for result in (whole, resumed))
    assert all(torch.equal(two[name], value) for name, value in one.items())
    again = run(tmp_path / "whole", config, resume=whole.checkpoint)
    assert (again.train_step, again.metrics) == (whole.train_step, whole.metrics)
    extended = run(tmp_path / "extended", replace(config, patience=None), resume=whole.checkpoint)
    assert extended.train_step == config.train_steps


def test_a_run_that_goes_on_in_another_folder_says_so_and_one_that_has_ended_does_not_go_there(tmp_path, caplog):
    config = replace(CONFIG, train_steps=4, save_interval_steps=2, keep_every=2)
    whole = run(tmp_path / "whole", config)
    with pytest.raises(
        ValueError, match=r"step_00000004: is of a run that has ended, so nothing would be saved in "
    ) as e:
        run(tmp_path / "fresh", config, resume=whole.checkpoint)
    assert f"go on in its own folder {tmp_path / 'whole'}, or give it more steps" in str(e.value)
    assert not (tmp_path / "fresh").exists()
    shutil.copytree(whole.checkpoint, tmp_path / "copied")
    with pytest.raises(
        ValueError, match=r"nothing would be saved in .*fresh; give it more steps \(training.train_steps"
    ):
        run(tmp_path / "fresh", config, resume=tmp_path / "copied")
    assert "stays as it is" not in caplog.text
    assert run(tmp_path / "whole", config, resume=whole.checkpoint).checkpoint == whole.checkpoint
    run(tmp_path / "fork", config, resume=tmp_path / "whole/checkpoints/step_00000002")
    assert f"new checkpoints go to {tmp_path / 'fork'}, and {tmp_path / 'whole'} stays as it is" in caplog.text


def test_patience_without_validation_is_refused(tmp_path):
    policy = LinearPolicy()
    with pytest.raises(ValueError, match=r"training.patience=3 waits for a validation loss, .*; hold episodes out"):
        fit(policy, ToyStream(), replace(CONFIG, patience=3), tmp_path, bundle=policy.bundle)


def test_validation_without_batches_is_refused(tmp_path):
    policy = LinearPolicy()
    with pytest.raises(ValueError, match="validation holds no batch; give validation=None"):
        fit(policy, ToyStream(), CONFIG, tmp_path, bundle=policy.bundle, validation=[])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-3), ("bfloat16", 5e-2)])
def test_a_run_on_cuda_follows_the_one_on_the_cpu_and_resumes(tmp_path, precision, tolerance):
    config = replace(CONFIG, precision=precision, gradient_accumulation=2)
    expected = run(tmp_path / "cpu", config, policy=LinearPolicy())
    whole = run(tmp_path / "cuda", config, policy=LinearPolicy().cuda())
    assert whole.metrics["val_total"] == pytest.approx(expected.metrics["val_total"], rel=tolerance)
    checkpoint = tmp_path / "cuda/checkpoint_best"
    resumed = run(tmp_path / "resumed", config, policy=LinearPolicy().cuda(), resume=checkpoint)
    assert resumed.metrics["val_total"] == pytest.approx(whole.metrics["val_total"], rel=1e-3)
