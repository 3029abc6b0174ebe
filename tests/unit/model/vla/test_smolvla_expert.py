"""SmolVLA's action expert: what its layers see, beside a plain reference."""

from __future__ import annotations

import pytest
import torch
from tests.contract.samples import random_sample
from tests.smolvla_tiny import FRONT, WRIST, tiny_policy
from torch import Tensor

from tempovla.model.layers.embedding import sinusoidal_embedding
from tempovla.model.vla.smolvla_expert import ActionExpert, inner_width
from tempovla.model.vla.smolvla_wrapper import SmolVLAWrapper
from tempovla.model.vlm.smolvlm import PrefixCache

SHAPES = {"observation.state": (3,), FRONT: (3, 16, 16), WRIST: (3, 16, 16), "action": (4,), "instruction_tokens": (6,)}


def cache_of(policy: SmolVLAWrapper, missing: tuple[int, ...] = (2,), rows: int = 2) -> PrefixCache:
    """Seven random tokens, of which some are not valid."""
    tokens = torch.randn(rows, 7, 16, generator=torch.Generator().manual_seed(0))
    valid = torch.ones(rows, 7, dtype=torch.bool)
    valid[:, list(missing)] = False
    return policy.vlm.extend(tokens, valid)[1]


def chunks(count: int = 1, rows: int = 2) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(rows, count, 5, 6, generator=generator), torch.rand(rows, count, generator=generator)


def velocity(policy: SmolVLAWrapper, x: Tensor, flow_time: Tensor, cache: PrefixCache) -> Tensor:
    return policy.expert.velocity(x, flow_time, policy.expert.remember(cache), policy.vlm)


