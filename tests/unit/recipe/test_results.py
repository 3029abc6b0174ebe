"""Figures as results.json holds them."""

from __future__ import annotations

import pytest

from tempovla.recipe.results import machine, pool, summarize, versions
from tempovla.rollout.metrics import SuccessRate, wilson_interval


def test_a_block_holds_the_policy_beside_its_baselines():
    block = summarize(policy=SuccessRate(18, 20), blind=SuccessRate(5, 20), wrong_instruction=SuccessRate(1, 10))
    assert block == {
        "success": 0.9,
        "episodes": 20,
        "ci95": list(wilson_interval(18, 20)),
        "blind": 0.25,
        "blind_episodes": 20,
        "blind_ci95": list(wilson_interval(5, 20)),
        "wrong_instruction": 0.1,
        "wrong_instruction_episodes": 10,
        "wrong_instruction_ci95": list(wilson_interval(1, 10)),
    }
    assert set(summarize(SuccessRate(1, 2))) == {"success", "episodes", "ci95"}


def test_equally_many_episodes_pool_to_the_mean_of_the_tasks():
    rates = [SuccessRate(20, 20), SuccessRate(15, 20), SuccessRate(10, 20)]
    assert pool(rates) == SuccessRate(45, 60)
    assert pool(rates).rate == pytest.approx(sum(rate.rate for rate in rates) / 3)


def test_versions_and_machine_are_words():
    assert {"tempovla", "python", "torch"} <= set(versions())
    assert all(isinstance(value, str) for value in (versions() | machine()).values())
    assert int(machine()["cores"]) >= 1
