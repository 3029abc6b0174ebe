"""More steps for a run than it was planned for."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from tests.toy import LinearPolicy, ToyStream

from tempovla.timeline import Bundle
from tempovla.training.config import TrainConfig
from tempovla.training.extension import planned_steps, without_length
from tempovla.training.fit import fit
from tempovla.training.result import FitResult
from tempovla.training.schedule import learning_rate_at

CONFIG = TrainConfig(
    train_steps=4, warmup_steps=2, log_interval=1, save_interval=0, save_interval_steps=2, keep_every=2, num_threads=1
)


class Lasting(LinearPolicy):
    """A policy of which something follows from the length of the run."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps = steps

    def bundle(self, weights) -> Bundle:
        bundle = super().bundle(weights)
        return replace(bundle, config={**bundle.config, "steps": self.steps})


def run(folder, steps: int, resume=None, **options) -> FitResult:
    policy = Lasting(steps)
    config = replace(CONFIG, train_steps=steps, **options)
    return fit(
        policy, ToyStream(), config, folder, bundle=policy.bundle, resume=resume, follows_length=("model.steps",)
    )


def rates(folder) -> dict[int, float]:
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return {line["train_step"] - 1: line["lr"] for line in lines}


def weights(result: FitResult):
    return {name: value.tolist() for name, value in Bundle.load(result.checkpoint).weights.items()}


@pytest.fixture
def finished(tmp_path):
    run(tmp_path / "run", 4)
    return tmp_path / "run"


def test_continue_follows_the_cosine_of_the_longer_run(finished):
    result = run(finished, 10, finished / "checkpoint_latest", extend="continue")
    assert result.train_step == 10
    longer = replace(CONFIG, train_steps=10)
    assert rates(finished) == {
        step: learning_rate_at(step, 4, CONFIG) if step < 4 else learning_rate_at(step, 10, longer)
        for step in range(10)
    }


def test_restart_warms_up_again_and_ends_at_the_floor(finished):
    run(finished, 10, finished / "checkpoint_latest", extend="restart")
    second = [rate for step, rate in rates(finished).items() if step >= 4]
    assert second == [learning_rate_at(step, 6, CONFIG) for step in range(6)]
    assert second[0] == CONFIG.learning_rate / 2


@pytest.mark.parametrize("extend", ["continue", "restart"])
def test_an_extended_run_that_stops_on_the_way_ends_as_if_it_had_not(tmp_path, finished, extend):
    whole = run(tmp_path / "whole", 10, finished / "checkpoint_latest", extend=extend)
    half = tmp_path / "whole/checkpoints/step_00000006"
    for again in (None, extend):  # the same command goes on, and so does one that says no more
        resumed = run(tmp_path / f"resumed_{again}", 10, half, extend=again)
        assert weights(resumed) == weights(whole)


def test_an_unfinished_run_may_be_extended_and_an_extended_one_again(tmp_path, finished):
    early = finished / "checkpoints/step_00000002"
    first = run(tmp_path / "a", 6, early, extend="continue")
    second = run(tmp_path / "a", 8, first.checkpoint, extend="restart")
    assert second.train_step == 8
    assert rates(tmp_path / "a")[6] == CONFIG.learning_rate / 2


def test_another_length_is_refused_with_the_option_that_allows_it(finished):
    with pytest.raises(ValueError, match=r"train_steps was 4, and is 8 now; .* set training\.extend=continue, with"):
        run(finished, 8, finished / "checkpoint_latest")


def test_fewer_steps_are_refused(finished):
    with pytest.raises(ValueError, match=r"but 3 steps are fewer than the 4 that it was planned for \(4 are done\)"):
        run(finished, 3, finished / "checkpoint_latest", extend="continue")


def test_any_other_difference_is_refused_as_ever(finished):
    with pytest.raises(ValueError, match=r"training\.weight_decay was 0\.05, and is 0\.01 now"):
        run(finished, 8, finished / "checkpoint_latest", extend="continue", weight_decay=0.01)


def test_a_new_run_is_not_extended(tmp_path):
    with pytest.raises(ValueError, match=r"training\.extend=restart extends a run that exists"):
        run(tmp_path / "new", 4, extend="restart")


def test_an_extended_run_is_as_patient_as_a_new_one(tmp_path):
    """One that ended before its time would else end again at once."""
    policy = LinearPolicy()
    batch = next(iter(ToyStream()))
    config = replace(CONFIG, train_steps=20, validation_interval=1, patience=1, learning_rate=1e-30)
    options = {"bundle": policy.bundle, "validation": [batch]}
    stopped = fit(policy, ToyStream(), config, tmp_path / "run", **options)
    assert stopped.train_step < 20
    longer = replace(config, train_steps=30, extend="continue", patience=3)
    assert fit(policy, ToyStream(), longer, tmp_path / "run", resume=stopped.checkpoint, **options).train_step == (
        stopped.train_step + 3
    )


def test_the_length_of_a_run_is_told_in_steps_or_epochs():
    training = {"train_steps": None, "num_epochs": 6, "gradient_accumulation": 2}
    identity = {"training": training, "batches_per_epoch": 5, "model": {"jepa": {"ema_steps": 15, "horizon": 2}}}
    assert planned_steps(identity) == 15
    assert without_length(identity, ("model.jepa.ema_steps",)) == {
        "training": {"gradient_accumulation": 2},
        "batches_per_epoch": 5,
        "model": {"jepa": {"horizon": 2}},
    }