def reference(policy: SmolVLAWrapper, x: Tensor, flow_time: Tensor, cache: PrefixCache) -> Tensor:
    """Velocity (H, A) of one row, one head at a time, from the tokens that are valid."""
    expert, valid = policy.expert, cache.valid[0]
    time = sinusoidal_embedding(flow_time, expert.width).expand(len(x), -1)
    fused = expert.action_time_mlp_in(torch.cat([expert.action_in_proj(x), time], dim=1))
    hidden = expert.action_time_mlp_out(torch.nn.functional.silu(fused))
    heads, groups, dim = 4, 2, 4
    before, steps = int(valid.sum()), len(x)
    for index, layer in enumerate(expert.layers):
        attention, normed = layer.self_attn, layer.input_layernorm(hidden)
        crosses = index % 2 == 1
        key, value = (part[0][:, valid].transpose(0, 1) for part in cache.layers[index])  # (S, groups, dim)
        first = 0 if crosses else before
        cos, sin = policy.vlm.rotary(hidden, torch.arange(first, first + steps)[None])

        def turned(flat: Tensor, cos: Tensor = cos[0], sin: Tensor = sin[0]) -> Tensor:
            part = flat.reshape(len(flat), -1, dim)
            half = torch.cat([-part[..., dim // 2 :], part[..., : dim // 2]], dim=-1)
            return part * cos[:, None] + half * sin[:, None]

        query = turned(attention.q_proj(normed))
        if crosses:
            key = attention.k_proj(key.reshape(before, -1)).reshape(before, groups, dim)
            value = attention.v_proj(value.reshape(before, -1)).reshape(before, groups, dim)
        else:
            key = torch.cat([key, turned(attention.k_proj(normed))])
            value = torch.cat([value, attention.v_proj(normed).reshape(steps, groups, dim)])
        mixed = []
        for step in range(steps):
            upto = before if crosses else before + step + 1
            for head in range(heads):
                group = head // (heads // groups)
                weights = (key[:upto, group] @ query[step, head] / dim**0.5).softmax(dim=0)
                mixed.append(weights @ value[:upto, group])
        hidden = hidden + attention.o_proj(torch.stack(mixed).reshape(steps, -1))
        hidden = hidden + layer.mlp(layer.post_attention_layernorm(hidden))
    return expert.action_out_proj(expert.norm(hidden))


@torch.no_grad()
def test_velocities_are_those_of_a_plain_reference():
    policy = tiny_policy()
    x, flow_time = chunks(rows=1)
    cache = cache_of(policy, rows=1)
    expected = reference(policy, x[0, 0], flow_time[0], cache)
    torch.testing.assert_close(velocity(policy, x, flow_time, cache)[0, 0], expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_chunks_of_a_row_do_not_see_each_other():
    policy = tiny_policy()
    x, flow_time = chunks(3)
    cache = cache_of(policy)
    together = velocity(policy, x, flow_time, cache)
    alone = [velocity(policy, x[:, [k]], flow_time[:, [k]], cache) for k in range(3)]
    torch.testing.assert_close(together, torch.cat(alone, dim=1), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_a_step_sees_those_before_it_and_not_those_behind():
    policy = tiny_policy()
    x, flow_time = chunks()
    cache = cache_of(policy)
    before = velocity(policy, x, flow_time, cache)
    x[:, :, 2] += 1.0
    change = (velocity(policy, x, flow_time, cache) - before).abs().amax(dim=(0, 1, 3))
    assert change[:2].max() < 1e-6
    assert change[2:].min() > 1e-4


@torch.no_grad()
def test_without_its_own_steps_a_step_stands_alone():
    policy = tiny_policy(self_attn_every_n_layers=0)
    assert [layer.self_attn.crosses for layer in policy.expert.layers] == [True, True]
    x, flow_time = chunks()
    cache = cache_of(policy)
    before = velocity(policy, x, flow_time, cache)
    x[:, :, 2] += 1.0
    change = (velocity(policy, x, flow_time, cache) - before).abs().amax(dim=(0, 1, 3))
    assert [index for index, value in enumerate(change) if value > 1e-4] == [2]


@torch.no_grad()
def test_a_row_that_sees_nothing_still_has_a_velocity():
    policy = tiny_policy()
    given = velocity(policy, *chunks(), cache_of(policy, missing=tuple(range(7))))
    assert torch.isfinite(given).all()


def test_layers_take_turns_and_may_be_fewer_than_the_language_models():
    def kinds(**fields) -> list[bool]:
        policy = tiny_policy(vlm={"num_layers": 3}, **fields)
        return [layer.self_attn.crosses for layer in policy.expert.layers]

    assert kinds() == [False, True, False]
    assert kinds(self_attn_every_n_layers=1) == [False, False, False]
    assert kinds(num_expert_layers=1) == [False]
    policy = tiny_policy(num_expert_layers=1)
    cache = cache_of(policy)
    assert torch.equal(policy.expert.remember(cache).layers[0][0], cache.layers[0][0])


def test_it_is_as_wide_as_the_published_one():
    assert inner_width(720) == 2048  # beside SmolVLM2-500M
    assert inner_width(432) == 1280  # beside SmolVLM-256M
    policy = tiny_policy()
    assert policy.expert.width == 8
    cross, own = policy.expert.layers[1].self_attn, policy.expert.layers[0].self_attn
    assert tuple(own.k_proj.weight.shape) == (2 * 4, 8)
    assert tuple(cross.k_proj.weight.shape) == (2 * 4, 2 * 4)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_expert_layers": 2, "vlm": {"num_layers": 3}}, "num_expert_layers=2 does not divide the 3 layers"),
        ({"expert_width_multiplier": 0.2}, "expert_width_multiplier=0.2 of 16 makes an expert of width 3; choose"),
    ],
)
def test_sizes_that_do_not_fit_are_named(fields, message):
    with pytest.raises(ValueError, match=message):
        tiny_policy(**fields)


def test_recomputed_layers_run_twice_in_a_training_step():
    policy = tiny_policy().train()
    policy.enable_gradient_checkpointing()
    calls: list[int] = []
    policy.expert.layers[1].mlp.register_forward_pre_hook(lambda *_: calls.append(1))
    sample = random_sample(policy.windows(), SHAPES)
    policy(sample)["action_loss"].prediction.sum().backward()
    assert isinstance(policy.expert, ActionExpert)
    assert len(calls) == 2
