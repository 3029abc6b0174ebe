"""Perceptrons with LayerNorm: an ensemble is as many of them, computed together."""

from __future__ import annotations

import torch

from tempovla.model.layers.normed_mlp import EnsembleMLP, NormedMLP, SimNorm

SIZES = (6, 8, 8, 5)


def filled(module: torch.nn.Module) -> torch.nn.Module:
    """The module with weights that are all different from 0."""
    generator = torch.Generator().manual_seed(1)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.5, generator=generator)
    return module


def test_groups_become_distributions():
    x = torch.randn(4, 16, generator=torch.Generator().manual_seed(0))
    found = SimNorm(8)(x)
    assert (found >= 0).all()
    torch.testing.assert_close(found.unflatten(-1, (2, 8)).sum(dim=-1), torch.ones(4, 2))
    torch.testing.assert_close(found[:, :8], x[:, :8].softmax(dim=-1))


def test_their_values_and_gradients_are_those_of_a_softmax():
    generator = torch.Generator().manual_seed(2)
    x = (torch.randn(6, 16, generator=generator) * 30).requires_grad_()
    weights = torch.randn(6, 16, generator=generator)
    exact = x.unflatten(-1, (-1, 4)).softmax(dim=-1).flatten(-2)
    found = SimNorm(4)(x)
    torch.testing.assert_close(found, exact, rtol=1e-5, atol=1e-7)
    (expected,) = torch.autograd.grad((exact * weights).sum(), x)
    (gradient,) = torch.autograd.grad((found * weights).sum(), x)
    torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-6)


def test_an_output_that_starts_at_zero_does():
    assert not NormedMLP(SIZES, zero_output=True)(torch.randn(3, 6)).any()
    assert NormedMLP(SIZES)(torch.randn(3, 6)).any()
    assert not EnsembleMLP(3, SIZES)(torch.randn(3, 6)).any()


def test_each_member_is_a_perceptron_of_its_own():
    ensemble = filled(EnsembleMLP(3, SIZES))
    x = torch.randn(2, 4, 6, generator=torch.Generator().manual_seed(0))
    found = ensemble(x)
    assert found.shape == (3, 2, 4, 5)
    for member in range(3):
        alone = NormedMLP(SIZES)
        with torch.no_grad():
            for index, linear in enumerate(alone.linears):
                linear.weight.copy_(ensemble.weights[index][member].T)
                linear.bias.copy_(ensemble.biases[index][member, 0])
            for index, norm in enumerate(alone.norms):
                norm.weight.copy_(ensemble.scales[index][member, 0])
                norm.bias.copy_(ensemble.shifts[index][member, 0])
        torch.testing.assert_close(found[member], alone(x), rtol=1e-5, atol=1e-5)


def test_members_get_no_gradient_where_their_weights_are_detached_and_the_input_does():
    ensemble = filled(EnsembleMLP(2, SIZES))
    x = torch.randn(4, 6, requires_grad=True)
    ensemble(x, detach=True).square().sum().backward()
    assert all(parameter.grad is None for parameter in ensemble.parameters())
    assert x.grad is not None
    assert x.grad.any()
