"""Single frames of a sequence as rows: which, what they see, and what was and is to be done there."""

from __future__ import annotations

import torch
from torch import Tensor

from tempovla.timeline import Context, Embodiment, Task, TimelineSample, Track
from tempovla.timeline.frames import FrameIndex, actions_before, frame_actions, frame_context, frames_observed

OFFSETS = (-4, -2, 0)
ARM = Embodiment("arm", state_dim=1, action_dim=1, rate_hz=10.0)


def told(rows: int, offsets: range | tuple[int, ...], valid: Tensor | None = None) -> Track:
    """Values (B, T, 1) that tell row and offset: 100 * row + offset."""
    value = 100.0 * torch.arange(rows)[:, None] + torch.tensor(list(offsets))
    return Track.of(value[..., None], list(offsets), valid)


def sample(rows: int = 2, valid: Tensor | None = None, action_valid: Tensor | None = None) -> TimelineSample:
    """A stream `x` at the offsets, an instruction at 0, actions from -6 to 2."""
    seen = told(rows, OFFSETS, valid)
    actions = told(rows, range(-6, 3), action_valid)
    past = {"x": seen.select(seen.offset < 0), "action": actions.select(actions.offset < 0)}
    now = {"x": seen.select(seen.offset == 0), "words": told(rows, (0,))}
    tasks = tuple(Task(f"task {row}", ARM) for row in range(rows))
    context = Context(past, now, tasks, first=torch.ones(rows, dtype=torch.bool))
    return TimelineSample(context, {"action": actions.select(actions.offset >= 0)}, seed=torch.arange(rows))


def index(*frames: tuple[int, int]) -> FrameIndex:
    row, place = torch.tensor(frames).T
    return FrameIndex(row, place, OFFSETS)


def test_frames_are_chosen_row_by_row():
    chosen = FrameIndex.where(torch.tensor([[False, True, True], [True, False, False]]), OFFSETS)
    assert chosen.row.tolist() == [0, 0, 1]
    assert chosen.place.tolist() == [1, 2, 0]
    assert chosen.offsets == OFFSETS


def test_scatter_and_gather_are_each_others_inverse_with_zeros_elsewhere():
    chosen = index((0, 1), (1, 0))
    value = torch.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    whole = chosen.scatter(value, batch=2)
    assert whole.tolist() == [[[0, 0], [1, 2], [0, 0]], [[3, 4], [0, 0], [0, 0]]]
    assert torch.equal(chosen.gather(whole), value)
    chosen.gather(whole).sum().backward()
    assert value.grad.tolist() == [[1, 1], [1, 1]]


def test_each_frame_sees_its_own_present_and_no_past():
    context = frame_context(sample().context, index((0, 1), (1, 0), (1, 2)))
    assert context.past == {}
    assert context.now["x"].value.flatten().tolist() == [-2, 96, 100]
    assert context.now["x"].offset.tolist() == [0]
    assert context.now["words"].value.flatten().tolist() == [0, 100, 100]  # the same for all frames of a row
    assert [task.instruction for task in context.task] == ["task 0", "task 1", "task 1"]
    assert not context.first.any()


def test_a_frame_is_as_valid_as_it_was():
    valid = torch.tensor([[False, True, True], [True, False, True]])
    context = frame_context(sample(valid=valid).context, index((0, 0), (0, 1), (1, 1)))
    assert context.now["x"].valid.flatten().tolist() == [False, True, False]


def test_a_frame_is_observed_where_any_of_its_streams_is():
    valid = torch.tensor([[False, True, True], [True, False, True]])
    context = sample(valid=valid).context
    assert frames_observed(context, ["x"], OFFSETS).equal(valid)
    assert frames_observed(context, ["x"], (-2,)).tolist() == [[True], [False]]
    other = told(2, OFFSETS, torch.tensor([[True, True, False], [False, False, False]]))
    past, now = (
        {"y": other.select(other.offset < 0)} | dict(context.past),
        {"y": other.select(other.offset == 0)} | dict(context.now),
    )
    both = Context(past, now, context.task, context.first)
    assert frames_observed(both, ["x", "y"], OFFSETS).tolist() == [[True, True, True], [True, False, True]]


def test_a_frame_is_to_imitate_what_was_done_from_it_on():
    action_valid = torch.ones(2, 9, dtype=torch.bool)
    action_valid[0, 8] = False
    track = frame_actions(sample(action_valid=action_valid), index((0, 0), (0, 2), (1, 1)), horizon=3)
    assert track.offset.tolist() == [0, 1, 2]
    assert track.value.squeeze(-1).tolist() == [[-4, -3, -2], [0, 1, 2], [98, 99, 100]]
    assert track.valid.tolist() == [[True] * 3, [True, True, False], [True] * 3]


def test_actions_between_two_frames_count_as_one_and_only_whole():
    action_valid = torch.ones(2, 9, dtype=torch.bool)
    action_valid[0, :3] = False  # of row 0 those at -6, -5 and -4
    value, valid = actions_before(sample(action_valid=action_valid).context, OFFSETS, 2)
    assert valid.tolist() == [[False, False, True], [True, True, True]]
    assert value.tolist() == [[[0, 0], [0, 0], [-2, -1]], [[94, 95], [96, 97], [98, 99]]]
