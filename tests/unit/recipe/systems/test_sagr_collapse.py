"""SA-GR's alarm: it tells when task tokens collapse, and stays silent where batches differ by their tasks alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.gripper_recordings import ACTION, FRONT, STATE
from tests.sagr_runs import ONE_BAR, record_moves, sagr_recipe
from tests.trained import logged

from tempovla.data.writer import DatasetWriter, infer_features
from tempovla.recipe.systems import collapse, sagr
from tempovla.recipe.systems.collapse import CollapseAlarm, Watched
from tempovla.recipe.systems.sagr import ENOUGH_ROWS, LOW, build_alarm, train_sagr

SPREAD, WITHIN = "debug/sagr/task_token_std", "debug/sagr/task_token_picture_std"
PREDICTION_ALONE: dict[str, Any] = {"loss_w_fm": 0.0, "loss_w_geo": 0.0, "loss_w_dyn": 1.0, "use_drift": False}
"""The prediction trains, and nothing else."""
FOLLOWS_AT_ONCE: dict[str, Any] = {"world_target_encoder": "ema", "world_target_decay": 0.0}
"""The target hardly lags behind, so tokens collapse as online ones do."""
COLLAPSING: dict[str, Any] = {
    **{"batch_size": 16, "train_steps": 30, "learning_rate": 1e-2, "log_interval": 5},
    **{"sagr_phase_a_steps": 0, "sagr_phase_b_ramp_steps": 0, "save_interval_steps": None},
}


@pytest.fixture
def warnings(monkeypatch) -> list[str]:
    messages: list[str] = []
    monkeypatch.setattr(collapse.LOGGER, "warning", lambda text, *values: messages.append(text % values))
    return messages


def figures(run: Path, name: str) -> list[float]:
    return [line[name] for line in logged(run) if name in line and "total" in line]


def record_tasks(root: Path, tasks: int, episodes: int = 2) -> Path:
    """Episodes of eight steps; each has another random picture at every step."""
    random = np.random.default_rng(0)

    def episode() -> dict[str, np.ndarray]:
        numbers = {key: random.normal(size=(8, 1)).astype(np.float32) for key in (STATE, ACTION)}
        return {**numbers, FRONT: random.integers(0, 256, (8, 16, 16, 3), np.uint8)}

    with DatasetWriter(root, infer_features(episode()), 10.0, robot_type="toy") as writer:
        for task in range(tasks * episodes):
            writer.add_episode(episode(), f"do task {task % tasks}")
    return root


@pytest.mark.parametrize("detached", [True, False])
def test_what_the_prediction_alone_trains_collapses_with_a_warning_unless_it_is_detached(tmp_path, warnings, detached):
    model = {**ONE_BAR, **PREDICTION_ALONE, "world_detach_input": detached}
    train_sagr(sagr_recipe(record_moves(tmp_path / "moves"), model, **COLLAPSING), tmp_path / "run")
    spread = figures(tmp_path / "run", SPREAD)
    if detached:
        assert warnings == []
        assert min(spread) > 0.7 * max(spread) > 10 * LOW
    else:
        assert "the task tokens are collapsing: in 2 steps they change by a mean square of" in warnings[0]
        assert "(model.world_detach_input=true)" in warnings[0]
        assert spread[-1] < 0.1 * spread[0]


@pytest.mark.parametrize(("target", "said"), [({}, "in 2 steps"), (FOLLOWS_AT_ONCE, "between samples of one")])
def test_tokens_that_tell_nothing_but_the_words_are_a_collapse_too(tmp_path, recorded, warnings, target, said):
    """Their spread over a batch of several tasks stays what it was."""
    model = {**PREDICTION_ALONE, **target, "world_detach_input": False}
    train_sagr(sagr_recipe(recorded, model, **COLLAPSING), tmp_path / "run")
    spread, within = figures(tmp_path / "run", SPREAD), figures(tmp_path / "run", WITHIN)
    assert spread[-1] > 0.3 * spread[0]
    assert within[-1] < 0.2 * within[0]
    assert f"the task tokens are collapsing: {said}" in warnings[0]


def test_tokens_of_a_single_task_collapse_with_a_warning(tmp_path, warnings):
    model = {**ONE_BAR, **PREDICTION_ALONE, **FOLLOWS_AT_ONCE, "world_detach_input": False}
    train_sagr(sagr_recipe(record_tasks(tmp_path / "set", 1), model, **COLLAPSING), tmp_path / "run")
    assert "between samples of one instruction they have a standard deviation of" in warnings[0]
    assert figures(tmp_path / "run", WITHIN) == pytest.approx(figures(tmp_path / "run", SPREAD), rel=1e-4)


def test_small_batches_of_different_tasks_raise_no_alarm(tmp_path, warnings, monkeypatch):
    """Over a batch tokens differ now by the words, now by the pictures alone."""
    monkeypatch.setattr(sagr, "ENOUGH_ROWS", 24)
    steps = {"batch_size": 2, "train_steps": 40, "save_interval_steps": None}
    train_sagr(sagr_recipe(record_tasks(tmp_path / "set", 2), ONE_BAR, **steps), tmp_path / "run")
    assert len(figures(tmp_path / "run", WITHIN)) > 12  # so that the alarm has looked at some
    assert warnings == []
    over_batches = CollapseAlarm(Watched(SPREAD, "they collapse:", LOW, "at most 1", "do something"), 40, rows=2)
    for step, spread in enumerate(figures(tmp_path / "run", SPREAD)):
        over_batches(step + 1, {SPREAD: spread})
    assert warnings


def test_a_step_without_two_samples_of_one_instruction_has_no_figure(tmp_path):
    steps = {"batch_size": 2, "train_steps": 12, "save_interval_steps": None}
    train_sagr(sagr_recipe(record_tasks(tmp_path / "set", 4), ONE_BAR, **steps), tmp_path / "run")
    assert 0 < len(figures(tmp_path / "run", WITHIN)) < len(figures(tmp_path / "run", SPREAD)) == 12
    assert min(figures(tmp_path / "run", WITHIN)) > 0


def test_an_alarm_of_small_batches_looks_at_the_mean_of_many_lines(warnings):
    recipe = sagr_recipe("", batch_size=4, log_interval=1, train_steps=400)
    alarm, lines = build_alarm(recipe, 1), ENOUGH_ROWS // 4
    for step in range(200):
        alarm(step + 1, {WITHIN: 0.1 if step % 8 else 0.001})
    assert warnings == []
    for step in range(200, 200 + lines):
        alarm(step + 1, {WITHIN: 0.01})
    assert len(warnings) == 1
    assert "0.01" in warnings[0]
