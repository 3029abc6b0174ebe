"""Who says how many actions of a chunk are executed, and which settings of temporal ensembling are refused."""

from __future__ import annotations

import math

import pytest

from tempovla.control.execution import (
    check_temporal_ensemble,
    choose_execution_horizon,
    chunk_length,
    chunk_player,
)
from tempovla.timeline import Window


@pytest.mark.parametrize(
    ("asked", "stride", "chunk", "expected"),
    [
        (None, None, None, 6),
        (3, None, None, 3),
        (None, 4, 8, 4),
        (4, 4, 8, 4),
        (1, 1, 1, 1),
        (None, None, 16, 6),
        (None, None, 6, 6),
        (None, None, 4, 4),
        (None, None, 1, 1),
        (4, None, 4, 4),
    ],
)
def test_the_execution_horizon_is_what_is_asked_for_or_the_stride_or_six_or_a_shorter_chunk(
    asked, stride, chunk, expected
):
    assert choose_execution_horizon(asked, stride, chunk) == expected


def test_more_than_the_chunk_is_refused_where_it_is_asked_for():
    with pytest.raises(ValueError, match=r"^execution_horizon=5 exceeds the policy's chunk of 4; give 4 at the most"):
        choose_execution_horizon(5, None, 4)
    with pytest.raises(ValueError, match=r"^execution_horizon=9 is not the policy's frame_stride=2"):
        choose_execution_horizon(9, 2, 8)  # 8 would be refused too


def test_a_chunk_is_as_long_as_the_future_of_its_window():
    assert chunk_length([Window("observation.state", (0,)), Window("action", (0, 1, 2, 3))]) == 4
    assert chunk_length([Window("action", (-2, -1, 0, 1))]) == 2
    assert chunk_length([Window("observation.state", (0,))]) is None


def test_no_actions_at_all_are_refused():
    with pytest.raises(ValueError, match="execution_horizon=0 must be at least 1"):
        choose_execution_horizon(0, None)


@pytest.mark.parametrize(
    ("asked", "stride", "chunk", "expected"),
    [(None, None, 16, 1), (4, None, 16, 4), (None, 3, 8, 3), (None, None, None, 1)],
)
def test_with_ensembling_a_policy_is_asked_at_every_step_unless_something_else_is_said(asked, stride, chunk, expected):
    assert choose_execution_horizon(asked, stride, chunk, 0.01) == expected


@pytest.mark.parametrize("decay", [-0.1, math.nan, math.inf])
def test_a_decay_without_weights_is_refused(decay):
    with pytest.raises(ValueError, match=f"^temporal_ensemble={decay} must be a finite number of at least 0"):
        check_temporal_ensemble(decay)


@pytest.mark.parametrize("decay", [None, 0, 0.01])
def test_decays_with_weights_are_taken(decay):
    check_temporal_ensemble(decay)


def test_a_chunk_that_ends_before_the_next_comes_is_refused():
    with pytest.raises(ValueError, match="execution_horizon=5 exceeds the policy's chunk of 4"):
        chunk_player(4, 2, rows=1, execution_horizon=5, temporal_ensemble=None)
