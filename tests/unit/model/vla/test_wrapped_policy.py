"""A policy in a context: adapters and gradient checkpointing go to the one inside, and its config follows."""

from __future__ import annotations

import pytest
import torch
from tests.contract.policy_cases import CONTEXTS, remembering, seeded
from tests.contract.registry import POLICIES
from tests.contract.samples import random_contexts, random_sample
from tests.tiny import tiny_vla_config
from torch import Tensor

from tempovla.model.vla.context_policy import ContextPolicy, with_context
from tempovla.model.vla.vla_model import VLAModel
from tempovla.objective import Objective

SHAPES = POLICIES["vla-mlp"].shapes


def build(kind: str = "mamba", **options) -> ContextPolicy:
    context = remembering(**CONTEXTS[kind], **options)
    return seeded(lambda: with_context(VLAModel(tiny_vla_config("flow_matching", **context))))


def gradients(policy: ContextPolicy) -> dict[str, Tensor]:
    sample = random_sample(policy.training_windows(), SHAPES)
    policy.zero_grad()
    Objective()(policy(sample)).total.backward()
    return {name: weight.grad.clone() for name, weight in policy.named_parameters() if weight.grad is not None}


@torch.no_grad()
def acted(policy: ContextPolicy) -> Tensor:
    state, chunks = policy.initial_state(4), []
    for context in random_contexts(policy.windows(), SHAPES, steps=3):
        chunk, state = policy.act(context, state)
        chunks.append(chunk.value)
    return torch.stack(chunks)


@pytest.mark.parametrize("kind", ["mamba", "transformer", "working"])
def test_gradient_checkpointing_gives_identical_gradients(kind):
    policy, other = build(kind).train(), build(kind).train()
    other.enable_gradient_checkpointing()
    plain, checkpointed = gradients(policy), gradients(other)
    assert plain.keys() == checkpointed.keys()
    assert [name for name in plain if not torch.equal(plain[name], checkpointed[name])] == []


def test_gradient_checkpointing_reaches_the_policy_inside_and_the_context():
    policy = POLICIES["statevla-policy-all"].build()
    policy.enable_gradient_checkpointing()
    assert policy.base.encoder.encoder.mamba.recompute
    mamba = build("mamba")
    mamba.enable_gradient_checkpointing()
    stacks = [module for module in mamba.context.modules() if type(module).__name__ == "Mamba"]
    assert stacks
    assert all(stack.recompute for stack in stacks)


def test_adapters_learn_beside_the_context_are_saved_and_merge_to_the_same_outputs(tmp_path):
    pytest.importorskip("peft")
    policy = build("all")
    names = set(policy.state_dict())
    policy.enable_lora(r=2, alpha=4.0)
    assert policy.config.lora == policy.base.config.lora
    assert policy.config.lora.r == 2
    weights = [weight for weight in policy.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=0.05)
    for _ in range(2):
        assert gradients(policy)
        optimizer.step()
    language = [name for name, weight in policy.base.vlm.language.named_parameters() if weight.requires_grad]
    assert language
    assert all("lora_" in name for name in language)
    policy.eval()
    before = acted(policy)
    policy.save_pretrained(tmp_path / "adapted")
    again = VLAModel.from_pretrained(tmp_path / "adapted")
    assert again.config == policy.config
    assert torch.equal(acted(again), before)
    policy.merge_lora()
    assert policy.config.lora is None
    assert set(policy.state_dict()) == names
    torch.testing.assert_close(acted(policy), before, atol=1e-5, rtol=1e-5)


def test_adapters_of_frozen_features_are_refused():
    with pytest.raises(ValueError, match="freeze_base=true keeps the features as they are; set it to false"):
        build("mamba", freeze_base=True).enable_lora()
