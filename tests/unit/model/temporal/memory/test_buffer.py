"""Addressing and allocation of the key-value memory, and what it can learn."""

from __future__ import annotations

import pytest
import torch
from tests.contract.policy_cases import seeded
from torch import nn
from torch.nn import functional as F

from tempovla.model.temporal.memory.buffer import MemoryBuffer, MemoryConfig, allocation, free_least_used


def test_allocation_is_that_of_the_paper():
    # Ascending usage 0.1, 0.5, 0.9 in the slots 1, 0, 2: 0.9, then 0.5 * 0.1, then 0.1 * 0.1 * 0.5.
    weights = allocation(torch.tensor([[0.5, 0.1, 0.9]]))
    torch.testing.assert_close(weights, torch.tensor([[0.05, 0.9, 0.005]]))
    assert allocation(torch.zeros(1, 3)).tolist() == [[1, 0, 0]]
    assert allocation(torch.ones(1, 3)).tolist() == [[0, 0, 0]]


def test_the_least_used_slot_is_freed():
    usage = free_least_used(torch.tensor([[0.5, 0.25, 1.0]]), torch.tensor([[0.5]]))
    assert usage.tolist() == [[0.5, 0.125, 1.0]]


def writes_whole(memory):
    """The gates of an untrained memory, all the way open: every write allocates."""
    nn.init.zeros_(memory.gates.weight)
    memory.gates.bias.data = torch.tensor([30.0, 30.0, 30.0, 8.0])
    return memory


def test_writes_fill_free_slots_and_then_the_oldest():
    memory = writes_whole(seeded(lambda: MemoryBuffer(MemoryConfig(8, 3, 4, 8, 2, 2))))
    x = torch.randn(5, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for step in range(5):
            memory.write(x[step])
            assert (memory.held.strength > 0.99).sum() == min(step + 1, 3)
        expected = memory.write_value(memory.norm(x))[[3, 4, 2]]
    torch.testing.assert_close(memory.held.values[0], expected, atol=1e-4, rtol=1e-4)


def test_usage_and_strength_stay_between_0_and_1():
    memory = seeded(lambda: MemoryBuffer(MemoryConfig(8, 4, 4, 8, 2, 2)))
    with torch.no_grad():
        for x in 10 * torch.randn(200, 1, 8, generator=torch.Generator().manual_seed(0)):
            memory.write(x)
            for part in (memory.held.usage, memory.held.strength):
                assert ((part >= 0) & (part <= 1)).all()
            assert memory.held.values.abs().max() < 100


PAIRS, KEY, CLASSES = 101, 16, 8


class Recall(nn.Module):
    """Writes pairs of a key and a class, then asks for the class of one key."""

    def __init__(self, slots):
        super().__init__()
        self.memory = MemoryBuffer(MemoryConfig(32, slots, 16, 32, 2, 2))
        self.embed = nn.Linear(KEY + CLASSES, 32)
        self.classify = nn.Linear(32, CLASSES)

    def forward(self, keys, classes, asked):
        contents = self.embed(torch.cat([keys, F.one_hot(classes, CLASSES)], dim=-1))
        state = self.memory.initial_state(len(keys))
        for content in contents.unbind(1):
            state = self.memory.write_to(state, content)
        query = self.embed(F.pad(keys[torch.arange(len(keys)), asked], (0, CLASSES)))
        return self.classify(self.memory.read_from(state, query))


def pairs(rows, count, generator):
    keys = torch.randn(rows, count, KEY, generator=generator)
    return keys, torch.randint(CLASSES, (rows, count), generator=generator)


@pytest.mark.slow
def test_a_key_is_recalled_after_a_hundred_other_writes():
    model, generator = seeded(lambda: Recall(slots=8)), torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(model.parameters(), 6e-3)
    for _ in range(120):
        keys, classes = pairs(128, 6, generator)
        asked = torch.randint(6, (128,), generator=generator)
        loss = F.cross_entropy(model(keys, classes, asked), classes[torch.arange(128), asked])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    large = Recall(slots=128)  # no weight is of a slot
    large.load_state_dict(model.state_dict())
    keys, classes = pairs(256, PAIRS, generator)
    with torch.no_grad():
        found = large(keys, classes, torch.zeros(256, dtype=torch.int64)).argmax(-1)
    accuracy = (found == classes[:, 0]).float().mean().item()
    assert accuracy > 0.8  # chance is 0.125; 0.90 to 0.97 for five seeds
