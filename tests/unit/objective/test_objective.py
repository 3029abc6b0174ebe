"""Loss terms, weighed and added; refused where they do not fit."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from tests.sagr_policies import sagr, sample_of
from torch.utils._python_dispatch import TorchDispatchMode

from tempovla.model.vla.sagr_metrics import spread_of_rows
from tempovla.objective import Objective
from tempovla.objective.objective import measure, reduce_term
from tempovla.timeline import LossTerm, Metric

PREDICTION = torch.tensor([[0.5, -1.0], [2.0, 0.0]])
TARGET = torch.tensor([[1.0, 1.0], [0.0, 0.0]])
VALID = torch.tensor([[True, True], [True, False]])


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("mse", np.mean([0.25, 4.0, 4.0])),
        ("l1", np.mean([0.5, 2.0, 2.0])),
        ("bce", np.mean([np.log1p(np.exp(-0.5)), np.log1p(np.exp(1.0)), np.log1p(np.exp(2.0))])),
    ],
)
def test_elementwise_losses_have_their_values_over_the_valid_entries(kind, expected):
    value = reduce_term("term", LossTerm(PREDICTION, TARGET, VALID, kind=kind))
    assert value.item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("kind", ["mse", "l1", "bce", "variance", "covariance", "std"])
def test_values_where_invalid_change_neither_loss_nor_gradient(kind):
    valid = torch.tensor([True, True, False, True])
    clean = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    results = []
    for poison in (0.0, math.nan, math.inf, 1e30):
        prediction = clean.clone()
        prediction[2] = poison
        prediction.requires_grad_()
        target = torch.where(valid[:, None], torch.ones(4, 3), torch.tensor(poison))
        report = Objective()({"term": LossTerm(prediction, target, valid, kind=kind)})
        report.total.backward()
        results.append((report.total.item(), prediction.grad))
    for value, gradient in results:
        assert value == results[0][0]
        assert torch.equal(gradient, results[0][1])
        assert torch.equal(gradient[2], torch.zeros(3))


LOGITS = torch.tensor([[[2.0, 0.0, 0.0], [0.0, 1.0, 0.0]], [[0.0, 0.0, 3.0], [5.0, 5.0, 5.0]]])
CLASSES = torch.tensor([[0, 2], [2, -1]])


def test_cross_entropy_is_the_mean_over_the_valid_class_ids():
    expected = np.mean([np.log(np.exp(2) + 2) - 2, np.log(np.exp(1) + 2), np.log(np.exp(3) + 2) - 3])
    value = reduce_term("term", LossTerm(LOGITS, CLASSES, VALID, kind="cross_entropy"))
    assert value.item() == pytest.approx(expected, rel=1e-6)


def test_cross_entropy_takes_rows_that_are_valid_as_a_whole():
    value = reduce_term(
        "term", LossTerm(LOGITS, CLASSES.clamp(min=0), torch.tensor([False, True]), kind="cross_entropy")
    )
    expected = np.mean([np.log(np.exp(3) + 2) - 3, np.log(3)])
    assert value.item() == pytest.approx(expected, rel=1e-6)


def test_mean_takes_the_prediction_as_the_loss():
    assert reduce_term("term", LossTerm(PREDICTION, None, VALID, kind="mean")).item() == pytest.approx(0.5)


@pytest.mark.parametrize("kind", ["cross_entropy", "mean"])
def test_logits_and_losses_where_invalid_leave_neither_value_nor_gradient(kind):
    results = []
    for poison in (0.0, math.nan, -math.inf):
        prediction = LOGITS.clone()
        prediction[1, 1] = poison
        prediction.requires_grad_()
        target = CLASSES if kind == "cross_entropy" else None
        value = reduce_term("term", LossTerm(prediction, target, VALID, kind=kind))
        value.backward()
        results.append((value.item(), prediction.grad))
    for value, gradient in results:
        assert value == results[0][0]
        assert torch.equal(gradient, results[0][1])
        assert torch.equal(gradient[1, 1], torch.zeros(3))


def test_class_ids_and_elementwise_losses_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"'a': target None must be class ids \(2, 2\) \(torch.int64\)"):
        reduce_term("a", LossTerm(LOGITS, None, VALID, kind="cross_entropy"))
    with pytest.raises(ValueError, match=r"'a': target \(2, 2\) \(torch.float32\) must be class ids"):
        reduce_term("a", LossTerm(LOGITS, CLASSES.float(), VALID, kind="cross_entropy"))
    with pytest.raises(ValueError, match=r"'a': target \(2, 2, 3\) \(torch.float32\) must be class ids \(2, 2\)"):
        reduce_term("a", LossTerm(LOGITS, LOGITS, VALID, kind="cross_entropy"))
    with pytest.raises(ValueError, match="'a': mean takes no target"):
        reduce_term("a", LossTerm(PREDICTION, TARGET, VALID, kind="mean"))


def test_sums_of_terms_are_reported_of_those_that_there_are():
    terms = {"a": LossTerm(PREDICTION, TARGET, VALID), "b": LossTerm(PREDICTION, TARGET, VALID, kind="l1", weight=2.0)}
    report = Objective({"both": ("a", "b"), "one": ("b", "absent"), "none": ("absent",)})(terms)
    assert report.terms["both"] == report.terms["a"] + report.terms["b"]
    assert report.terms["one"] == report.terms["b"]
    assert set(report.terms) == {"a", "b", "both", "one"}
    assert report.total.item() == pytest.approx(report.terms["a"].item() + 2 * report.terms["b"].item())


def test_the_total_weighs_the_terms_and_the_report_does_not():
    terms = {
        "a": LossTerm(PREDICTION, TARGET, VALID, weight=2.0),
        "b": LossTerm(PREDICTION, TARGET, VALID, weight=0.5, kind="l1"),
        "logged": LossTerm(PREDICTION * 100, TARGET, VALID, weight=0.0),
    }
    report = Objective()(terms)
    assert report.terms["b"].item() == pytest.approx(1.5)
    assert report.total.item() == pytest.approx(2.0 * 2.75 + 0.5 * 1.5)
    assert not report.terms["logged"].requires_grad


def test_half_precision_predictions_are_reduced_in_float32():
    prediction = torch.full((4096,), 1.0, dtype=torch.bfloat16)
    term = LossTerm(prediction, torch.zeros(4096), torch.ones(4096, dtype=torch.bool))
    value = reduce_term("term", term)
    assert value.dtype == torch.float32
    assert value.item() == 1.0


def test_terms_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="no loss terms"):
        Objective()({})
    with pytest.raises(ValueError, match=r"all loss terms \['a'\] have weight 0"):
        Objective()({"a": LossTerm(PREDICTION, TARGET, VALID, weight=0.0)})
    with pytest.raises(ValueError, match=r"'a': target \(2,\) must have the prediction's shape \(2, 2\)"):
        reduce_term("a", LossTerm(PREDICTION, TARGET[0], VALID))
    with pytest.raises(ValueError, match="'a': target None"):
        reduce_term("a", LossTerm(PREDICTION, None, VALID))
    with pytest.raises(ValueError, match="'a' has kind 'huber'; choose from"):
        reduce_term("a", LossTerm(PREDICTION, TARGET, VALID, kind="huber"))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"'a': variance needs valid \(2,\)"):
        reduce_term("a", LossTerm(PREDICTION, None, VALID, kind="variance"))


def test_a_spread_within_groups_weighs_by_its_degrees_of_freedom_and_without_any_counts_for_nothing():
    z, groups = torch.tensor([[0.0], [2.0], [5.0], [9.0]]), torch.tensor([[1], [1], [1], [2]])
    total, freedom = measure("spread", Metric(z, groups, torch.ones(4, dtype=torch.bool), "std_within"))
    assert freedom.item() == pytest.approx(2.0)
    assert (total / freedom).item() == pytest.approx(np.std([0.0, 2.0, 5.0], ddof=1))
    alone = measure("spread", Metric(z, torch.arange(4)[:, None], torch.ones(4, dtype=torch.bool), "std_within"))
    assert alone.tolist() == [0.0, 0.0]


def test_a_spread_within_groups_without_groups_is_refused():
    with pytest.raises(ValueError, match=r"'spread': std_within needs .* a target \(B, L\) int64"):
        measure("spread", Metric(torch.zeros(4, 1), None, torch.ones(4, dtype=torch.bool), "std_within"))


@pytest.mark.parametrize("kind", ["std", "variance", "covariance"])
@pytest.mark.parametrize("rows", [0, 1, 2])
def test_a_figure_of_a_batch_counts_only_where_two_rows_are_valid(kind, rows):
    valid = torch.arange(4) < rows
    z = torch.tensor([[0.0, 1.0], [2.0, 5.0], [9.0, 1.0], [math.nan, 1.0]])
    total, count = measure("spread", Metric(z, None, valid, kind)).tolist()
    assert count == float(rows == 2)
    assert math.isfinite(total)
    assert total > 0 if rows == 2 and kind != "variance" else total == 0


def test_quantiles_without_a_valid_row_count_for_nothing():
    figures = spread_of_rows("norm", torch.arange(3.0), torch.zeros(3, dtype=torch.bool))
    assert set(figures) == {"norm_mean", "norm_std", "norm_p50", "norm_p95"}
    for name, figure in figures.items():
        assert measure(name, figure).tolist() == [0.0, 0.0]


def test_the_report_says_which_terms_rest_on_something():
    nothing, terms = torch.zeros_like(VALID), {"a": LossTerm(PREDICTION, TARGET, VALID)}
    terms["b"] = LossTerm(PREDICTION, TARGET, nothing)
    terms["c"] = LossTerm(PREDICTION, None, torch.tensor([True, False]), kind="covariance")
    report = Objective({"some": ("a", "b"), "none": ("b", "c")})(terms)
    present = {name: value.item() for name, value in report.present.items()}
    assert present == {"a": 1.0, "b": 0.0, "c": 0.0, "some": 1.0, "none": 0.0}
    assert report.total.item() == pytest.approx(2.75)  # what is optimised is as before: nothing adds 0


class Waits(TorchDispatchMode):
    """Notes the operators for which a GPU is waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.noted: list[str] = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = str(function)
        by_mask = name.startswith("aten.index.Tensor") and any(
            index is not None and index.dtype == torch.bool for index in args[1]
        )
        if by_mask or "nonzero" in name or "_local_scalar" in name or "masked_select" in name:
            self.noted.append(name)
        return function(*args, **kwargs or {})


def test_the_objective_of_sagr_waits_for_no_gpu_and_its_spreads_are_right():
    policy = sagr().train()
    terms = policy(sample_of(policy, rows=4))
    with Waits() as waits:
        report = Objective()(terms)
    assert waits.noted == []
    spreads = {name: term for name, term in terms.items() if isinstance(term, Metric) and term.kind == "std"}
    assert spreads
    for name, term in spreads.items():
        expected = term.prediction[term.valid].detach().double().numpy().std(axis=0, ddof=1).mean()
        total, count = report.metrics[name].tolist()
        assert (total, count) == (pytest.approx(expected, rel=1e-5), 1.0)
