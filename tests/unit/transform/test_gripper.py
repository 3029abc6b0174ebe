import pytest
import torch

from tempovla.timeline import ActionChunk, Context, Embodiment, Task, Track
from tempovla.timeline.keys import ACTION_KEY, STATE_KEY
from tempovla.transform.gripper import RemapGripper


def moved(transform: RemapGripper, *grippers: float) -> list[float]:
    actions = torch.tensor([[[0.5, gripper] for gripper in grippers]])
    task = (Task("open", Embodiment("arm", 2, 2, 10.0)),)
    state = Track.of(actions[:, -1:], (0,))
    past = {ACTION_KEY: Track.of(actions[:, -1:], (-1,))}
    context = Context(past, {STATE_KEY: state}, task, torch.zeros(1).bool())
    future = {ACTION_KEY: Track.of(actions, range(len(grippers)))}
    seen, future = transform.forward(context, future)
    assert seen.now[STATE_KEY] is state
    assert seen.past[ACTION_KEY].value[0, 0, 1] == future[ACTION_KEY].value[0, -1, 1]
    assert (future[ACTION_KEY].value[..., 0] == 0.5).all()
    return future[ACTION_KEY].value[0, :, 1].tolist()


def test_open_becomes_one_and_closed_zero():
    assert moved(RemapGripper(-1.0, 1.0), -1.0, 1.0, 0.0) == [1.0, 0.0, 0.5]
    assert moved(RemapGripper(1.0, -1.0), -1.0, 1.0, 0.0) == [0.0, 1.0, 0.5]
    assert moved(RemapGripper(0.5, 0.0), 0.5, 0.25) == [1.0, 0.5]


def test_the_robot_gets_its_own_words():
    chunk = ActionChunk.of(torch.tensor([[[0.5, 1.0], [0.5, 0.0], [0.5, 0.75]]]), range(3))
    back = RemapGripper(-1.0, 1.0).inverse(chunk)
    assert back.value[0].tolist() == [[0.5, -1.0], [0.5, 1.0], [0.5, -0.5]]


def test_a_gripper_that_cannot_be_told_open_from_closed_is_refused():
    with pytest.raises(ValueError, match=r"open_value and closed_value are both 1\.0; give two different values"):
        RemapGripper(1.0, 1.0)
