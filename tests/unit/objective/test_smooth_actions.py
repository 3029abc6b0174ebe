"""The temporal loss: the formula where all is valid, and nothing of what is not."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tempovla.model.action_head import MLPActionHead
from tempovla.objective import Objective, temporal_loss
from tempovla.timeline import LossTerm


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def formula(predictions: Tensor, targets: Tensor, weight: float) -> Tensor:
    return F.mse_loss(predictions, targets) + weight * predictions.diff(dim=1).pow(2).mean()


@pytest.mark.parametrize("weight", [0.0, 0.1, 2.0])
def test_where_all_is_valid_it_is_the_formula_and_so_are_its_gradients(weight):
    predictions, targets = drawn(3, 5, 2).requires_grad_(), drawn(3, 5, 2, seed=1)
    loss = temporal_loss(predictions, targets, None, weight)
    expected = formula(predictions, targets, weight)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(*(torch.autograd.grad(x, predictions)[0] for x in (loss, expected)))
    for shape in ((3,), (3, 5), (3, 5, 2)):
        full = torch.ones(shape, dtype=torch.bool)
        torch.testing.assert_close(temporal_loss(predictions, targets, None, weight, full), expected)


def test_the_weight_is_a_tenth_unless_given():
    predictions, targets = drawn(3, 5, 2), drawn(3, 5, 2, seed=1)
    torch.testing.assert_close(temporal_loss(predictions, targets), formula(predictions, targets, 0.1))


def test_single_actions_have_no_difference_over_time():
    predictions, targets = drawn(3, 2), drawn(3, 2, seed=1)
    torch.testing.assert_close(temporal_loss(predictions, targets, None, 5.0), F.mse_loss(predictions, targets))
    alone = temporal_loss(predictions[:, None], targets[:, None], None, 5.0)
    torch.testing.assert_close(alone, F.mse_loss(predictions, targets))


def test_an_encoder_in_the_third_place_changes_nothing():
    predictions, targets = drawn(3, 5, 2), drawn(3, 5, 2, seed=1)
    assert temporal_loss(predictions, targets, nn.Linear(2, 2)).equal(temporal_loss(predictions, targets))


def test_a_difference_counts_where_both_of_its_steps_are_valid():
    predictions = torch.tensor([[[0.0], [1.0], [3.0], [7.0]]])
    valid = torch.tensor([[True, True, False, True]])
    loss = temporal_loss(predictions, predictions.clone(), None, 1.0, valid)
    assert loss.item() == pytest.approx(1.0)  # of the first two steps alone


@pytest.mark.parametrize("shape", [(4,), (4, 6), (4, 6, 3)])
@pytest.mark.parametrize("junk", [1e6, float("inf"), float("nan")])
def test_what_is_invalid_changes_neither_loss_nor_gradients_even_as_nan(shape, junk):
    valid = torch.rand(shape, generator=torch.Generator().manual_seed(2)) > 0.4
    entries = valid.reshape(*shape, *[1] * (3 - len(shape))).expand(4, 6, 3)
    results = []
    for value in (0.0, junk):
        predictions = torch.where(entries, drawn(4, 6, 3), value).requires_grad_()
        loss = temporal_loss(predictions, torch.where(entries, drawn(4, 6, 3, seed=1), value), None, 0.3, valid)
        results.append((loss, *torch.autograd.grad(loss, predictions)))
    torch.testing.assert_close(*results, rtol=0, atol=0)
    assert torch.isfinite(results[1][1]).all()
    assert not results[1][1][~entries].any()


def test_with_nothing_valid_it_is_zero():
    predictions = torch.full((2, 3, 1), float("nan"), requires_grad=True)
    loss = temporal_loss(predictions, torch.zeros(2, 3, 1), valid=torch.zeros(2, 3, dtype=torch.bool))
    loss.backward()
    assert loss.item() == 0.0
    assert not predictions.grad.any()


def test_it_is_what_a_policy_with_lambda_temporal_minimises():
    head = MLPActionHead(4, 2, chunk_size=5, loss="mse")
    valid = torch.rand(3, 5, generator=torch.Generator().manual_seed(3)) > 0.3
    features, actions = drawn(3, 4), drawn(3, 5, 2, seed=1)
    terms = dict(head.loss_terms(features, actions, valid))
    terms["temporal_loss"] = LossTerm.smoothness(terms["action_loss"].prediction, valid, 0.2)
    torch.testing.assert_close(temporal_loss(head(features), actions, None, 0.2, valid), Objective()(terms).total)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            (torch.zeros(2, 3, 4, 5), torch.zeros(2, 3, 4, 5)),
            r"\(2, 3, 4, 5\) must be \(B, T, A\) or \(B, A\); reshape",
        ),
        ((torch.zeros(2), torch.zeros(2)), r"\(2,\) must be \(B, T, A\) or \(B, A\)"),
        ((torch.zeros(2, 3), torch.zeros(2, 4)), r"target \(2, 4\) must have the prediction's shape \(2, 3\)"),
        ((torch.zeros(2, 3), torch.zeros(2, 3), None, -0.1), r"lambda_temporal=-0.1 must not be negative"),
        ((torch.zeros(2, 3, 1), torch.zeros(2, 3, 1), None, 0.1, torch.ones(2, 3)), r"must be bool and a prefix"),
        ((torch.zeros(2, 3, 1), torch.zeros(2, 3, 1), None, 0.1, torch.ones(3) > 0), r"prefix of the predictions'"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(arguments, message):
    with pytest.raises(ValueError, match=message) as error:
        temporal_loss(*arguments)
    assert "\n" not in str(error.value)
