"""A policy's open-loop figures beside those of the baselines, computed by hand."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from tests.driven_scenes import driven, scenes

from tempovla.data.mixture import Mixture
from tempovla.recipe.evaluation.open_loop import measure
from tempovla.recipe.evaluation.open_loop.baselines import fit_and_predict
from tempovla.recipe.evaluation.open_loop.figures import Modes, SceneMeans
from tempovla.recipe.evaluation.open_loop.measure import Around, measure_trajectories
from tempovla.recipe.evaluation.open_loop.recorded import read_recorded


@pytest.fixture(scope="module")
def recorded():
    """Four scenes at constant speed, one of them braking at its end; two of 7 control steps and two of 8."""
    source = scenes(
        driven(np.full(7, 4.0)),
        driven(np.full(8, 0.0)),
        driven(np.full(8, 6.0), 0.4),
        driven(np.array([6.0, 6, 6, 6, 4, 2, 0])),
    )
    return read_recorded(Mixture([source]), 6)


@pytest.fixture(scope="module")
def measured(recorded):
    def boxes_at(scene, step):
        return np.array([[10.0 - 2 * step, 0, 0, 1, 1]]) if scene == 0 else np.zeros((0, 5))

    steps = recorded.steps + np.where(recorded.valid, 0.5, 0.0)[..., None] * [1, 0, 0]
    modes = Modes(np.stack([recorded.poses + np.array([9.0, 0, 0]), recorded.poses], axis=1), np.full((30, 2), 0.5))
    training = read_recorded(Mixture([scenes(driven(np.linspace(0, 6, 20)))]), 6)
    around = Around(boxes_at, lambda scene, step, points: points[..., 0] < 12)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measure, "fit_and_predict", partial(fit_and_predict, steps=10))
        return measure_trajectories(recorded, steps, 2.0, around=around, training=training, modes=modes)


def test_rows_that_learn_nothing_stand_above_learned_ones(measured):
    assert list(measured["rows"]) == [
        "recorded",
        "standstill",
        "constant velocity",
        "constant turn rate",
        "ego status MLP",
        "ego status and command MLP",
        "policy",
    ]
    assert [row["learned"] for row in measured["rows"].values()] == [False] * 4 + [True] * 3
    assert (measured["scenes"], measured["samples"]) == (4, 30)
    assert measured["events"] == {"standstill": 3, "turning": 3, "braking": 2, "cruising": 2}


def test_both_conventions_and_their_means(measured, recorded):
    told = measured["rows"]["policy"]["l2"]
    for convention, expected in (("uniad", (1.0, 2.0, 3.0)), ("stp3", (0.75, 1.25, 1.75))):
        straight = {time: told[convention][time]["mean"] for time in ("1", "2", "3")}
        assert [*straight.values()] == pytest.approx(expected, rel=0.02)  # on the arc a little less
        whole = told[convention]["mean"]["mean"]
        assert whole == pytest.approx(sum(expected) / 3, rel=0.02)
    assert measured["rows"]["recorded"]["l2"]["uniad"]["3"] == {"mean": 0.0, "ci95": [0.0, 0.0]}
    low, high = told["uniad"]["3"]["ci95"]
    assert low <= told["uniad"]["3"]["mean"] <= high
    stands = measured["rows"]["standstill"]["l2"]["uniad"]["1"]
    first_second = [4.0] * 6 + [0.0] * 7
    turned = np.linalg.norm([3 + 3 * np.cos(0.2), 3 * np.sin(0.2)])
    first_second += [turned] * 7 + [6, 6, 6, 5, 3, 1]
    assert stands["mean"] == pytest.approx(np.mean(first_second), rel=1e-6)


def test_collisions_with_and_without_those_of_the_recording(measured):
    # In scene 0 a box stands from 9.5 m to 10.5 m; the car reaches 3.427 m ahead and 0.657 m behind its axle. The
    # recorded car is in it when its axle is at 8 and 10 m, after 4 and 5 steps from the first of the moments.
    recorded, stands = (measured["rows"][name] for name in ("recorded", "standstill"))
    assert recorded["collision"]["uniad"]["3"]["mean"] == pytest.approx(0 / 10)
    assert recorded["collision"]["uniad"]["2"]["mean"] == pytest.approx(2 / 18)
    assert recorded["collision_new"]["uniad"]["2"]["mean"] == 0
    assert recorded["collision"]["stp3"]["2"]["mean"] == pytest.approx((1 + 2 + 2 + 2) / 4 / 18)
    # A car that stands at 8 or 10 m is in it all the time; of these moments the first second alone is known.
    assert stands["collision"]["uniad"]["1"]["mean"] == pytest.approx(2 / 26)
    assert stands["collision"]["uniad"]["2"]["mean"] == 0
    assert stands["collision_new"]["uniad"]["1"]["mean"] == pytest.approx(2 / 26)
    assert stands["collision_new"]["stp3"]["1"]["mean"] == pytest.approx((0.5 + 1) / 26)  # first both are in it


def test_leaving_the_road_and_misses(measured):
    rows = measured["rows"]
    assert rows["standstill"]["off_road"]["uniad"]["3"]["mean"] == 0
    assert rows["constant velocity"]["off_road"]["uniad"]["3"]["mean"] > 0
    assert rows["policy"]["miss_rate"]["mean"] == 1.0
    assert rows["policy"]["fde"]["mean"] == pytest.approx(3.0, rel=0.02)
    modes = rows["policy"]["modes"]
    assert (modes["1"]["min_ade"]["mean"], modes["2"]["min_ade"]["mean"]) == (pytest.approx(9.0), 0.0)
    assert (modes["1"]["miss_rate"]["mean"], modes["2"]["miss_rate"]["mean"]) == (1.0, 0.0)


def test_figures_by_event(measured):
    events = measured["rows"]["constant velocity"]["by_event"]
    assert events["standstill"]["fde"]["mean"] == 0
    assert events["cruising"]["fde"]["mean"] == pytest.approx(0, abs=1e-6)
    assert events["braking"]["fde"]["mean"] > 1
    turning = measured["rows"]["constant turn rate"]["by_event"]["turning"]
    assert turning["fde"]["mean"] < events["turning"]["fde"]["mean"]


def test_a_single_scene_has_no_learned_baselines_and_no_intervals(recorded):
    one = recorded.chosen(recorded.scene == 2)
    found = measure_trajectories(one, one.steps, 2.0)
    assert list(found["rows"]) == ["recorded", "standstill", "constant velocity", "constant turn rate", "policy"]
    assert found["rows"]["standstill"]["l2"]["uniad"]["3"]["ci95"] is None
    assert "collision" not in found["rows"]["policy"]
    assert "off_road" not in found["rows"]["policy"]


def test_without_training_scenes_the_other_parts_of_the_scenes_teach(recorded, monkeypatch):
    taught = []

    def fit(known, poses, valid, asked):
        taught.append((len(known), len(asked)))
        return np.zeros((len(asked), 6, 3))

    monkeypatch.setattr(measure, "fit_and_predict", fit)
    measure_trajectories(recorded, recorded.steps, 2.0)
    assert taught == [(23, 7), (22, 8), (22, 8), (23, 7)] * 2


def test_what_cannot_be_judged_is_refused(recorded):
    with pytest.raises(ValueError, match=r"steps \(30, 5, 3\) must be finite and of the shape \(30, 6, 3\)"):
        measure_trajectories(recorded, recorded.steps[:, :5], 2.0)
    blind = replace(recorded, state_valid=np.zeros(30, bool))
    with pytest.raises(ValueError, match="the car's status is not known at any of 30 moments; give scenes that"):
        measure_trajectories(blind, recorded.steps, 2.0)


def test_moments_without_the_status_of_the_car_are_left_out(recorded, caplog):
    one = recorded.chosen(recorded.scene == 2)
    partly = replace(one, state=np.where(one.step[:, None] == 1, 99.0, one.state), state_valid=one.step != 1)
    modes = Modes(one.poses[:, None], np.ones((8, 1)))
    found = measure_trajectories(partly, one.steps, 2.0, modes=modes)
    expected = one.chosen(one.step != 1)
    assert found == measure_trajectories(
        expected, expected.steps, 2.0, modes=Modes(expected.poses[:, None], np.ones((7, 1)))
    )
    assert found["samples"] == 7
    assert "not known at 1 of 8 moments, which are left out" in caplog.text


def test_scenes_are_resampled_and_not_samples():
    means = SceneMeans(np.array([5, 5, 5, 5, 8]))
    value, counted = np.array([1.0, 1, 1, 9, 3]), np.array([True, True, True, False, True])
    figure = means.of(value, counted)
    assert (figure["mean"], figure["ci95"]) == (1.5, [1.0, 3.0])
    assert means.of(value, np.zeros(5, bool)) == {"mean": None, "ci95": None}
    assert means.of(value, counted & (value < 2))["ci95"] is None  # of one scene
