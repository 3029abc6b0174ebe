"""What is decayed, what is not, and the state by name."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tempovla.training.config import TrainConfig
from tempovla.training.optimizer import build_optimizer, load_optimizer_tensors, optimizer_tensors


def tiny_network() -> nn.Module:
    network = nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3), nn.Linear(3, 3))
    network[2].weight._no_weight_decay = True
    network[2].bias.requires_grad_(False)
    return network


def test_only_unmarked_matrices_are_decayed_and_frozen_parameters_stay():
    network = tiny_network()
    before = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
    optimizer = build_optimizer(network, TrainConfig(learning_rate=0.1, weight_decay=0.5))
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for name, parameter in network.named_parameters():
        factor = 0.95 if name == "0.weight" else 1.0
        torch.testing.assert_close(parameter.detach(), before[name] * factor)


def take_steps(network: nn.Module, optimizer: torch.optim.Optimizer, count: int) -> None:
    for step in range(count):
        optimizer.zero_grad()
        network(torch.full((2, 3), 1.0 + step)).square().sum().backward()
        optimizer.step()


def test_state_by_name_goes_into_a_fresh_optimizer():
    network, copy = tiny_network(), tiny_network()
    optimizer = build_optimizer(network, TrainConfig())
    take_steps(network, optimizer, 3)
    saved = {name: value.clone() for name, value in optimizer_tensors(optimizer, network).items()}
    assert saved["step/0.weight"].item() == 3
    copy.load_state_dict(network.state_dict())
    fresh = build_optimizer(copy, TrainConfig())
    load_optimizer_tensors(fresh, copy, saved)
    take_steps(network, optimizer, 2)
    take_steps(copy, fresh, 2)
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), copy.parameters(), strict=True))


def test_a_wholly_frozen_policy_is_refused():
    network = nn.Linear(2, 2).requires_grad_(False)
    with pytest.raises(ValueError, match="no parameter with requires_grad=True"):
        build_optimizer(network, TrainConfig())
