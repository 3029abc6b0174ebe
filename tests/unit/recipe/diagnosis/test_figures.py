"""Errors, intervals and regressions, counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from tempovla.recipe.diagnosis.figures import Bootstrap, EpisodeErrors, copycat, explained_by


def test_errors_are_means_over_what_is_valid():
    absolute = np.array([[[1.0, 3.0], [9.0, 9.0]], [[2.0, 2.0], [4.0, 0.0]], [[5.0, 7.0], [9.0, 9.0]]])
    valid = np.array([[True, False], [True, True], [True, False]])
    errors = EpisodeErrors.of(absolute, valid, np.array([0, 0, 1]), 2)
    assert errors.total.tolist() == [12.0, 12.0]
    assert errors.count.tolist() == [6.0, 2.0]
    assert errors.mean == 3.0
    bootstrap = Bootstrap(np.array([[2.0, 0.0], [1.0, 1.0], [0.0, 2.0]]))
    assert errors.means(bootstrap).tolist() == [2.0, 3.0, 6.0]
    doubled = EpisodeErrors(2 * errors.total, errors.count)
    figures = doubled.figures(bootstrap, errors)
    assert (figures["error"], figures["difference"]) == (6.0, 3.0)
    assert figures["difference_ci95"] == pytest.approx(np.percentile([2.0, 3.0, 6.0], (2.5, 97.5)))
    assert errors.chosen(np.array([1])).mean == 6.0


def test_resamples_follow_from_the_seed_and_keep_the_number_of_episodes():
    first, again, other = (Bootstrap.draw(7, 50, seed).weights for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()
    assert (first.sum(axis=1) == 7).all()


def test_the_interval_of_a_mean_is_that_of_the_normal_approximation():
    values = np.random.default_rng(0).normal(size=200)
    errors = EpisodeErrors(values, np.ones(200))
    low, high = errors.figures(Bootstrap.draw(200, 4000, 0))["ci95"]
    half = 1.96 * values.std() / np.sqrt(200)
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.02)


def table(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    return random.normal(size=(300, 3)), random.normal(size=(300, 2)), np.repeat(np.arange(10), 30)


def test_what_follows_from_the_last_action_is_explained_and_noise_is_not():
    x, noise, episode = table()
    known = x @ np.array([[1.0, 0.5], [0.0, 2.0], [-1.0, 0.0]]) + 3.0
    assert explained_by(x, known, episode, 10, 0).r2() == pytest.approx(1.0, abs=1e-4)
    assert -0.1 < explained_by(x, noise, episode, 10, 0).r2() < 0.0
    half = explained_by(x, x[:, :2] + noise, episode, 10, 0).r2()
    assert half == pytest.approx(0.5, abs=0.08)


def test_r2_is_of_episodes_that_were_held_out():
    _, noise, episode = table()
    own = np.eye(10)[episode]  # tells the episode, whose mean would explain all of it
    mean = noise[::30][episode]
    assert explained_by(own, mean, episode, 10, 0).r2() < 0.0


def test_a_copy_has_a_large_excess_and_a_constant_none_that_is_known():
    last, expert, episode = table()
    bootstrap = Bootstrap.draw(10, 200, 0)
    found = copycat(last[:, :2], expert, last[:, :2], episode, bootstrap, 0)
    assert found["policy_r2"]["value"] == pytest.approx(1.0, abs=1e-4)
    assert found["excess"]["value"] == found["policy_r2"]["value"] - found["expert_r2"]["value"] > 1.0
    assert found["excess"]["ci95"][0] > 0.9
    assert found["decisions"] == 300
    found = copycat(last, expert, np.ones_like(expert), episode, bootstrap, 0)
    assert found["policy_r2"] == found["excess"] == {"value": None, "ci95": None}
    assert found["expert_r2"]["value"] < 0.0
