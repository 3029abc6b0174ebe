"""Accumulated gradients equal those of one large batch."""

from __future__ import annotations

import pytest
import torch
from tests.rounding import tolerance
from tests.toy import LinearPolicy, toy_batch

from tempovla.objective import Objective
from tempovla.training.backward import LossGraph, backward


def gradients(policy: LinearPolicy, parts: list[torch.Tensor], seed=lambda batch: torch.manual_seed(batch)):
    policy.zero_grad()
    report = backward(LossGraph(policy, Objective(), None), [toy_batch(part) for part in parts], seed)
    return report, {name: parameter.grad.clone() for name, parameter in policy.named_parameters()}


@pytest.mark.parametrize("sizes", [(4, 4, 4), (1, 9, 2)])
def test_batches_give_the_loss_and_gradient_of_one_with_unequal_numbers_of_valid_entries(sizes):
    policy = LinearPolicy()
    whole, expected = gradients(policy, [torch.arange(12)])
    parts, found = gradients(policy, list(torch.arange(12).split(sizes)))
    assert parts.total.item() == pytest.approx(whole.total.item(), rel=tolerance(roundings=100))
    for name, value in whole.terms.items():
        assert parts.terms[name].item() == pytest.approx(value.item(), rel=tolerance(roundings=100)), name
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-5, atol=1e-7, msg=name)


def test_both_passes_over_a_batch_draw_the_same_dropout():
    policy = LinearPolicy(dropout=0.5)
    parts = list(torch.arange(12).split(4))
    report, found = gradients(policy, parts)
    policy.zero_grad()
    joined = []
    for index, part in enumerate(parts):
        torch.manual_seed(index)
        joined.append(policy(toy_batch(part))["action"])
    prediction, target, valid = (
        torch.cat([getattr(t, name) for t in joined]) for name in ("prediction", "target", "valid")
    )
    loss = (prediction - target)[valid].square().mean()
    assert report.terms["action"].item() == pytest.approx(loss.item(), rel=tolerance(roundings=100))
    loss.backward()
    torch.testing.assert_close(found["head.weight"], policy.head.weight.grad, rtol=tolerance(), atol=1e-6)


def test_bfloat16_computes_predictions_but_loss_and_gradients_stay_float32():
    policy = LinearPolicy()
    exact, expected = gradients(policy, [torch.arange(8)])
    policy.zero_grad()
    report = backward(LossGraph(policy, Objective(), torch.bfloat16), [toy_batch(torch.arange(8))], lambda batch: None)
    assert report.total.dtype == torch.float32
    assert report.total.item() != exact.total.item()
    assert report.total.item() == pytest.approx(exact.total.item(), rel=0.02)
    found = policy.head.weight.grad
    assert found.dtype == torch.float32
    assert (found - expected["head.weight"]).norm() < 0.05 * expected["head.weight"].norm()
