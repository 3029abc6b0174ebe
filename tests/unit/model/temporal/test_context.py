"""The context module: a sum of its parts, streams as sequences, and where gradients end in training."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.contract.policy_cases import CONTEXTS, seeded
from tests.libraries import fill_library
from torch import Tensor

from tempovla.model.temporal.context import ContextModule, Frames
from tempovla.model.temporal.context_config import ContextConfig

ROWS, LENGTH, WIDTH, ACTION, STRIDE = 3, 6, 8, 2, 2
KINDS = sorted(CONTEXTS)


def build(kind: str, **options: Any) -> ContextModule:
    config = ContextConfig(**{"stride": STRIDE, "sequence_length": LENGTH} | CONTEXTS[kind] | options)
    module = fill_library(seeded(lambda: ContextModule(config, WIDTH, ACTION))).eval()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():  # so that no part hides behind a zero
        for weight in module.parameters():
            weight.add_(0.2 * torch.randn(weight.shape, generator=generator))
    return module


def frames(length: int = LENGTH, seed: int = 0) -> Frames:
    generator = torch.Generator().manual_seed(seed)
    valid = torch.ones(ROWS, length, dtype=torch.bool)
    features = torch.randn(ROWS, length, WIDTH, generator=generator)
    return Frames(features, valid, torch.randn(ROWS, length, STRIDE * ACTION, generator=generator), valid)


def gradient(module: ContextModule, *, of: int) -> Tensor:
    """(T,) size of the gradient of what is said at one frame, by the frame whose features it reaches."""
    sequence = frames()
    sequence.features.requires_grad_()
    (found,) = torch.autograd.grad(module.learn(sequence)[:, of].square().sum(), sequence.features)
    return found.abs().sum(dim=(0, 2))


@pytest.mark.parametrize("kind", KINDS)
def test_step_by_step_it_says_what_it_says_of_the_sequence(kind):
    module, sequence = build(kind), frames()
    whole, _ = module.run(sequence, module.initial_state(ROWS))
    state, steps = module.initial_state(ROWS), []
    for step in range(LENGTH):
        said, state = module.run(sequence.part(step, step + 1), state)
        steps.append(said)
    torch.testing.assert_close(torch.cat(steps, dim=1), whole, atol=1e-5, rtol=1e-5)
    assert whole.shape == (ROWS, LENGTH, WIDTH)


@pytest.mark.parametrize("kind", KINDS)
def test_a_reset_row_is_as_new_and_the_others_go_on(kind):
    module, sequence, more = build(kind), frames(), frames(seed=1)
    _, state = module.run(sequence, module.initial_state(ROWS))
    went_on, _ = module.run(more, state)
    as_new, _ = module.run(more, module.initial_state(ROWS))
    said, _ = module.run(more, state.reset(torch.tensor([False, True, False])))
    expected = torch.stack([went_on[0], as_new[1], went_on[2]])
    torch.testing.assert_close(said, expected, atol=1e-5, rtol=1e-5)
    assert (went_on[1] - as_new[1]).abs().max() > 1e-4  # so that the reset is seen at all


@pytest.mark.parametrize("kind", KINDS)
def test_frames_before_the_first_one_leave_no_trace_even_as_nan(kind):
    module, sequence = build(kind), frames()
    valid = torch.arange(LENGTH).expand(ROWS, -1) >= 2
    junk = torch.where(valid[..., None], sequence.features, float("nan"))
    padded = Frames(junk, valid, torch.where(valid[..., None], sequence.actions, 0.0), valid)
    short = sequence.part(2, LENGTH)
    expected, _ = module.run(short, module.initial_state(ROWS))
    said, _ = module.run(padded, module.initial_state(ROWS))
    torch.testing.assert_close(said[:, 2:], expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cuts", [{}, {"bptt_length": 2}, {"sequence_length": 4, "burn_in": 2, "bptt_length": 3}])
def test_learning_in_pieces_says_what_one_pass_says(kind, cuts):
    module, sequence = build(kind, **cuts), frames()
    whole, _ = module.run(sequence, module.initial_state(ROWS))
    torch.testing.assert_close(module.learn(sequence), whole, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", ["lstm", "mamba", "transformer", "history", "working", "buffer"])
def test_gradients_reach_back_to_the_first_frame_unless_they_are_cut(kind):
    long = {"history": CONTEXTS["history"]["history"] | {"history_length": LENGTH}} if kind == "history" else {}
    assert (gradient(build(kind, **long), of=5) > 0)[:5].all()
    cut = gradient(build(kind, bptt_length=3, **long), of=5) > 0
    assert not cut[:3].any()
    assert cut[3]
    assert (gradient(build(kind, bptt_length=3, **long), of=2) > 0)[:2].all()


@pytest.mark.parametrize("kind", KINDS)
def test_burn_in_frames_get_no_gradient(kind):
    found = gradient(build(kind, sequence_length=4, burn_in=2), of=5)
    assert not found[:2].any()
    assert found[2:].any()


def test_parts_are_added():
    module, sequence = build("all"), frames()
    said, state = module.run(sequence, module.initial_state(ROWS))
    each = [
        part.run(sequence, before)[0]
        for part, before in zip(module.parts.values(), module.initial_state(ROWS).parts, strict=True)
    ]
    torch.testing.assert_close(said, sum(each))
    assert list(module.parts) == ["temporal", "history", "memory"]
    assert len(state.parts) == 3


def test_only_a_history_reads_actions():
    assert [kind for kind in KINDS if build(kind).reads_actions] == ["all", "history"]
    sequence, other = frames(), frames(seed=1)
    changed = Frames(sequence.features, sequence.valid, other.actions, sequence.action_valid)
    for kind in ("all", "lstm"):
        module = build(kind)
        one, two = (module.run(x, module.initial_state(ROWS))[0] for x in (sequence, changed))
        assert torch.equal(one, two) is (kind == "lstm")


def test_states_are_values_and_a_detached_one_has_no_past():
    module, sequence = build("all"), frames()
    state = module.initial_state(ROWS)
    sequence.features.requires_grad_()
    _, after = module.run(sequence, state)
    again, _ = module.run(sequence, state)
    torch.testing.assert_close(again, module.run(sequence, module.initial_state(ROWS))[0])
    said, _ = module.run(frames(seed=1), after.detach())
    assert torch.autograd.grad(said.sum(), sequence.features, allow_unused=True) == (None,)
