"""Explicit states of every memory, encoder and sequence model: rows are reset, taken out, put back and copied alike."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from tests.contract.memory_cases import random_sequence
from tests.contract.registry import MEMORIES
from torch import Tensor

from tempovla.model.layers.row_state import RowState
from tempovla.timeline.laws.compare import largest_difference


def same(a, b):
    difference = largest_difference(a, b)
    return difference is None or not difference.exceeds(1e-6)


@pytest.fixture(params=[name for name in sorted(MEMORIES) if name != "toy"])
def used(request):
    """A module, a state that has seen something, and what comes next."""
    case = MEMORIES[request.param]
    module, sequence = case.build(), random_sequence(case.features)
    with torch.no_grad():
        state = module.forward(sequence[:, :3], module.initial_state(len(sequence)))[1]
    return module, state, sequence[:, 3:5]


def test_rows_that_are_taken_out_go_on_as_they_would_have(used):
    module, state, rest = used
    rows = torch.tensor([len(rest) - 1, 0])
    with torch.no_grad():
        assert same(module.forward(rest, state)[0][rows], module.forward(rest[rows], state.gather(rows))[0])


def test_rows_that_are_put_back_take_the_place_of_those_that_were_there(used):
    module, state, _ = used
    rows = torch.tensor([1])
    new = module.initial_state(1)
    changed = state.scatter(rows, new)
    expected = torch.zeros(state.batch_size, dtype=torch.bool)
    expected[1] = True
    assert same(changed, state.reset(expected))
    assert same(changed.gather(rows), new)


def test_a_row_that_has_seen_nothing_is_all_zeros(used):
    module, state, _ = used
    assert same(state.reset(torch.ones(state.batch_size, dtype=torch.bool)), module.initial_state(state.batch_size))


@dataclass(frozen=True)
class Pair(RowState):
    """Numbers and a nested tuple of them."""

    first: Tensor
    others: tuple[Tensor, ...]


def test_a_snapshot_shares_nothing_with_the_state():
    weight = torch.ones(2, requires_grad=True)
    state = Pair(2 * weight, (torch.zeros(2, 3),))
    copy = state.snapshot()
    state.others[0].fill_(7.0)
    assert copy.others[0].eq(0).all()
    assert not copy.first.requires_grad
    assert not state.detach().first.requires_grad
    assert state.detach().others[0] is not copy.others[0]


def test_what_names_no_rows_is_refused():
    state = Pair(torch.zeros(2), ())
    for rows in (torch.tensor([0, 1]), torch.tensor([True])):
        with pytest.raises(ValueError, match=r"must be \(2,\) bool, True for a new start"):
            state.reset(rows)
