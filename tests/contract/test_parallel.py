"""Sharded over one process, every policy has the loss, gradients and steps that it has unsharded.

With one process nothing is divided, but whatever of a unit's weights is used outside of a call of it fails just as with
many: there it is a shard. The optimiser works on what a process holds: torch takes half of the time to find out how to
clip and step so many sharded tensors at once, which is the same for every policy and is tested with two processes in
`tests/unit/training/test_distributed.py`.
"""

from __future__ import annotations

import pytest
import torch
from tests.contract.registry import POLICIES
from tests.contract.samples import random_sample
from tests.rounding import smooth_steps, tolerance
from torch import nn
from torch.distributed.tensor import DTensor

from tempovla.objective import Objective
from tempovla.timeline import laws, training_windows
from tempovla.training.backward import LossGraph, backward
from tempovla.training.config import TrainConfig
from tempovla.training.optimizer import build_optimizer, trainable_parameters
from tempovla.training.parallel import local, shard


@smooth_steps()
def two_steps(name: str, sharded: bool) -> tuple[list[float], list[dict[str, torch.Tensor]]]:
    """Totals and gradient norms of two optimiser steps; the clipped gradients of each, and the weights after them.

    The first step is over two batches, the second over one: whatever the first leaves behind, the second meets.
    """
    case = POLICIES[name]
    policy = case.build()
    graph = LossGraph(policy.train(), Objective(), None)
    if sharded:
        shard(graph)
        assert all(isinstance(weight, DTensor) for weight in policy.parameters())
    samples = [
        laws.with_gaps(random_sample(training_windows(policy), case.shapes, rows=2, seed=seed, body=case.body))
        for seed in range(3)
    ]
    learning = trainable_parameters(policy)
    held = {key: nn.Parameter(local(weight)) for key, weight in learning.items()}  # in the same memory
    optimizer = build_optimizer(nn.ParameterList(held.values()), TrainConfig(learning_rate=1e-2))
    figures, tensors = [], []
    for step, batches in enumerate([samples[:2], samples[2:]], start=1):
        graph.zero_grad(set_to_none=True)
        report = backward(graph, batches, torch.manual_seed)
        for key, weight in learning.items():
            held[key].grad = None if weight.grad is None else local(weight.grad)
        figures += [report.total.item(), nn.utils.clip_grad_norm_(held.values(), 1.0).item()]
        tensors.append({key: share.grad.clone() for key, share in held.items() if share.grad is not None})
        optimizer.step()
        policy.after_step(step)
    return figures, [*tensors, {key: local(value).detach() for key, value in policy.state_dict().items()}]


@pytest.mark.parametrize("name", sorted(POLICIES))
def test_a_sharded_policy_learns_as_a_whole_one(alone_in_a_group, name):
    figures, (*gradients, weights) = two_steps(name, sharded=True)
    expected_figures, (*expected, expected_weights) = two_steps(name, sharded=False)
    assert figures == pytest.approx(expected_figures, rel=tolerance())
    for found, wanted in zip(gradients, expected, strict=True):
        assert found.keys() == wanted.keys()
        for key, gradient in wanted.items():  # the norm of all together is 1: what is zero but for rounding is small
            near = tolerance() * gradient.norm() + tolerance(roundings=100)
            assert (found[key] - gradient).norm() <= near, key
    torch.testing.assert_close(weights, expected_weights, rtol=1e-6, atol=1e-6)
