"""Perceptrons for many rows compute what the perceptrons do, with the weights of now."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.nn import functional as F

from tempovla.model.layers.many_rows import BLOCK, for_many_rows, mish_
from tempovla.model.layers.normed_mlp import EnsembleMLP, NormedMLP

NETWORKS = {
    "one": lambda: NormedMLP((5, 24, 16, 7)),
    "several": lambda: EnsembleMLP(3, (5, 24, 16, 7), dropout=0.2),
    "one with SiLU": lambda: NormedMLP((5, 24, 16, 7), activation="silu"),
    "several with SiLU": lambda: EnsembleMLP(3, (5, 24, 16, 7), dropout=0.2, activation="silu"),
}


def network_of(name: str) -> NormedMLP | EnsembleMLP:
    """In evaluation mode, with weights that have learned something."""
    torch.manual_seed(0)
    made = NETWORKS[name]()
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return made.eval()


def rows(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, 5, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("shape", [(3,), (2, 4), (1, BLOCK + 7), (2, 3, BLOCK)])
def test_the_numbers_are_those_of_the_network(name, shape):
    network = network_of(name)
    fast = for_many_rows(network)
    assert fast is not network
    exact = copy.deepcopy(network).double()(rows(*shape).double())
    found = fast(rows(*shape))
    assert found.shape == exact.shape
    torch.testing.assert_close(found.double(), exact, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_a_function_keeps_the_weights_of_its_time():
    network = network_of("one")
    before = for_many_rows(network)
    expected = network(rows(4))
    network.linears[0].weight.mul_(2.0)
    torch.testing.assert_close(before(rows(4)), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(for_many_rows(network)(rows(4)), network(rows(4)), rtol=1e-4, atol=1e-5)


def test_with_a_gradient_or_another_type_it_is_the_network_itself():
    network = network_of("one")
    assert for_many_rows(network) is network
    with torch.no_grad():
        assert for_many_rows(copy.deepcopy(network).double()).__class__ is NormedMLP
        with torch.autocast("cpu", torch.bfloat16):
            assert for_many_rows(network) is network
        dropping = network_of("several").train()
        assert for_many_rows(dropping) is dropping


def test_mish_holds_for_great_and_small_numbers():
    x = torch.cat([torch.linspace(-30.0, 30.0, 601), torch.tensor([-1000.0, -100.0, 50.0, 100.0, 1000.0])])
    torch.testing.assert_close(mish_(x.clone()), F.mish(x), rtol=1e-6, atol=2e-6)
