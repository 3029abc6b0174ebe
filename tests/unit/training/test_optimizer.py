"""What is decayed, what is not, and the state by name."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tempovla.training.config import ParameterGroupConfig, TrainConfig
from tempovla.training.optimizer import (
    GradientClip,
    build_optimizer,
    load_optimizer_tensors,
    optimizer_tensors,
    parameters_by_group,
    set_learning_rate,
)


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


class Parts(nn.Module):
    """A backbone with a tower in it, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.vlm = nn.ModuleDict({"vision": nn.Linear(2, 2), "language": nn.Linear(2, 2)})
        self.head = nn.Linear(2, 2)


def grouped(**groups: ParameterGroupConfig) -> TrainConfig:
    return TrainConfig(learning_rate=0.1, weight_decay=0.5, gradient_clip=1.0, parameter_groups=groups)


def test_a_parameter_is_of_the_longest_group_that_its_name_holds():
    wrapped = nn.ModuleDict({"base": Parts()})
    config = grouped(**{"vlm": ParameterGroupConfig(), "vlm.vision": ParameterGroupConfig()})
    found = parameters_by_group(wrapped, config)
    inner = wrapped["base"]
    assert [id(p) for p in found["vlm.vision"]] == [id(p) for p in inner.vlm["vision"].parameters()]
    assert [id(p) for p in found["vlm"]] == [id(p) for p in inner.vlm["language"].parameters()]
    assert [id(p) for p in found[""]] == [id(p) for p in inner.head.parameters()]


def test_a_group_has_its_own_rate_and_decay_on_the_schedule_of_all():
    policy, config = Parts(), grouped(vlm=ParameterGroupConfig(learning_rate=0.01, weight_decay=0.0))
    optimizer = build_optimizer(policy, config)
    set_learning_rate(optimizer, 0.05)  # half of the peak
    before = {name: parameter.detach().clone() for name, parameter in policy.named_parameters()}
    for parameter in policy.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    moved = {name: (before[name] - parameter.detach()) for name, parameter in policy.named_parameters()}
    torch.testing.assert_close(moved["vlm.vision.weight"], torch.full((2, 2), 0.005))  # Adam's first step is the rate
    torch.testing.assert_close(moved["head.bias"], torch.full((2,), 0.05))
    torch.testing.assert_close(moved["head.weight"], 0.05 + 0.05 * 0.5 * before["head.weight"])


def test_a_group_is_clipped_by_itself_and_the_norm_is_that_of_all():
    policy = Parts()
    for parameter in policy.parameters():
        parameter.grad = torch.ones_like(parameter)
    norm = GradientClip(policy, grouped(head=ParameterGroupConfig(gradient_clip=0.5)))()
    assert norm.item() == pytest.approx(18**0.5)
    squares = {
        name: sum(float(p.grad.square().sum()) for p in part.parameters()) for name, part in policy.named_children()
    }
    assert squares == {"vlm": pytest.approx(1.0, rel=1e-4), "head": pytest.approx(0.25, rel=1e-4)}


def test_a_group_of_nothing_is_named_with_the_parts_that_there_are():
    parts = nn.ModuleDict({"head": nn.Linear(1, 1), "vlm": nn.Linear(1, 1)})
    with pytest.raises(ValueError, match=r"'vision' is no module .* the policy has \['head', 'vlm'\]"):
        parameters_by_group(parts, grouped(vision=ParameterGroupConfig()))
    with pytest.raises(ValueError, match="learning_rate=0 must be greater than 0"):
        ParameterGroupConfig(learning_rate=0)
