"""The ring of slots, its gated writes, and its reads."""

from __future__ import annotations

import torch
from tests.contract.policy_cases import seeded
from torch import nn

from tempovla.model.temporal.memory.slots import SlotAttention
from tempovla.model.temporal.memory.working import WorkingMemory, empty_ring


def test_a_ring_keeps_the_last_vectors_and_their_ages():
    ring = empty_ring(torch.zeros(1), 2, slots=3, dim=1)
    assert ring.filled.tolist() == [[False] * 3] * 2
    for step in range(5):  # row 1 takes every other step only
        ring = ring.push(torch.full((2, 1), step + 1.0), torch.tensor([True, step % 2 == 0]))
    assert ring.slots[..., 0].tolist() == [[4, 5, 3], [1, 3, 5]]
    assert ring.ages.tolist() == [[1, 0, 2], [2, 1, 0]]
    assert ring.next_slot.tolist() == [2, 0]
    assert ring.count.tolist() == [3, 3]


def test_an_empty_slot_takes_the_state_whole_and_a_full_one_what_the_gate_lets_in():
    memory = WorkingMemory(2, memory_slots=1, num_heads=1)
    nn.init.zeros_(memory.write_gate.weight)
    memory.write_gate.bias.data = torch.tensor([0.0, 20.0])
    memory.update(torch.tensor([1.0, 1.0]))
    assert memory.held.slots.tolist() == [[[1.0, 1.0]]]
    memory.update(torch.tensor([3.0, 3.0]))
    assert torch.allclose(memory.held.slots, torch.tensor([[[2.0, 3.0]]]))


def test_the_gated_update_mixes_the_state_with_what_it_recalls():
    memory = WorkingMemory(4, memory_slots=2, num_heads=2)
    nn.init.zeros_(memory.output_gate.weight)
    nn.init.zeros_(memory.output_gate.bias)
    memory.update(torch.randn(3, 4))
    x = torch.randn(3, 4)
    assert torch.allclose(memory.get_gated_update(x), (x + memory.read(x)) / 2)
    assert torch.equal(memory.gated_update(memory.held, x), memory.get_gated_update(x))


def test_slot_attention_is_multi_head_attention_with_a_null_in_front():
    attention = seeded(lambda: SlotAttention(8, 2))
    reference = nn.MultiheadAttention(8, 2, batch_first=True)
    weights = (attention.query.weight, attention.key.weight, attention.value.weight)
    reference.in_proj_weight.data = torch.cat(weights)
    reference.in_proj_bias.data = torch.cat([attention.query.bias, torch.zeros(8), attention.value.bias])
    reference.out_proj.load_state_dict(attention.out.state_dict())
    query, slots, filled = torch.randn(3, 5, 8), torch.randn(3, 4, 8), torch.rand(3, 4) > 0.5
    seen = torch.cat([attention.null.expand(3, -1, -1), slots], dim=1)
    hidden = torch.cat([torch.zeros(3, 1, dtype=torch.bool), ~filled], dim=1)
    expected = reference(query, seen, seen, key_padding_mask=hidden, need_weights=False)[0]
    torch.testing.assert_close(attention(query, slots, filled), expected)
