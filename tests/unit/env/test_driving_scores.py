"""Scores of driving against hand-computed cases."""

from __future__ import annotations

import pytest

from tempovla.env.driving_scores import COMFORT_BOUNDS, comfortable, driving_score, pdm_score, with_scores
from tempovla.timeline.driving import FIGURES

FLAWLESS = dict.fromkeys(FIGURES, 0.0) | {"completion": 1.0, "drivable": 1.0, "progress": 1.0, "distance_m": 300.0}


def test_a_flawless_episode_has_full_scores():
    assert (driving_score(FLAWLESS), pdm_score(FLAWLESS), comfortable(FLAWLESS)) == (1.0, 1.0, True)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"completion": 0.4}, 0.4),
        ({"collision_pedestrian": 1}, 0.5),
        ({"collision_vehicle": 1}, 0.6),
        ({"collision_static": 1, "completion": 0.5}, 0.325),
        ({"red_lights": 2}, 0.49),
        ({"red_lights": 1, "collision_vehicle": 1, "completion": 0.5}, 0.21),
        ({"timeout": 1, "off_road": 1, "max_jerk": 99}, 1.0),
    ],
)
def test_the_driving_score_is_completion_times_penalties(changes, expected):
    assert driving_score(FLAWLESS | changes) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"at_fault": 1, "collision": 1, "collision_vehicle": 1}, 0.0),
        ({"at_fault": 1, "collision": 1, "collision_static": 1}, 0.5),
        ({"at_fault": 1, "collision": 1, "collision_static": 1, "collision_pedestrian": 1}, 0.0),
        ({"at_fault": 0, "collision": 1, "collision_vehicle": 1}, 1.0),
        ({"drivable": 0}, 0.0),
        ({"off_road": 1}, 0.0),
        ({"progress": 0.4}, (5 * 0.4 + 5 + 2) / 12),
        ({"progress": 1.3}, 1.0),
        ({"ttc_violations": 3}, 7 / 12),
        ({"max_jerk": 8.38}, 10 / 12),
        ({"progress": 0, "ttc_violations": 1, "max_yaw_rate": 1.0}, 0.0),
    ],
)
def test_the_pdm_score_is_a_product_with_a_weighted_mean(changes, expected):
    assert pdm_score(FLAWLESS | changes) == pytest.approx(expected)


@pytest.mark.parametrize(("name", "bound"), COMFORT_BOUNDS.items())
def test_comfort_ends_beyond_each_bound(name, bound):
    assert comfortable(FLAWLESS | {name: bound})
    assert not comfortable(FLAWLESS | {name: bound + 0.01})


def test_scores_stand_before_the_figures():
    scored = with_scores(FLAWLESS | {"odd": 2})
    assert list(scored)[:3] == ["driving_score", "pdm_score", "comfort"]
    assert (scored["comfort"], scored["odd"], scored["distance_m"]) == (1.0, 2.0, 300.0)


def test_figures_that_are_missing_or_not_finite_are_named():
    with pytest.raises(ValueError, match=r"figures lack \['completion'\]; give all of tempovla\.timeline\.driving"):
        with_scores({name: value for name, value in FLAWLESS.items() if name != "completion"})
    with pytest.raises(ValueError, match=r"figures\['progress'\] is nan; give a finite number"):
        with_scores(FLAWLESS | {"progress": float("nan")})
