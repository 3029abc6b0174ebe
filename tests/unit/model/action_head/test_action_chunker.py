"""Which action is done when: by hand, and for rows that start at different times."""

from __future__ import annotations

import math

import pytest
import torch

from tempovla.model.action_head.action_chunker import ActionChunker, ChunkPlayer


def chunk(time: int, rows: int = 1, size: int = 3) -> torch.Tensor:
    """Step i of the chunk predicted at `time` is 10 time + i; row r adds 1000 r."""
    steps = 10.0 * time + torch.arange(float(size))
    return (steps + 1000.0 * torch.arange(float(rows))[:, None])[..., None]


def play(chunker: ActionChunker, steps: int) -> list[float]:
    state, done = chunker.init(1, 1), []
    for time in range(steps):
        asked = bool(chunker.needs_chunk(state))
        action, state = chunker.step(state, chunk(time) if asked else None)
        done.append(action.item())
    return done


def test_a_chunk_is_played_until_the_next_one_is_due():
    assert play(ActionChunker(3, execution_horizon=1), 4) == [0, 10, 20, 30]
    assert play(ActionChunker(3, execution_horizon=2), 5) == [0, 1, 20, 21, 40]
    assert play(ActionChunker(3, execution_horizon=3), 5) == [0, 1, 2, 30, 31]


def test_ensembling_weighs_what_every_chunk_said_of_this_step_the_oldest_most():
    weights = [1.0, math.exp(-0.5), math.exp(-1.0)]
    expected = [
        0.0,
        (1 * weights[0] + 10 * weights[1]) / sum(weights[:2]),
        (2 * weights[0] + 11 * weights[1] + 20 * weights[2]) / sum(weights),
        (12 * weights[0] + 21 * weights[1] + 30 * weights[2]) / sum(weights),
    ]
    assert play(ActionChunker(3, ensemble_decay=0.5), 4) == pytest.approx(expected)


def test_ensembling_without_decay_is_the_mean():
    assert play(ActionChunker(3, ensemble_decay=0.0), 3) == pytest.approx([0, 5.5, 11])


def test_ensembling_of_chunks_that_come_every_second_step():
    halves = ActionChunker(3, execution_horizon=2, ensemble_decay=0.0)
    assert halves.kept == 2
    assert play(halves, 5) == pytest.approx([0, 1, (2 + 20) / 2, 21, (22 + 40) / 2])


@pytest.mark.parametrize("decay", [None, 0.3])
@pytest.mark.parametrize("horizon", [1, 2])
def test_a_reset_row_is_as_new_and_its_neighbours_do_not_notice(decay, horizon):
    chunker = ActionChunker(3, horizon, decay)
    state, undisturbed, fresh = chunker.init(2, 1), chunker.init(2, 1), chunker.init(2, 1)
    for time in range(3):
        _, state = chunker.step(state, chunk(time, rows=2))
        _, undisturbed = chunker.step(undisturbed, chunk(time, rows=2))
    state = chunker.reset(state, torch.tensor([True, False]))
    assert chunker.needs_chunk(state)[0]
    for time in range(3, 8):
        action, state = chunker.step(state, chunk(time, rows=2))
        neighbour, undisturbed = chunker.step(undisturbed, chunk(time, rows=2))
        new, fresh = chunker.step(fresh, chunk(time, rows=2))
        assert action[0] == new[0]
        assert action[1] == neighbour[1]


def test_rows_take_a_chunk_only_when_they_need_one():
    chunker = ActionChunker(3, execution_horizon=2)
    state = chunker.init(2, 1)
    _, state = chunker.step(state, chunk(0, rows=2))
    state = chunker.reset(state, torch.tensor([False, True]))
    assert chunker.needs_chunk(state).tolist() == [False, True]
    action, state = chunker.step(state, chunk(1, rows=2))
    assert action.flatten().tolist() == [1.0, 1010.0]
    assert chunker.needs_chunk(state).tolist() == [True, False]


def test_the_player_keeps_the_state():
    player = ChunkPlayer(ActionChunker(3, execution_horizon=2), batch_size=2, action_dim=1)
    assert player.needs_chunk.all()
    assert player.step(chunk(0, rows=2)).flatten().tolist() == [0, 1000]
    assert player.step().flatten().tolist() == [1, 1001]
    player.step(chunk(2, rows=2))
    player.reset(torch.tensor([True, False]))
    assert player.needs_chunk.tolist() == [True, False]
    player.reset()
    assert player.needs_chunk.all()


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="execution_horizon=4 exceeds chunk_size=3; lower it"):
        ActionChunker(3, execution_horizon=4)
    with pytest.raises(ValueError, match=r"ensemble_decay=-1\.0 must be 0 or more"):
        ActionChunker(3, ensemble_decay=-1.0)
    chunker = ActionChunker(3)
    with pytest.raises(ValueError, match=r"rows \[0, 1\] need a chunk at this step"):
        chunker.step(chunker.init(2, 1))
    with pytest.raises(ValueError, match=r"chunk \(2, 4, 1\) must be \(2, 3, 1\)"):
        chunker.step(chunker.init(2, 1), chunk(0, rows=2, size=4))
