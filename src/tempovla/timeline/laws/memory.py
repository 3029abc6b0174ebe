"""Laws 4 and 5 of sequence models and memories."""

from __future__ import annotations

from typing import Protocol, Self, TypeVar

import torch
from torch import Tensor

from tempovla.timeline.laws.violation import TOLERANCE, expect_equal

S = TypeVar("S")


class RowResettable(Protocol):
    """A state whose rows can be made as new."""

    def reset(self, rows: Tensor, /) -> Self:
        """Return the state with the rows where `rows` (B,) bool is True as new."""


R = TypeVar("R", bound=RowResettable)


class SequenceModule(Protocol[S]):
    """A model over sequences that can also run step by step, with an explicit state."""

    def initial_state(self, batch: int, /) -> S:
        """Return the state of rows that have seen nothing."""

    def forward(self, x: Tensor, state: S, /) -> tuple[Tensor, S]:
        """Return outputs (B, T, *G) of a sequence (B, T, *F), and the state after it."""

    def step(self, x: Tensor, state: S, /) -> tuple[Tensor, S]:
        """Return the output (B, *G) of one step (B, *F), and the state after it."""


def check_streaming_equals_batch(module: SequenceModule[S], sequence: Tensor, *, tolerance: float = TOLERANCE) -> None:
    """Law 4: single steps, and the sequence in two pieces, give the same outputs and the same state as the whole
    sequence.

    Args:
        module: in eval mode.
        sequence: (B, T, *F) with T >= 2.
        tolerance: relative.
    """
    law = "law 4 (streaming equals batch)"
    start = module.initial_state(len(sequence))
    with torch.no_grad():
        whole, end = module.forward(sequence, start)
        state, outputs = start, []
        for index in range(sequence.shape[1]):
            output, state = module.step(sequence[:, index], state)
            outputs.append(output)
        expect_equal(law, "outputs step by step", whole, torch.stack(outputs, dim=1), tolerance)
        expect_equal(law, "state after single steps", end, state, tolerance)
        for cut in {1, sequence.shape[1] // 2, sequence.shape[1] - 1}:
            first, middle = module.forward(sequence[:, :cut], start)
            second, state = module.forward(sequence[:, cut:], middle)
            expect_equal(law, f"outputs in two pieces cut at {cut}", whole, torch.cat([first, second], 1), tolerance)
            expect_equal(law, f"state after two pieces cut at {cut}", end, state, tolerance)


def check_state_reset(module: SequenceModule[R], sequence: Tensor, *, tolerance: float = TOLERANCE) -> None:
    """Law 5 for memories: reset rows of a used state behave as new, the others as if nothing had happened.

    Args:
        module: in eval mode.
        sequence: (B, T, *F) with B >= 2 and T >= 2.
        tolerance: relative.
    """
    law = "law 5 (reset)"
    past, rest = sequence.tensor_split([sequence.shape[1] // 2], dim=1)
    rows = torch.arange(len(sequence), device=sequence.device) % 2 == 0
    with torch.no_grad():
        used = module.forward(past, module.initial_state(len(sequence)))[1]
        undisturbed = module.forward(rest, used)[0]
        mixed = module.forward(rest, used.reset(rows))[0]
        new = module.forward(rest, module.initial_state(len(sequence)))[0]
    expect_equal(law, "outputs of reset rows", new[rows], mixed[rows], tolerance)
    expect_equal(law, "outputs of the other rows", undisturbed[~rows], mixed[~rows], tolerance)
