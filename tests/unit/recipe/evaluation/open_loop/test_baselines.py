"""Trajectories that need no sensors."""

from __future__ import annotations

import numpy as np
import pytest

from tempovla.recipe.evaluation.open_loop.baselines import (
    constant_turn_rate,
    constant_velocity,
    fit_and_predict,
    folds_of,
    standstill,
    with_commands,
)
from tempovla.recipe.evaluation.open_loop.trajectories import poses_of


def test_standing_and_going_straight_on():
    state = np.array([[4.0, 1.0, 0.3, 0.1], [0.0, 0.0, 0.0, 0.0]])
    assert not standstill(state, 6, 2.0).any()
    assert constant_velocity(state, 3, 2.0).tolist() == [[[2, 0, 0], [4, 0, 0], [6, 0, 0]], [[0, 0, 0]] * 3]


def test_a_constant_turn_rate_is_an_arc():
    rate = np.pi / 3
    state = np.array([[np.pi, 0, rate, 0], [4, 0, 0, 0], [4, 0, 1e-9, 0]])
    arc, straight, almost = constant_turn_rate(state, 3, 2.0)
    radius = 3.0
    np.testing.assert_allclose(arc[-1], [radius, radius, np.pi / 2], atol=1e-12)
    np.testing.assert_allclose(straight[:, 0], [2, 4, 6])
    np.testing.assert_allclose(almost, straight, atol=1e-6)
    chord = 2 * radius * np.sin(rate / 4)
    step = [chord * np.cos(rate / 4), chord * np.sin(rate / 4), rate / 2]
    np.testing.assert_allclose(arc, poses_of(np.tile(step, (3, 1))), atol=1e-12)


def test_a_status_mlp_learns_what_follows_from_the_status():
    rng = np.random.default_rng(0)
    state = np.stack([rng.uniform(0, 8, 60), *np.zeros((3, 60))], axis=1)
    poses = constant_velocity(state, 6, 2.0)
    valid = np.ones((60, 6), bool)
    valid[:30, 3:] = False
    poses[:30, 3:] = 1e6  # what is not known must not matter
    asked = np.array([[2.0, 0, 0, 0], [6.0, 0, 0, 0]])
    told = fit_and_predict(state, poses, valid, asked, steps=60)
    np.testing.assert_allclose(told[..., 0], constant_velocity(asked, 6, 2.0)[..., 0], atol=1.0)
    poses[:30, 3:] = 0
    assert np.array_equal(told, fit_and_predict(state, poses, valid, asked, steps=60))


def test_nothing_to_learn_from_is_refused():
    with pytest.raises(ValueError, match="none of 2 training samples has a known future; give longer scenes"):
        fit_and_predict(np.zeros((2, 4)), np.zeros((2, 6, 3)), np.zeros((2, 6), bool), np.zeros((1, 4)))


def test_commands_are_one_of_the_known_ones_or_none():
    joined = with_commands(np.ones((3, 1)), ["left", "right", "hm"], ["left", "right"])
    assert joined.tolist() == [[1, 1, 0], [1, 0, 1], [1, 0, 0]]


def test_a_scene_is_never_in_two_folds():
    fold = folds_of(np.array([7, 7, 9, 3, 3, 9]), 2)
    assert fold.tolist() == [1, 1, 0, 0, 0, 0]


def test_a_command_that_no_training_scene_has_says_nothing_and_a_strange_status_stays_bounded():
    """Divided by their spread in training, which is nothing, these would drive the car hundreds of kilometres."""
    speed = np.linspace(2.0, 8.0, 40)
    known = np.column_stack([speed, np.zeros(40), np.ones(40)])  # the last two say follow, and never left
    ahead = speed[:, None] * np.arange(1, 7) / 2
    poses = np.stack([ahead, 0 * ahead, 0 * ahead], axis=-1)
    asked = np.array([[5.0, 0.0, 1.0], [5.0, 1.0, 0.0], [5e6, 0.0, 1.0]])
    told = fit_and_predict(known, poses, np.ones((40, 6), bool), asked, steps=60)
    assert np.array_equal(told[0], told[1])
    assert np.abs(told).max() < 1000.0
