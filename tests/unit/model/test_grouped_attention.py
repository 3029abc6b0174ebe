"""Attention with rotary positions in which several queries share a key."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tempovla.model.layers.grouped_attention import grouped_attend, join_heads, rotate, split_heads


def parts(heads: int, length: int, seed: int) -> Tensor:
    return torch.randn(2, heads, length, 8, generator=torch.Generator().manual_seed(seed))


def rotary(positions: Tensor) -> tuple[Tensor, Tensor]:
    angle = positions[..., None] / 100.0 ** (torch.arange(4) / 4)
    angle = torch.cat([angle, angle], dim=-1)
    return angle.cos(), angle.sin()


def test_heads_are_split_and_joined():
    x = torch.randn(2, 5, 12)
    assert split_heads(x, 4).shape == (2, 3, 5, 4)
    assert torch.equal(split_heads(x, 4)[:, 1], x[..., 4:8])
    assert torch.equal(join_heads(split_heads(x, 4)), x)


def test_rotation_is_that_of_transformers():
    from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

    query, key, turned = parts(4, 5, 0), parts(2, 5, 1), rotary(torch.arange(5.0).expand(2, 5))
    expected = apply_rotary_pos_emb(query, key, *turned)
    torch.testing.assert_close((rotate(query, turned), rotate(key, turned)), expected)


def test_scores_depend_on_the_distance_of_positions_alone():
    query, key = parts(1, 1, 0), parts(1, 1, 1)
    scores = [
        (rotate(query, rotary(torch.full((2, 1), a))) * rotate(key, rotary(torch.full((2, 1), b)))).sum()
        for a, b in ((3.0, 1.0), (9.0, 7.0), (3.0, 2.0))
    ]
    torch.testing.assert_close(scores[0], scores[1], atol=1e-4, rtol=0)
    assert (scores[0] - scores[2]).abs() > 1e-2


@pytest.mark.parametrize("autocast", [False, True], ids=["fused", "plain"])
def test_queries_share_keys_by_groups(autocast):
    query, key, value = parts(6, 3, 0), parts(2, 4, 1), parts(2, 4, 2)
    mask = torch.tensor([[[[True, False, True, True]]], [[[False, True, True, False]]]])
    scores = query @ key.repeat_interleave(3, dim=1).transpose(2, 3) * 8**-0.5
    expected = scores.masked_fill(~mask, -torch.inf).softmax(-1) @ value.repeat_interleave(3, dim=1)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        given = grouped_attend(query, key, value, mask).float()
    torch.testing.assert_close(given, expected, atol=5e-2 if autocast else 1e-5, rtol=0)
