"""The alarm of a collapsing representation."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from tempovla.objective.regularizer import std, variance
from tempovla.recipe.systems import collapse
from tempovla.recipe.systems.collapse import PHASES, CollapseAlarm
from tempovla.recipe.systems.statevla import PHASE_NAMES, train_phase
from tempovla.training.checkpoint import Checkpoint


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
    encoder, alarm = torch.nn.Linear(6, 4), CollapseAlarm(PHASES[1], total_steps=200, rows=32)
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
    encoder, alarm = torch.nn.Linear(6, 4), CollapseAlarm(PHASES[1], total_steps=200, rows=32)
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
    watch(CollapseAlarm(PHASES[1], 10_000, rows=8), 0.02, 0.5, 0.3, 0.6, 0.13)
    assert warnings == []
    watch(CollapseAlarm(PHASES[1], 10_000, rows=8), 0.6, 0.11)
    assert len(warnings) == 1
    assert "step 20: " in warnings[0]
    assert "standard deviation of 0.11 (highest so far 0.6" in warnings[0]


def test_one_that_never_rises_is_told_in_the_second_half_of_the_run(warnings):
    watch(CollapseAlarm(PHASES[1], 1000, rows=8), *[0.05] * 49)
    assert warnings == []
    watch(CollapseAlarm(PHASES[1], 1000, rows=8), *[0.05] * 50)
    assert len(warnings) == 1
    assert "model.jepa.variance_weight" in warnings[0]
    watch(CollapseAlarm(PHASES[1], 20, rows=8), *[0.05] * 2)
    assert len(warnings) == 1


def test_one_that_phase_1_left_collapsed_is_told_as_phase_2_begins(warnings):
    watch(CollapseAlarm(PHASES[2], 100_000, rows=8), *[0.05] * 9)
    assert warnings == []
    watch(CollapseAlarm(PHASES[2], 100_000, rows=8), *[0.05] * 10)
    assert len(warnings) == 1
    assert "train phase 1 again" in warnings[0]


def test_the_warning_comes_at_most_twenty_times(warnings):
    watch(CollapseAlarm(PHASES[1], 1000, rows=8), 1.0, *[0.001] * 999, every=1)
    assert len(warnings) == 20


def test_steps_without_the_figure_say_nothing(warnings):
    CollapseAlarm(PHASES[1], 10, rows=8)(10, {"val_z_std": 0.0})
    assert warnings == []


def test_an_alarm_that_goes_on_from_a_checkpoint_knows_how_high_it_was_and_what_it_has_said(warnings):
    before = CollapseAlarm(PHASES[1], 10_000, rows=8)
    watch(before, 0.6, 0.5, 0.05)
    assert len(warnings) == 1
    state = json.loads(json.dumps(before.state_dict()))
    after = CollapseAlarm(PHASES[1], 10_000, rows=8)
    after.load_state_dict(state)
    after(40, {"z_std": 0.05})
    assert len(warnings) == 1  # it is silent for a twentieth of the run
    after(530, {"z_std": 0.05})
    assert len(warnings) == 2
    assert "highest so far 0.6" in warnings[1]


def test_an_alarm_that_looks_at_the_mean_of_several_figures_goes_on_with_them_from_a_checkpoint(warnings):
    before = CollapseAlarm(PHASES[2], 10_000, rows=8, lines=3)
    watch(before, 0.6, 0.6, 0.6, 0.01, 0.6, 0.01, 0.01)
    assert warnings == []
    after = CollapseAlarm(PHASES[2], 10_000, rows=8, lines=3)
    after.load_state_dict(json.loads(json.dumps(before.state_dict())))
    after(80, {"z_std": 0.01})
    assert "standard deviation of 0.01 (highest so far 0.6" in warnings[0]


def test_a_single_row_has_no_spread_and_raises_no_alarm(warnings):
    watch(CollapseAlarm(PHASES[2], 1000, rows=1), *[0.0] * 100)
    assert warnings == []
    watch(CollapseAlarm(PHASES[2], 1000, rows=2), *[0.0] * 100)
    assert warnings


@pytest.mark.parametrize(("accumulation", "warns"), [(1, False), (2, True)])
def test_training_with_batches_of_one_warns_only_where_a_step_sees_more(
    tmp_path, recipe, warnings, monkeypatch, accumulation, warns
):
    monkeypatch.setattr(collapse, "YOUNG", 0)
    monkeypatch.setitem(PHASES, 1, replace(PHASES[1], low=1e3))  # so that any spread at all is too low
    training = replace(recipe.training, batch_size=1, gradient_accumulation=accumulation)
    train_phase(replace(recipe, training=training), 1, tmp_path / "run")
    assert bool(warnings) == warns


def test_the_alarms_memory_is_in_the_checkpoint_and_is_taken_up_again(tmp_path, recipe, monkeypatch):
    train_phase(recipe, 1, tmp_path / "run")
    folder = tmp_path / "run" / PHASE_NAMES[1] / "checkpoints"
    halfway, end = (Checkpoint.load(folder / f"step_{step:08d}").record["watch"] for step in (3, 6))
    assert halfway["highest"] > 0
    taken_up = []
    monkeypatch.setattr(CollapseAlarm, "load_state_dict", lambda alarm, state: taken_up.append(state))
    train_phase(recipe, 1, tmp_path / "again", resume=folder / "step_00000003")
    assert taken_up == [halfway]
    monkeypatch.undo()
    again = train_phase(recipe, 1, tmp_path / "again2", resume=folder / "step_00000003")
    assert Checkpoint.load(again.checkpoint).record["watch"] == end
