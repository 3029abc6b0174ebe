"""Sharding in one process: what is refused, what is kept, and what goes back together."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest
import torch
from tests.toy import LinearPolicy, ToyStream, toy_batch
from torch import nn
from torch.distributed.tensor import DTensor

from tempovla.objective import Objective
from tempovla.training.backward import LossGraph, backward
from tempovla.training.config import TrainConfig
from tempovla.training.fit import fit
from tempovla.training.optimizer import build_optimizer, load_optimizer_tensors, optimizer_tensors
from tempovla.training.parallel import gathered, local, parallel, scattered, shard

CONFIG = TrainConfig(train_steps=2, batch_size=4, save_interval=0, num_threads=1, parallel="fsdp")


def graph_of(policy: nn.Module, dtype: torch.dtype | None = None) -> LossGraph:
    return LossGraph(policy, Objective(), dtype)


def test_one_process_says_that_it_holds_everything(tmp_path, caplog):
    policy = LinearPolicy()
    graph = graph_of(policy)
    with caplog.at_level(logging.INFO):
        assert parallel(graph, CONFIG) is graph
    assert "training.parallel=fsdp: one process holds everything; start several with torchrun" in caplog.text
    assert not any(isinstance(weight, DTensor) for weight in policy.parameters())
    assert fit(policy, ToyStream(), CONFIG, tmp_path, bundle=policy.bundle).train_step == 2


def test_an_unknown_way_is_refused():
    with pytest.raises(ValueError, match=r"training.parallel='tensor' is unknown; choose ddp or fsdp"):
        replace(CONFIG, parallel="tensor")


class Unitless(LinearPolicy):
    shard_units = None  # a class of its own, as what a class can do is looked up once


def test_a_policy_without_units_is_one(alone_in_a_group, caplog):
    policy = Unitless()
    shard(graph_of(policy))
    assert "Unitless has no shard_units(), so its weights are put together all at once" in caplog.text
    assert all(isinstance(weight, DTensor) for weight in policy.parameters())


def test_a_scalar_weight_is_refused(alone_in_a_group):
    policy = LinearPolicy()
    policy.temperature = nn.Parameter(torch.tensor(1.0))
    with pytest.raises(ValueError, match=r"weight 'temperature' is a scalar, .*; give it shape \(1,\)"):
        shard(graph_of(policy))


def test_a_weight_shared_between_units_is_refused(alone_in_a_group):
    policy = LinearPolicy()
    policy.tied = nn.Linear(6, 8)
    policy.tied.weight = policy.encoder.weight
    with pytest.raises(ValueError, match=r"weight 'tied.weight' is shared between units of .*; leave these out"):
        shard(graph_of(policy))


class TiedPolicy(LinearPolicy):
    """Two layers outside of any unit with one weight."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(1)
            self.one, self.other = nn.Linear(8, 8), nn.Linear(8, 8)
        self.other.weight = self.one.weight

    def _code(self, context):
        return self.other(self.one(super()._code(context)))


def gradients(policy: nn.Module, graph: LossGraph) -> dict[str, torch.Tensor]:
    backward(graph, [toy_batch(torch.arange(6))], torch.manual_seed)
    return {name: local(weight.grad) for name, weight in policy.named_parameters() if weight.grad is not None}


def test_a_weight_shared_within_a_unit_learns_from_both_uses(alone_in_a_group):
    whole, sharded = TiedPolicy(), TiedPolicy()
    graph = graph_of(sharded)
    shard(graph)
    torch.testing.assert_close(gradients(sharded, graph), gradients(whole, graph_of(whole)))
    assert sharded.one.weight is sharded.other.weight


def test_weights_of_two_dtypes_that_learn_side_by_side_are_refused(alone_in_a_group):
    policy = LinearPolicy()
    policy.head.bfloat16()
    policy.extra = nn.Linear(2, 2)
    with pytest.raises(
        ValueError, match=r"'torch.bfloat16', 'torch.float32'.* of several types learn in LossGraph; give"
    ):
        shard(graph_of(policy))


def with_frozen_bfloat16(policy: LinearPolicy) -> LinearPolicy:
    """As adapters in float32 learn beside a language model in bfloat16, in a unit and outside."""
    base = nn.Parameter(torch.ones(3, 2, dtype=torch.bfloat16), requires_grad=False)
    policy.encoder.register_parameter("base", base)
    policy.extra = nn.Linear(2, 2).bfloat16().requires_grad_(False)
    return policy


def test_frozen_weights_may_have_another_dtype(alone_in_a_group):
    whole, sharded = (with_frozen_bfloat16(LinearPolicy()) for _ in range(2))
    graph = graph_of(sharded)
    shard(graph)
    torch.testing.assert_close(gradients(sharded, graph), gradients(whole, graph_of(whole)))
    assert sharded.encoder.base.dtype == torch.bfloat16


def test_marks_on_weights_and_the_order_in_memory_do_not_matter(alone_in_a_group):
    policy = LinearPolicy()
    policy.encoder.weight._no_weight_decay = True
    policy.head.weight.data = policy.head.weight.data.T.contiguous().T
    shard(graph_of(policy))
    decayed, plain = build_optimizer(policy, CONFIG).param_groups
    assert [tuple(weight.shape) for weight in decayed["params"]] == [(8, 8)]
    assert {tuple(weight.shape) for weight in plain["params"]} == {(8, 6), (8,)}


def test_autocast_follows_the_unsharded_run(alone_in_a_group):
    whole, sharded = LinearPolicy(), LinearPolicy()
    graph = graph_of(sharded, torch.bfloat16)
    shard(graph)
    torch.testing.assert_close(gradients(sharded, graph), gradients(whole, graph_of(whole, torch.bfloat16)))


def test_the_optimizer_of_a_sharded_policy_is_saved_whole_and_loaded_in_shards(alone_in_a_group):
    policy = LinearPolicy()
    graph = graph_of(policy)
    shard(graph)
    gradients(policy, graph)
    optimizer = build_optimizer(policy, CONFIG)
    optimizer.step()
    saved = gathered(optimizer_tensors(optimizer, policy))
    assert not any(isinstance(value, DTensor) for value in saved.values())
    fresh = build_optimizer(policy, CONFIG)
    load_optimizer_tensors(fresh, policy, saved)
    loaded = optimizer_tensors(fresh, policy)
    assert isinstance(loaded["exp_avg/head.weight"], DTensor)
    assert all(torch.equal(value, saved[name]) for name, value in gathered(loaded).items())


def test_scattered_and_gathered_are_inverse(alone_in_a_group):
    policy = LinearPolicy()
    shard(graph_of(policy))
    weight = policy.head.weight.detach()
    value = torch.randn(weight.shape)
    assert torch.equal(gathered({"w": scattered(value, weight)})["w"], value)
    assert scattered(value, value) is value
