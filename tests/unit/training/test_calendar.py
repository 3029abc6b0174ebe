"""When a run logs, validates and saves."""

from __future__ import annotations

from tempovla.training.calendar import Calendar
from tempovla.training.config import TrainConfig

STEPS = range(1, 13)


def test_without_intervals_every_epoch_is_validated_and_saved():
    calendar = Calendar(TrainConfig(num_epochs=3, gradient_accumulation=2, log_interval=5), batches_per_epoch=8)
    assert calendar.total_steps == 12
    assert [step for step in STEPS if calendar.validates(step)] == [4, 8, 12]
    assert [step for step in STEPS if calendar.saves(step)] == [4, 8, 12]
    assert [step for step in STEPS if calendar.logs(step)] == [5, 10]


def test_intervals_are_counted_in_steps_and_kept_checkpoints_come_beside_them():
    calendar = Calendar(TrainConfig(validation_interval=6, save_interval_steps=5, keep_every=4), batches_per_epoch=8)
    assert [step for step in STEPS if calendar.validates(step)] == [6, 12]
    assert [step for step in STEPS if calendar.saves(step)] == [4, 5, 8, 10, 12]


def test_an_epoch_that_ends_within_a_step_is_kept_after_it():
    calendar = Calendar(TrainConfig(save_interval=1, gradient_accumulation=2), batches_per_epoch=5)
    assert {step: epoch for step in STEPS if (epoch := calendar.epoch_to_save(step))} == {3: 1, 5: 2, 8: 3, 10: 4}
    assert Calendar(TrainConfig(save_interval=0), batches_per_epoch=5).epoch_to_save(5) is None
