"""A sequence in one pass gives what steps give: outputs, states, gradients of inputs, carried states and weights."""

from __future__ import annotations

import random

import pytest
import torch

from tempovla.model.temporal.memory import slots
from tempovla.model.temporal.memory.buffer import MemoryBuffer, MemoryConfig
from tempovla.model.temporal.memory.consolidation import LongTerm, consolidate, consolidate_sequence
from tempovla.model.temporal.memory.hierarchical import HierarchicalMemory
from tempovla.model.temporal.memory.working import WorkingMemory

DIM = 8


def by_steps(memory, x, state, valid):
    outputs = []
    for step in range(x.shape[1]):
        output, state = memory.step(x[:, step], state, valid[:, step])
        outputs.append(output)
    return torch.stack(outputs, 1), state


def at_once(memory, x, state, valid):
    return memory(x, state, None if valid.all() else valid)


def random_case(kind, seed, dtype):
    """A memory of random size and weights, inputs, which are valid, and a state with rows at different places."""
    choose = random.Random(seed)
    torch.manual_seed(seed)
    slots, rows = choose.randint(1, 6), choose.randint(1, 4)
    if kind == "working":
        memory = WorkingMemory(DIM, slots, 2)
    elif kind == "buffer":
        memory = MemoryBuffer(MemoryConfig(DIM, choose.choice([3, 8, 64]), 4, 8, 2, 2))
    else:
        memory = HierarchicalMemory(DIM, slots, choose.randint(1, 8), 2, choose.choice([0.1, 0.5, 0.9]))
    memory = memory.to(dtype)
    for weight in memory.parameters():
        weight.data.normal_(std=0.5)
    steps = choose.choice([2, 5, 17, 23])
    x, valid = torch.randn(rows, steps, DIM, dtype=dtype), torch.rand(rows, steps) >= choose.choice([0, 0.3, 0.9])
    before = choose.choice([1, 3, 12])
    with torch.no_grad():
        past = torch.randn(rows, before, DIM, dtype=dtype)
        state = by_steps(memory, past, memory.initial_state(rows), torch.rand(rows, before) > 0.3)[1]
    return memory, x, state.reset(torch.rand(rows) > choose.choice([0, 0.7, 1])), valid


def filled_vectors(state):
    """What a state holds that can carry a gradient, zeros where nothing is."""
    if hasattr(state, "entries"):
        return [state.slots * state.short.filled[..., None], state.entries * state.long.filled[..., None]]
    if hasattr(state, "strength"):
        filled = (state.strength > 0)[..., None]
        return [state.keys * filled, state.values * filled, state.strength, state.usage]
    return [state.slots * state.filled[..., None]]


def results(run, memory, x, state, valid):
    """Outputs and the state at the end; gradients of both, by inputs, the carried state and all weights in use."""
    vectors = {name: value for name, value in vars(state).items() if name in ("slots", "entries", "keys", "values")}
    leaves = {name: value.clone().requires_grad_() for name, value in ({"x": x} | vectors).items()}
    carried = type(state)(**(vars(state) | {name: leaves[name] for name in vectors}))
    output, end = run(memory, leaves["x"], carried, valid)
    generator = torch.Generator().manual_seed(0)
    loss = sum(
        (value * torch.randn(value.shape, generator=generator, dtype=x.dtype)).sum()
        for value in (output, *filled_vectors(end))
    )
    # A weight that is not part of the graph raises: a distributed step waits for every gradient.
    leaves |= {name: weight for name, weight in memory.named_parameters() if "output_gate" not in name}
    gradients = torch.autograd.grad(loss, list(leaves.values()))
    return {"output": output, **vars(end)}, dict(zip(leaves, gradients, strict=True))


@pytest.mark.parametrize("kind", ["buffer", "working", "hierarchical"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)], ids=["64", "32"])
def test_a_sequence_at_once_is_equal_to_its_steps(kind, dtype, tolerance, monkeypatch):
    monkeypatch.setattr(slots, "MIN_BLOCK", 3)  # several blocks in a short sequence
    for seed in range(10):
        case = random_case(kind, seed, dtype)
        for part, expected, actual in zip(
            ("values", "gradients"), results(by_steps, *case), results(at_once, *case), strict=True
        ):
            for name, value in expected.items():
                scale = value.abs().max().clamp(min=1)
                difference = (value - actual[name]).abs().max() / scale
                assert difference <= tolerance, f"seed {seed}: {part} of {name} differ by {difference:.1e}"


@pytest.mark.parametrize("kind", ["working", "hierarchical"])
def test_gradients_through_a_sequence_are_the_numerical_ones(kind):
    memory, x, state, valid = random_case(kind, 3, torch.float64)
    x, valid = x[:, :5], valid[:, :5]

    def run(x, slots):
        return memory(x, type(state)(**(vars(state) | {"slots": slots})), valid)[0]

    inputs = (x.requires_grad_(), state.slots.clone().requires_grad_())
    assert torch.autograd.gradcheck(run, inputs, fast_mode=True)


@pytest.mark.parametrize("size", [2, 5, 30])
def test_the_sequence_of_consolidation_makes_the_same_choices(size):
    generator = torch.Generator().manual_seed(size)
    x, valid = torch.randn(3, 40, 4, generator=generator), torch.rand(3, 40, generator=generator) > 0.3
    memory = LongTerm(torch.zeros(3, size, 4), torch.zeros(3, size))
    vectors, seen, after = consolidate_sequence(memory, x, valid, 0.2)
    for step in range(40):
        memory = consolidate(memory, x[:, step], valid[:, step], 0.2)
        for row in range(3):
            entries = memory.entries[row, memory.filled[row]]
            known = vectors[row, seen[row, step]]
            assert torch.cdist(entries[None], known[None])[0].amin(1).max() < 1e-6 if len(entries) else len(known) == 0
            assert len(known) == len(entries)
    assert torch.equal(after.entries, memory.entries)
    assert torch.equal(after.weight, memory.weight)


def test_a_sequence_in_which_nothing_leaves_consolidates_nothing():
    memory = HierarchicalMemory(DIM, short_term_slots=6, long_term_slots=3, num_heads=2)
    x = torch.randn(2, 6, DIM)
    vectors, seen, after = consolidate_sequence(memory.initial_state(2).long, x, torch.zeros(2, 6, dtype=bool), 0.1)
    assert vectors.shape == (2, 0, DIM)
    assert seen.shape == (2, 6, 0)
    assert not after.filled.any()
    assert torch.equal(memory(x)[1].slots, x)


def test_sequences_that_do_not_fit_are_told_in_one_line():
    memory = WorkingMemory(DIM, 4, 2)
    with pytest.raises(ValueError, match=r"x has shape \(3, 8\); a sequence .* of 3 rows is \(3, steps, 8\)"):
        memory(torch.ones(3, DIM))
    with pytest.raises(ValueError, match=r"x has shape \(3, 0, 8\); .* of one step at least"):
        memory(torch.ones(3, 0, DIM))
    with pytest.raises(ValueError, match=r"x has shape .* this memory of 2 rows"):
        memory(torch.ones(3, 5, DIM), memory.initial_state(2))
    with pytest.raises(ValueError, match=r"valid has shape \(3,\) .* each step \(3, 5\)"):
        memory(torch.ones(3, 5, DIM), valid=torch.ones(3, dtype=torch.bool))
