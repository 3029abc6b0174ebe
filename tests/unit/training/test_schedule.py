"""Warm-up, cosine and floor."""

from __future__ import annotations

import pytest

from tempovla.training.config import TrainConfig
from tempovla.training.schedule import learning_rate_at


def test_rate_warms_up_linearly_then_follows_a_cosine_to_the_floor():
    config = TrainConfig(learning_rate=2.0, warmup_steps=4, learning_rate_floor=0.1)
    rates = [learning_rate_at(step, 24, config) for step in range(25)]
    assert rates[:5] == pytest.approx([0.5, 1.0, 1.5, 2.0, 2.0])
    assert rates[14] == pytest.approx(1.1)  # half-way between peak and floor
    assert rates[24] == pytest.approx(0.2)
    assert rates[4:] == sorted(rates[4:], reverse=True)


def test_number_of_steps_follows_from_epochs_unless_it_is_given():
    assert TrainConfig(num_epochs=3, gradient_accumulation=2).total_steps(batches_per_epoch=10) == 15
    assert TrainConfig(num_epochs=3, train_steps=7).total_steps(batches_per_epoch=10) == 7


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("train_steps", 0),
        ("gradient_accumulation", 0),
        ("learning_rate", 0.0),
        ("learning_rate", float("nan")),
        ("learning_rate", float("inf")),
        ("weight_decay", float("nan")),
        ("weight_decay", float("inf")),
        ("batch_size", 10**12),
        ("num_threads", 10**12),
        ("seed", -1),
        ("seed", 2**63),
        ("weight_decay", -1.0),
        ("learning_rate_floor", 1.5),
        ("weight_ema_decay", 1.0),
        ("precision", "float16"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused_by_name(field, value):
    with pytest.raises(ValueError, match=rf"training\.{field}="):
        TrainConfig(**{field: value})
