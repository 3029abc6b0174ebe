"""Rows of nested states are exchanged, whatever the states are made of."""

from __future__ import annotations

from collections import namedtuple
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from tempovla.control.row_states import take_rows
from tempovla.timeline.laws.compare import largest_difference

Pair = namedtuple("Pair", ["left", "right"])
CHOSEN = torch.tensor([True, False, True])


@dataclass(frozen=True)
class State:
    memory: Tensor
    parts: tuple[object, ...]
    named: dict[str, Tensor]
    kind: str = "toy"


def state(value: float) -> State:
    return State(
        torch.full((3, 2), value),
        (Pair(torch.full((3,), int(value)), None), [torch.full((3, 1, 2), value)]),
        {"seen": torch.full((3,), value > 1)},
    )


def test_chosen_rows_are_the_later_ones_and_the_others_the_earlier_ones():
    mixed = take_rows(CHOSEN, state(2.0), state(1.0))
    assert isinstance(mixed.parts[0], Pair)
    assert mixed.memory[:, 0].tolist() == [2, 1, 2]
    assert mixed.parts[0].left.tolist() == [2, 1, 2]
    assert mixed.parts[1][0][:, 0, 1].tolist() == [2, 1, 2]
    assert mixed.named["seen"].tolist() == [True, False, True]
    assert (mixed.kind, mixed.parts[0].right) == ("toy", None)
    assert largest_difference(state(2.0), take_rows(torch.ones(3, dtype=torch.bool), state(2.0), state(1.0))) is None
    assert take_rows(CHOSEN, None, None) is None


def test_a_tensor_without_rows_is_refused():
    with pytest.raises(
        ValueError, match=r"a state's tensor is \(2, 3\) and was \(2, 3\); both must have the 3 rows first"
    ):
        take_rows(CHOSEN, torch.zeros(2, 3), torch.zeros(2, 3))
