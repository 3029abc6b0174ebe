"""Modules that hold what they remember: memories and history encoders as objects."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.contract.policy_cases import seeded

from tempovla.model.temporal import HierarchicalMemory, HistoryEncoder, MemoryBuffer, MemoryConfig, WorkingMemory
from tempovla.timeline.laws.compare import largest_difference

BUILDS = {
    "buffer": lambda: MemoryBuffer(MemoryConfig(8, 6, 4, 8, 2, 2)),
    "working": lambda: WorkingMemory(8, memory_slots=4, num_heads=2),
    "hierarchical": lambda: HierarchicalMemory(8, short_term_slots=2, long_term_slots=3, num_heads=2),
}
LENGTH = 3


@pytest.fixture(params=BUILDS)
def memory(request):
    return seeded(BUILDS[request.param]).eval()


def sequence(steps=11, rows=4):
    return torch.randn(rows, steps, 8, generator=torch.Generator().manual_seed(1))


def output(read):
    return read["fused"] if isinstance(read, dict) else read


def same(a, b, tolerance=1e-6):
    difference = largest_difference(a, b)
    return difference is None or not difference.exceeds(tolerance)


def test_one_memory_is_shared_by_a_batch_of_queries(memory):
    content, query = sequence()[0, 0], sequence()[:, 1]
    memory.write(content)
    read = output(memory.read(query))
    assert read.shape == (4, 8)
    state = memory.write_to(memory.initial_state(4), content.expand(4, -1))
    assert same(output(memory.read_from(state, query)), read, 1e-5)
    assert same(output(memory.read(query[0])), read[0], 1e-5)
    assert output(memory.read(query[None])).shape == (1, 4, 8)


def test_a_held_state_is_the_explicit_one(memory):
    x, state = sequence(), memory.initial_state(4)
    for step in range(6):
        memory.write(x[:, step])
        state = memory.write_to(state, x[:, step])
    assert same(memory.held, state, 0.0)
    assert same(memory.read(x[:, 6]), memory.read_from(state, x[:, 6]), 0.0)
    memory.detach()
    assert not any(value.requires_grad for value in vars(memory.held).values())
    rows = torch.tensor([True, False, False, True])
    memory.reset(**{"reset_long_term": True} if isinstance(memory, HierarchicalMemory) else {}, rows=rows)
    assert same(memory.held, state.reset(rows), 0.0)
    assert not any("held" in name for name in memory.state_dict())


def test_reset_forgets(memory):
    empty = memory.read(sequence()[0])
    for step in range(5):
        memory.write(sequence()[0, step])
    assert not same(memory.read(sequence()[0]), empty)
    memory.reset(**{"reset_long_term": True} if isinstance(memory, HierarchicalMemory) else {})
    assert same(memory.read(sequence()[0]), empty)


def pairs(steps: int, rows: int = 2) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """States (B, 4) and actions (B, 2) that say their step and row."""
    number = torch.arange(1, steps + 1)[:, None] + 100 * torch.arange(rows)
    return [(row[:, None].expand(-1, 4).float(), -row[:, None].expand(-1, 2).float()) for row in number]


def encoder() -> HistoryEncoder:
    torch.manual_seed(0)
    return HistoryEncoder(obs_dim=4, action_dim=2, context_dim=8, num_heads=2, history_length=LENGTH).eval()


def test_one_environment_is_tracked_by_its_vectors():
    model = encoder()
    assert model.get_history("cpu") == (None, None)
    for index, (state, action) in enumerate(pairs(5, rows=1)):
        model.add_transition(state[0].numpy().astype(np.float64) if index % 2 else state[0], action[0])
        states, actions = model.get_history(torch.device("cpu"))
        expected = torch.arange(max(0, index - LENGTH + 1), index + 1) + 1.0
        assert torch.equal(states, expected[None, :, None].expand(1, -1, 4))
        assert torch.equal(actions, -expected[None, :, None].expand(1, -1, 2))
    assert model(states, actions)["fused"].shape == (1, 8)
    model.reset()
    assert model.get_history() == (None, None)


def test_the_object_remembers_what_the_value_does():
    model = encoder()
    history = model.initial_state(2)
    for index, pair in enumerate(pairs(6)):
        rows = torch.tensor([index == 2, index == 4])
        history = history.reset(rows).push(*pair)
        model.reset(rows)
        model.add_transition(*pair)
    states, actions, valid = model.get_history(with_valid=True)
    assert valid.tolist() == [[True, True, True], [False, True, True]]
    with torch.no_grad():
        expected = model.encode(history)
        for name, value in model(states, actions, valid).items():
            torch.testing.assert_close(value, expected[name], rtol=1e-5, atol=1e-5)


def test_rows_of_different_lengths_are_not_handed_out_without_their_validity():
    model = encoder()
    for pair in pairs(2):
        model.add_transition(*pair)
    assert model.get_history()[0].shape == (2, 2, 4)
    model.reset(torch.tensor([True, False]))
    with pytest.raises(ValueError, match=r"rows remember \[0, 2\] steps; ask get_history\(with_valid=True\)"):
        model.get_history()
    model.reset(torch.tensor([False, True]))
    assert model.get_history() == (None, None)
    assert model.get_history(with_valid=True) == (None, None, None)


def test_what_is_remembered_is_neither_weights_nor_graph():
    model = encoder()
    names = set(model.state_dict())
    model.add_transition(torch.ones(4, requires_grad=True), torch.ones(2))
    assert not model.get_history()[0].requires_grad
    assert set(model.state_dict()) == names


def test_what_is_remembered_does_not_follow_later_changes_of_the_callers_arrays():
    model, state = encoder(), np.ones(4, np.float32)
    model.add_transition(state, np.ones(2, np.float32))
    state[:] = 5.0
    assert torch.equal(model.get_history()[0], torch.ones(1, 1, 4))


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (((3,), (2,)), r"state: state and action \(3,\) and \(2,\) must both be"),
        (((4,), (1, 2)), r"action: state and action \(4,\) and \(1, 2\) must both be"),
        (((2, 4), (2, 2)), r"a step of 2 rows does not follow a history of 1; reset\(\) it first"),
    ],
)
def test_steps_that_do_not_fit_are_refused(shapes, message):
    model = encoder()
    model.add_transition(torch.zeros(4), torch.zeros(2))
    with pytest.raises(ValueError, match=message):
        model.add_transition(*map(torch.zeros, shapes))


def test_a_refused_first_step_leaves_nothing_behind():
    model = encoder()
    with pytest.raises(ValueError, match=r"action \(3, 2\) must be \(2, 2\)"):
        model.add_transition(torch.zeros(2, 4), torch.zeros(3, 2))
    assert model.get_history() == (None, None)
    model.add_transition(torch.zeros(3, 4), torch.zeros(3, 2))
