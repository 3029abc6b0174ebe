"""Planners that search by sampling find the best actions, keep bounds, and depend on the row's seed alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tempovla.model.world_model.planning.config import KINDS, PlannerConfig
from tempovla.model.world_model.planning.search import _colored, search, shifted

GOAL = torch.tensor([[0.3, -0.7], [0.9, 0.1], [-0.5, 0.5], [0.0, -1.0]])
"""Of four steps of two dimensions."""
SMALL = PlannerConfig(horizon=4, num_samples=256, num_elites=32, num_policy_samples=0)


def near_goal(actions: torch.Tensor) -> torch.Tensor:
    """Minus the squared distance (B, N) of candidates (B, N, 4, 2) from the goal."""
    return -(actions - GOAL).square().sum(dim=(-1, -2))


def found(config: PlannerConfig, seeds: list[int], score=near_goal, proposals=None):
    seed = torch.tensor(seeds)
    return search(config, score, torch.zeros(len(seeds), 4, 2), seed, proposals)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "shooting"])
def test_rounds_come_to_the_goal(kind):
    plan = found(replace(SMALL, kind=kind), [1, 2, 3])
    assert (plan.value > -0.1).all()
    assert ((plan.mean - GOAL).abs() < 0.25).all()


def test_shooting_makes_one_round_and_takes_the_best():
    calls = []

    def score(actions):
        calls.append(actions)
        return near_goal(actions)

    plan = found(replace(SMALL, kind="shooting"), [1], score)
    assert len(calls) == 1
    assert float(plan.value) == float(near_goal(calls[0]).max())
    torch.testing.assert_close(near_goal(plan.actions[:, None])[:, 0], plan.value)


@pytest.mark.parametrize("iterations", [1, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_settings_that_are_called_unread_change_nothing_and_the_others_do(kind, iterations):
    def rough(actions):
        return (40.0 * actions).sin().sum(dim=(-1, -2))  # hardly better near the best, so that all of them count

    config = PlannerConfig(kind, 4, 10, 6, iterations, num_policy_samples=0)
    others = {"min_std": 1.5, "temperature": 3.0, "noise_beta": 0.0, "keep_fraction": 1.0, "iterations": 2}
    plan = found(config, [1, 2], rough)
    for name, value in others.items():
        other = found(replace(config, **{name: value}), [1, 2], rough)
        is_same = torch.equal(other.actions, plan.actions) and torch.equal(other.mean, plan.mean)
        assert is_same == (name in config.unread), name


def test_a_setting_that_is_unread_is_told_with_its_remedy():
    assert PlannerConfig("shooting").unread["min_std"] == "only a further round reads it; choose another kind"
    assert PlannerConfig("cem", iterations=1).unread["min_std"] == "only a further round reads it; make more rounds"
    assert PlannerConfig("shooting").unread["iterations"] == "random shooting makes one round; choose another kind"


def test_noise_of_one_step_does_not_read_its_correlation():
    assert "plan more steps" in PlannerConfig("icem", horizon=1).unread["noise_beta"]
    assert "noise_beta" not in PlannerConfig("icem", horizon=2).unread


@pytest.mark.parametrize("kind", KINDS)
def test_candidates_and_plans_stay_within_the_bounds(kind):
    def score(actions):
        assert actions.abs().max() <= 1.0
        return actions.sum(dim=(-1, -2))  # the best lie at the bound

    plan = found(replace(SMALL, kind=kind), [1, 2], score)
    assert plan.actions.abs().max() <= 1.0
    assert plan.mean.abs().max() <= 1.0
    assert (plan.std >= SMALL.min_std).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_depends_on_its_own_seed_alone(kind):
    config = replace(SMALL, kind=kind)
    together, alone = found(config, [5, 6, 7]), found(config, [6])
    torch.testing.assert_close(together.actions[1], alone.actions[0], rtol=0, atol=1e-6)
    assert not torch.equal(together.actions[0], together.actions[1])
    torch.testing.assert_close(found(config, [6]).actions, alone.actions, rtol=0, atol=0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_scores_that_are_not_finite_are_never_chosen(kind, bad):
    def score(actions):
        value = near_goal(actions)
        return torch.where(actions[..., 0, 0] > 0, bad, value)

    plan = found(replace(SMALL, kind=kind), [1, 2], score)
    assert torch.isfinite(plan.value).all()
    assert (plan.actions[:, 0, 0] <= 0).all()


def test_without_any_finite_score_a_plan_is_finite_all_the_same():
    plan = found(SMALL, [1], lambda actions: torch.full(actions.shape[:2], torch.nan))
    assert torch.isfinite(plan.actions).all()
    assert torch.isfinite(plan.mean).all()


def test_proposals_are_candidates_of_every_round():
    proposals = GOAL.expand(1, 3, 4, 2)
    plan = found(replace(SMALL, kind="cem", iterations=1), [1], proposals=proposals)
    torch.testing.assert_close(plan.actions[0], GOAL)
    assert float(plan.value) == 0.0


@pytest.mark.parametrize("kind", ["mppi", "icem"])
def test_candidates_that_come_back_are_not_scored_again(kind):
    counts = []

    def score(actions):
        counts.append(actions.shape[1])
        return near_goal(actions)

    proposals = torch.zeros(1, 3, 4, 2)
    plan = found(replace(SMALL, kind=kind, iterations=3), [1], score, proposals)
    assert counts == [256, 253, 253]
    torch.testing.assert_close(near_goal(plan.actions[:, None])[:, 0], plan.value)


def test_the_search_begins_where_the_last_one_ended():
    near = search(replace(SMALL, max_std=0.1), near_goal, GOAL[None].clone(), torch.tensor([1]))
    far = search(replace(SMALL, max_std=0.1), near_goal, -GOAL[None], torch.tensor([1]))
    assert float(near.value) > float(far.value)
    plan = torch.arange(6.0).view(1, 3, 2)
    torch.testing.assert_close(shifted(plan), torch.tensor([[[2.0, 3.0], [4.0, 5.0], [0.0, 0.0]]]))


@pytest.mark.parametrize(("steps", "beta"), [(15, 2.0), (6, 1.0), (2, 3.0), (5, 0.0)])
def test_noise_over_time_has_a_variance_of_one_and_its_spectrum(steps, beta):
    noise = torch.randn(400, 20, steps, 2, generator=torch.Generator().manual_seed(0))
    colored = _colored(noise, beta)
    assert float(colored.var()) == pytest.approx(1.0, abs=0.03)
    if beta == 0.0:
        torch.testing.assert_close(colored, noise, rtol=1e-5, atol=1e-5)
    power = torch.fft.rfft(colored, dim=2).abs().square().mean(dim=(0, 1, 3))
    if steps == 15:
        assert float(power[1] / power[4]) == pytest.approx(4.0**beta, rel=0.1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "gradient"}, r"^model\.planner\.kind='gradient' is unknown; choose from mppi, cem, icem, shooting"),
        (
            {"kind": "inverse_dynamics"},
            "is unknown; .* or, without a search, act with --goal_by inverse_dynamics or plan",
        ),
        ({"horizon": 0}, r"^model\.planner\.horizon=0 must be at least 1"),
        ({"num_elites": 2.5}, r"^model\.planner\.num_elites=2.5 must be a whole number"),
        ({"num_elites": 600}, "planner.num_elites=600 are more than the num_samples=512 candidates; lower it"),
        ({"num_policy_samples": 512}, "planner.num_policy_samples=512 must be at least 0, and less than num_samples"),
        ({"min_std": 3.0}, "planner.min_std=3.0 is above max_std=2.0; lower it"),
        ({"temperature": float("nan")}, "planner.temperature=nan must be greater than 0, and finite"),
        ({"keep_fraction": 1.5}, "planner.keep_fraction=1.5 must lie in"),
    ],
)
def test_settings_that_do_not_fit_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        PlannerConfig(**options)
