"""Weights of loss terms in the course of training."""

from __future__ import annotations

import pytest
import torch

from tempovla.objective import Objective, with_weights
from tempovla.objective.weights import WeightSchedule
from tempovla.timeline import LossTerm, Metric, Progress

ONE = torch.ones(2, 3)
VALID = torch.ones(2, dtype=torch.bool)


def total(objective: Objective, train_step: int, **terms) -> float:
    return objective(terms, Progress(train_step, 100)).total.item()


def test_a_factor_goes_from_start_to_end_and_stays():
    ramp = WeightSchedule(start=0.5, end=1.5, begin=10, steps=20)
    assert [ramp.at(step) for step in (0, 9, 10, 20, 30, 99)] == [0.5, 0.5, 0.5, 1.0, 1.5, 1.5]
    assert WeightSchedule(0.0, 1.0, begin=5, steps=0).at(5) == 1.0
    slow = WeightSchedule(0.0, 1.0, steps=8, shape="cosine")
    assert [round(slow.at(step), 4) for step in (0, 2, 4, 8)] == [0.0, 0.1464, 0.5, 1.0]


def test_a_scheduled_term_weighs_what_its_step_says_and_the_others_stay():
    terms = {"flow": LossTerm(ONE, 3 * ONE, VALID), "clone": LossTerm(ONE, 2 * ONE, VALID, weight=0.5)}
    objective = with_weights(Objective(), {"clone": WeightSchedule(0.0, 1.0, steps=10)})
    assert [total(objective, step, **terms) for step in (0, 5, 10)] == [4.0, 4.25, 4.5]
    assert objective(terms).total.item() == 4.5  # without a step, as the policy says
    assert with_weights(objective, {}) is objective


def test_a_metric_is_reported_and_never_trained_on():
    reach = ONE.clone().requires_grad_()
    loss = LossTerm(ONE.clone().requires_grad_(), 3 * ONE, VALID)
    report = Objective()({"flow": loss, "hits": Metric(reach, None, VALID), "off": Metric(reach, 2 * ONE, VALID, "l1")})
    assert {name: value.item() for name, value in report.terms.items()} == {"flow": 4.0}
    means = {name: (pair[0] / pair[1]).item() for name, pair in report.metrics.items()}
    assert means == {"hits": 1.0, "off": 1.0}
    report.total.backward()
    assert reach.grad is None
    with pytest.raises(ValueError, match=r"all loss terms \['hits'\] have weight 0"):
        Objective()({"hits": Metric(reach, None, VALID)})


def test_a_schedule_of_no_term_is_named_with_those_that_there_are():
    objective = Objective(schedules={"hits": WeightSchedule()})
    with pytest.raises(ValueError, match=r"loss_weights names 'hits'; the policy's loss terms are \['flow'\]"):
        objective({"flow": LossTerm(ONE, ONE, VALID), "hits": Metric(ONE, None, VALID)})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"start": -1.0}, "start=-1.0 must be finite and not negative"),
        ({"end": float("inf")}, "end=inf must be finite"),
        ({"steps": -1}, "steps=-1 must not be negative"),
        ({"start": 0.0, "end": 0.0}, "never train the term"),
        ({"shape": "step"}, "shape='step' is unknown; choose linear or cosine"),
    ],
)
def test_impossible_schedules_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        WeightSchedule(**settings)
