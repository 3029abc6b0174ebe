"""What all differentiable memories share: validity, explicit and held states, empty reads, gradients through writes."""

from __future__ import annotations

import pytest
import torch
from tests.contract.policy_cases import seeded

from tempovla.model.temporal import HierarchicalMemory, MemoryBuffer, MemoryConfig, WorkingMemory
from tempovla.timeline.laws.compare import largest_difference, not_finite

BUILDS = {
    "buffer": lambda: MemoryBuffer(MemoryConfig(8, 6, 4, 8, 2, 2)),
    "working": lambda: WorkingMemory(8, memory_slots=4, num_heads=2),
    "hierarchical": lambda: HierarchicalMemory(8, short_term_slots=2, long_term_slots=3, num_heads=2),
}


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


def test_invalid_steps_are_as_if_they_were_not_there(memory):
    x, valid = sequence(), torch.rand(4, 11, generator=torch.Generator().manual_seed(2)) > 0.4
    x[~valid] = torch.nan
    outputs, state = memory(x, valid=valid)
    for row in range(4):
        alone, alone_state = memory(x[row : row + 1, valid[row]])
        assert same(alone[0], outputs[row, valid[row]], 1e-5)
        assert same(vars(alone_state), {name: value[row : row + 1] for name, value in vars(state).items()}, 1e-5)
    assert (outputs[~valid] == 0).all()
    outputs.sum().backward()
    assert (
        not_finite({name: weight.grad for name, weight in memory.named_parameters() if weight.grad is not None}) is None
    )


def test_a_row_that_is_not_valid_keeps_its_state_to_the_bit(memory):
    _, state = memory(sequence())
    after = memory.write_to(state, sequence()[:, 0], torch.tensor([True, False, True, False]))
    for name, value in vars(after).items():
        assert torch.equal(value[1::2], vars(state)[name][1::2])
    assert not same(vars(after), vars(state))


def test_rows_that_reset_at_different_times_are_as_if_alone(memory):
    x, state, outputs = sequence(), memory.initial_state(4), []
    starts = torch.tensor([0, 3, 5, 9])
    for step in range(11):
        state = state.reset(starts == step)
        y, state = memory.step(x[:, step], state)
        outputs.append(y)
    for row, start in enumerate(starts.tolist()):
        assert same(memory(x[row : row + 1, start:])[0][0], torch.stack(outputs, 1)[row, start:], 1e-5)


def test_an_empty_memory_reads_as_what_was_learned_for_it(memory):
    state = memory.initial_state(4)
    read = output(memory.read_from(state, sequence()[:, 0]))
    assert read.isfinite().all()
    read.square().sum().backward()
    nulls = [weight.grad for name, weight in memory.named_parameters() if name.endswith(("null", "null_value"))]
    assert nulls
    assert all(grad.abs().sum() > 0 for grad in nulls)


@pytest.mark.parametrize("kind", ["working", "hierarchical"])
def test_an_empty_memory_gives_every_query_the_same(kind):
    memory = seeded(BUILDS[kind])
    read = memory.read_from(memory.initial_state(4), sequence()[:, 0])
    for part in read.values() if isinstance(read, dict) else [read]:
        if not isinstance(read, dict) or part is not read["fused"]:
            assert same(part[:1].expand(4, -1), part)


def test_gradients_through_writes_and_a_read_are_the_numerical_ones(memory):
    memory = memory.double()
    x = sequence(7, 2).double().requires_grad_()

    def run(contents, query):
        state = memory.initial_state(2)
        for content in contents.unbind(1):
            state = memory.write_to(state, content)
        return output(memory.read_from(state, query))

    assert torch.autograd.gradcheck(run, (x[:, :6], x[:, 6]), fast_mode=True)
    first = torch.autograd.grad(run(x[:, :6], x[:, 6]).sum(), x)[0][:, 0]
    assert first.abs().sum() > 0  # also what was written before the memory was full


def test_zeros_are_written_and_read_with_finite_gradients(memory):
    x = torch.zeros(2, 9, 8, requires_grad=True)
    y, _ = memory(x)
    y.sum().backward()
    assert y.isfinite().all()
    assert x.grad.isfinite().all()


def test_under_autocast_the_state_keeps_full_precision(memory):
    with torch.autocast("cpu", torch.bfloat16):
        y, state = memory(sequence())
    plain, plain_state = memory(sequence())
    assert same(plain, y, 0.0)
    assert same(plain_state, state, 0.0)


def test_what_does_not_fit_is_told_in_one_line(memory):
    state = memory.initial_state(4)
    with pytest.raises(ValueError, match=r"content has shape \(4, 7\); give .* hidden_dim=8"):
        memory.write_to(state, torch.ones(4, 7))
    with pytest.raises(ValueError, match="content has 3 rows, the memory 4"):
        memory.write_to(state, torch.ones(3, 8))
    with pytest.raises(ValueError, match=r"query has shape \(3, 8\); this memory of 4 rows takes \(4, 8\)"):
        memory.read_from(state, torch.ones(3, 8))
    with pytest.raises(ValueError, match=r"valid has shape \(4, 1\)"):
        memory.write_to(state, torch.ones(4, 8), torch.ones(4, 1, dtype=torch.bool))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: MemoryConfig(memory_size=0), "MemoryConfig.memory_size=0 must be at least 1"),
        (lambda: MemoryConfig(value_dim=10), "value_dim=10 is not divisible by num_heads=8"),
        (lambda: WorkingMemory(10), "hidden_dim=10 is not divisible by num_heads=8"),
        (lambda: WorkingMemory(16, 0), "memory_slots=0 must be at least 1"),
        (lambda: HierarchicalMemory(16, long_term_slots=0), "long_term_slots=0 must be at least 1"),
        (lambda: HierarchicalMemory(16, novelty_threshold=3), "novelty_threshold=3 is no cosine distance"),
    ],
)
def test_sizes_that_do_not_fit_are_told_in_one_line(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_the_reference_defaults():
    assert vars(MemoryConfig()) == {
        "hidden_dim": 512,
        "memory_size": 1000,
        "key_dim": 64,
        "value_dim": 512,
        "num_heads": 8,
        "num_read_heads": 4,
    }
    assert WorkingMemory(16).memory_slots == 32
    hierarchical = HierarchicalMemory(16)
    assert (hierarchical.short_term_slots, hierarchical.long_term_slots) == (32, 256)
