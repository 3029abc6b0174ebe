"""The last steps as a value, for one environment and for many."""

from __future__ import annotations

import pytest
import torch

from tempovla.model.temporal import HistoryEncoder, HistoryState

LENGTH = 3


def pairs(steps: int, rows: int = 2) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """States (B, 4) and actions (B, 2) that say their step and row."""
    number = torch.arange(1, steps + 1)[:, None] + 100 * torch.arange(rows)
    return [(row[:, None].expand(-1, 4).float(), -row[:, None].expand(-1, 2).float()) for row in number]


def encoder() -> HistoryEncoder:
    torch.manual_seed(0)
    return HistoryEncoder(obs_dim=4, action_dim=2, context_dim=8, num_heads=2, history_length=LENGTH).eval()


def test_the_oldest_step_is_forgotten_and_the_start_is_padded():
    history = HistoryState.init(2, LENGTH, 4, 2)
    seen = []
    for state, action in pairs(5):
        history = history.push(state, action)
        seen.append((history.states[0, :, 0].tolist(), history.actions[1, :, 1].tolist(), history.valid[0].tolist()))
    assert seen == [
        ([0, 0, 1], [0, 0, -101], [False, False, True]),
        ([0, 1, 2], [0, -101, -102], [False, True, True]),
        ([1, 2, 3], [-101, -102, -103], [True, True, True]),
        ([2, 3, 4], [-102, -103, -104], [True, True, True]),
        ([3, 4, 5], [-103, -104, -105], [True, True, True]),
    ]


def test_a_history_is_a_value():
    first = HistoryState.init(2, LENGTH, 4, 2).push(*pairs(1)[0])
    kept = [x.clone() for x in (first.states, first.actions, first.valid)]
    first.push(*pairs(2)[1]).reset(torch.tensor([True, True]))
    assert all(torch.equal(*pair) for pair in zip(kept, (first.states, first.actions, first.valid), strict=True))


def test_reset_rows_are_exactly_as_new():
    history, new = HistoryState.init(2, LENGTH, 4, 2), HistoryState.init(2, LENGTH, 4, 2)
    for pair in pairs(4):
        history = history.push(*pair)
    after = history.reset(torch.tensor([False, True]))
    for name in ("states", "actions", "valid"):
        assert torch.equal(getattr(after, name)[1], getattr(new, name)[1])
        assert torch.equal(getattr(after, name)[0], getattr(history, name)[0])


def test_gradients_pass_through_a_push():
    state, action = (x.requires_grad_() for x in (torch.randn(2, 4), torch.randn(2, 2)))
    encoder().step(state, action, HistoryState.init(2, LENGTH, 4, 2))[0].sum().backward()
    assert state.grad.abs().sum() > 0
    assert action.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("shapes", "message"),
    [(((3, 4), (3, 2)), r"state \(3, 4\) must be \(2, 4\)"), (((2, 4), (2, 4)), r"action \(2, 4\) must be \(2, 2\)")],
)
def test_steps_of_other_sizes_are_refused(shapes, message):
    with pytest.raises(ValueError, match=message):
        HistoryState.init(2, LENGTH, 4, 2).push(*map(torch.zeros, shapes))


@pytest.mark.parametrize("rows", [torch.tensor([0]), torch.tensor([True])])
def test_rows_to_reset_are_a_bool_for_each(rows):
    with pytest.raises(ValueError, match=r"must be \(2,\) bool"):
        HistoryState.init(2, LENGTH, 4, 2).reset(rows)


def test_streaming_with_rows_that_reset_at_different_times_gives_each_episode_by_itself():
    model, rows = encoder(), 3
    starts = [(0, 4), (0, 1, 7), (0,)]
    steps = [(torch.randn(rows, 4), torch.randn(rows, 2)) for _ in range(9)]
    history, outputs = model.initial_state(rows), []
    with torch.no_grad():
        for index, pair in enumerate(steps):
            history = history.reset(torch.tensor([index in starts[row] for row in range(rows)]))
            fused, history = model.step(*pair, history)
            outputs.append(fused)
        for row in range(rows):
            for index in range(9):
                first = max(max(start for start in starts[row] if start <= index), index - LENGTH + 1)
                window = [torch.stack([pair[k][row] for pair in steps[first : index + 1]])[None] for k in (0, 1)]
                torch.testing.assert_close(model(*window)["fused"][0], outputs[index][row], rtol=1e-5, atol=1e-5)


def test_a_sequence_gives_at_every_step_what_single_steps_give_padding_included():
    model = encoder()
    states, actions = torch.randn(2, 7, 4), torch.randn(2, 7, 2)
    valid = torch.arange(7) >= torch.tensor([0, 3])[:, None]
    states[1, :3], actions[1, :3] = torch.nan, torch.nan
    with torch.no_grad():
        fused, after = model.sequence(states, actions, model.initial_state(2), valid)
        history = model.initial_state(1)
        for index in range(3, 7):
            expected, history = model.step(states[1:, index], actions[1:, index], history)
            torch.testing.assert_close(fused[1:, index], expected, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(fused[1, 0], model.encode(model.initial_state(1))["fused"][0], rtol=1e-5, atol=1e-5)
    assert torch.equal(after.states[1:], history.states)
    assert after.valid.all()


def test_a_sequence_wants_an_action_for_every_step_and_a_history_of_its_rows():
    model = encoder()
    for actions, rows in ((torch.zeros(2, 6, 2), 2), (torch.zeros(2, 7, 2), 3)):
        with pytest.raises(ValueError, match="must have the same rows"):
            model.sequence(torch.zeros(2, 7, 4), actions, model.initial_state(rows))
