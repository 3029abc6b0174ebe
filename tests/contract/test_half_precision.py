"""Weights in bfloat16 and float16: every policy, head and memory runs, and stays as close as the format allows.

A result is compared with that of the same weights in float32. The bounds are multiples of the format's own precision,
for a dozen roundings one after the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
import torch
from tests.contract.memory_cases import random_sequence
from tests.contract.policy_cases import PolicyCase, seeded
from tests.contract.registry import MEMORIES, POLICIES
from tests.contract.samples import random_contexts, random_sample
from tests.half_precision import HALVES, ROUNDINGS, assert_close
from tests.unit.model.action_head.heads import ACTION, CASES, FEATURES, HORIZON, build, random
from torch import Tensor, nn

from tempovla.model.world_model.temporal_predictor import InverseDynamics, TemporalPredictor
from tempovla.objective import Objective
from tempovla.timeline import training_windows

DRAWS_WORDS = {
    *("openvla", "vla-gaussian", "vla-transformer", "gaussian-mixture"),
    *("world-model-tdmpc", "world-model-dreamer", "world-model-dreamer-plans"),
}
"""Their actions follow from a choice among words, modes, classes or plans, which the last bit can turn: the loss alone
is compared."""
CHOSEN_ROUNDINGS = 4 * ROUNDINGS
"""Of a memory whose slots are chosen by content, so that small differences grow."""

SEEDS = torch.tensor([3, 1, 4, 15])


def excited(module: nn.Module) -> nn.Module:
    """The module without weights that are all zero, behind which errors would hide."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in module.parameters():
            if weight.is_floating_point() and not weight.any():
                weight.copy_(0.05 * torch.randn(weight.shape, generator=generator))
    return module


def weights_of(memory: Any) -> nn.Module:
    """The module of a memory, which may be held by another object."""
    return memory if isinstance(memory, nn.Module) else memory.encoder


def loss(policy: Any, case: PolicyCase) -> Tensor:
    return Objective()(policy(random_sample(training_windows(policy), case.shapes, body=case.body))).total


@torch.no_grad()
def actions(policy: Any, case: PolicyCase) -> Iterator[Tensor]:
    """Chunks of three decisions, without a gripper, which a rounding error can open."""
    state = policy.initial_state(4)
    for context in random_contexts(policy.windows(), case.shapes, steps=3, body=case.body):
        chunk, state = policy.act(context, state)
        yield chunk.value[..., : -1 if getattr(policy.config, "has_gripper", False) else None]


@cache
def in_full_precision(name: str) -> tuple[Tensor, list[Tensor]]:
    """The loss and the chunks of a policy, with which those of both formats are compared."""
    case = POLICIES[name]
    policy = excited(case.build())
    return loss(policy, case).detach(), list(actions(policy, case))


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("name", [name for name in POLICIES if name != "toy"])
def test_a_policy_learns_and_acts(name, dtype):
    case = POLICIES[name]
    low = excited(case.build()).to(dtype)
    expected_loss, expected_chunks = in_full_precision(name)
    loss_low = loss(low, case)
    assert loss_low.dtype == torch.float32
    assert_close(loss_low, expected_loss, dtype)
    loss_low.backward()
    for chunk, expected in zip(actions(low, case), expected_chunks, strict=True):
        assert chunk.dtype == torch.float32
        if name in DRAWS_WORDS:
            assert chunk.isfinite().all()
        else:
            roundings = CHOSEN_ROUNDINGS if "buffer" in name else ROUNDINGS
            assert_close(chunk, expected, dtype, roundings, scale=float("diffusion" in name))


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("name", CASES)
def test_a_head_learns_and_draws_from_features_of_its_own_and_of_full_precision(name, dtype):
    full, low = build(name), build(name).to(dtype)
    features, wanted = random(4, 6, FEATURES), 0.5 * random(4, HORIZON, ACTION, seed=1).clamp(-1, 1)
    valid = torch.ones(4, HORIZON, dtype=torch.bool)
    expected = Objective()(full.loss_terms(features, wanted, valid, SEEDS)).total
    for given in (features, features.to(dtype)):
        term = Objective()(low.loss_terms(given, wanted, valid, SEEDS)).total
        assert_close(term, expected, dtype)
        chunk = low.sample(given, SEEDS)
        assert chunk.dtype == torch.float32
        if name in DRAWS_WORDS or name.startswith("transformer"):
            assert chunk.isfinite().all()
        else:
            assert_close(chunk, full.sample(features, SEEDS), dtype, scale=float("diffusion" in name))


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize(
    "name", [name for name in MEMORIES if name not in ("toy", "rssm-categorical")]
)  # it draws words
def test_a_memory_reads_a_sequence_at_once_and_step_by_step(name, dtype):
    case = MEMORIES[name]
    full, low, x = case.build(), case.build(), random_sequence(case.features)
    weights_of(low).to(dtype)
    roundings = CHOSEN_ROUNDINGS if "buffer" in name else ROUNDINGS
    with torch.no_grad():
        expected, _ = full.forward(x, full.initial_state(4))
        for given in (x, x.to(dtype)):
            at_once, _ = low.forward(given, low.initial_state(4))
            assert_close(at_once, expected, dtype, roundings)
            state, outputs = low.initial_state(4), []
            for step in range(x.shape[1]):
                output, state = low.step(given[:, step], state)
                outputs.append(output)
            assert_close(torch.stack(outputs, dim=1), expected, dtype, roundings)


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("model", [TemporalPredictor, InverseDynamics])
def test_predictors_of_world_models_take_states_and_actions_of_full_precision(model, dtype):
    full, low = (seeded(lambda: model(8, 6, 16)) for _ in range(2))
    z, other = random(4, 8), random(4, 6 if model is TemporalPredictor else 8, seed=1)
    assert_close(low.to(dtype)(z, other), full(z, other), dtype)
