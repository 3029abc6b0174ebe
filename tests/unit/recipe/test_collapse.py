"""The alarm of a collapsing representation."""

from __future__ import annotations

import pytest
import torch

from tempovla.objective.regularizer import std, variance
from tempovla.recipe import collapse
from tempovla.recipe.collapse import CollapseAlarm


@pytest.fixture
def warnings(monkeypatch) -> list[str]:
    messages: list[str] = []
    monkeypatch.setattr(collapse.LOGGER, "warning", lambda text, *values: messages.append(text % values))
    return messages


def watch(alarm: CollapseAlarm, *spreads: float, every: int = 10) -> None:
    for index, spread in enumerate(spreads):
        alarm((index + 1) * every, {"z_std": spread, "total": 1.0})


def test_a_representation_that_learns_to_ignore_what_is_seen_raises_the_alarm(warnings):
    """An encoder whose prediction error alone is minimised: to be the same everywhere is the easiest to predict."""
    torch.manual_seed(0)
    encoder, alarm = torch.nn.Linear(6, 4), CollapseAlarm(1, total_steps=200)
    optimizer = torch.optim.SGD(encoder.parameters(), lr=0.05)
    for step in range(200):
        now, then = torch.randn(2, 32, 6)
        z = encoder(now)
        loss = (z - encoder(then)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 10 == 9:
            alarm(step + 1, {"z_std": std(z.detach()).item()})
    assert warnings
    assert "the representation is collapsing" in warnings[0]
    assert "model.jepa.regularize=state" in warnings[0]
    assert len(warnings) <= 20


def test_a_representation_whose_variance_is_held_raises_none(warnings):
    torch.manual_seed(0)
    encoder, alarm = torch.nn.Linear(6, 4), CollapseAlarm(1, total_steps=200)
    optimizer = torch.optim.SGD(encoder.parameters(), lr=0.05)
    for step in range(200):
        now, then = torch.randn(2, 32, 6)
        z = encoder(now)
        loss = (z - encoder(then)).square().mean() + 4 * variance(z)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        alarm(step + 1, {"z_std": std(z.detach()).item()})
    assert warnings == []


def test_a_fall_to_under_a_fifth_of_the_highest_is_told_at_once_and_wavering_is_not(warnings):
    watch(CollapseAlarm(1, 10_000), 0.02, 0.5, 0.3, 0.6, 0.13)
    assert warnings == []
    watch(CollapseAlarm(1, 10_000), 0.6, 0.11)
    assert len(warnings) == 1
    assert "step 20: " in warnings[0]
    assert "standard deviation of 0.11 (highest so far 0.6" in warnings[0]


def test_one_that_never_rises_is_told_in_the_second_half_of_the_run(warnings):
    watch(CollapseAlarm(1, 1000), *[0.05] * 49)
    assert warnings == []
    watch(CollapseAlarm(1, 1000), *[0.05] * 50)
    assert len(warnings) == 1
    assert "model.jepa.variance_weight" in warnings[0]
    watch(CollapseAlarm(1, 20), *[0.05] * 2)
    assert len(warnings) == 1


def test_one_that_phase_1_left_collapsed_is_told_as_phase_2_begins(warnings):
    watch(CollapseAlarm(2, 100_000), *[0.05] * 9)
    assert warnings == []
    watch(CollapseAlarm(2, 100_000), *[0.05] * 10)
    assert len(warnings) == 1
    assert "train phase 1 again" in warnings[0]


def test_the_warning_comes_at_most_twenty_times(warnings):
    watch(CollapseAlarm(1, 1000), 1.0, *[0.001] * 999, every=1)
    assert len(warnings) == 20


def test_steps_without_the_figure_say_nothing(warnings):
    CollapseAlarm(1, 10)(10, {"val_z_std": 0.0})
    assert warnings == []
