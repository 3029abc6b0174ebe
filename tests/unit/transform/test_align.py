"""Streams of one body in the form that several share, and its actions back."""

import json
from dataclasses import replace

import pytest
import torch

from tempovla.timeline import ActionChunk, CameraCalibration, Context, Embodiment, Task, Track, Window
from tempovla.transform.align import AlignStreams, MissingStream, Padding

STATE, ACTION, SIDE, FRONT, WRIST = "observation.state", "action", "side", "front", "wrist"
ALIGN = AlignStreams(
    {SIDE: FRONT},
    {WRIST: MissingStream((3, 4, 4), (-1, 0, 2))},
    {STATE: Padding.of(2, 3), ACTION: Padding.of(3, 5, gripper=True)},
)


def context(**now: Track) -> Context:
    task = (Task("open", Embodiment("arm", 2, 3, 10.0)),) * 2
    return Context({}, now, task, torch.zeros(2, dtype=torch.bool))


def raw() -> tuple[Context, dict[str, Track]]:
    picture = Track.of(torch.ones(2, 1, 3, 4, 4, dtype=torch.uint8), (0,))
    state = Track.of(torch.tensor([[[1.0, 2.0]], [[3.0, 4.0]]]), (0,))
    return context(**{STATE: state, SIDE: picture, WRIST: picture}), {ACTION: Track.of(torch.ones(2, 4, 3), range(4))}


def test_vectors_are_padded_the_gripper_last_and_say_which_dimensions_are_their_own():
    seen, future = ALIGN.forward(*raw())
    assert seen.now[STATE].value.tolist() == [[[1.0, 2.0, 0.0]], [[3.0, 4.0, 0.0]]]
    assert seen.now["observation.state.dims"].value.tolist() == [[[True, True, False]]] * 2
    assert future[ACTION].value[0, 0].tolist() == [1.0, 1.0, 0.0, 0.0, 1.0]
    assert seen.now["action.dims"].value[1, 0].tolist() == [True, True, False, False, True]


def test_streams_take_the_policys_names_and_missing_ones_are_there_and_invalid():
    seen, future = ALIGN.forward(*raw())
    assert SIDE not in seen.now
    assert seen.now[FRONT].value.all()
    assert not seen.now[WRIST].valid.any()  # its own wrist is not the policy's
    assert not seen.now[WRIST].value.any()
    assert seen.now[WRIST].value.shape == (2, 1, 3, 4, 4)
    assert (seen.past[WRIST].offset.tolist(), future[WRIST].offset.tolist()) == ([-1], [2])
    acted, nothing = ALIGN.forward(raw()[0], {})
    assert nothing == {}
    assert acted.past.keys() == seen.past.keys()


def test_two_streams_may_swap_their_names():
    a, b = (Track.of(torch.full((2, 1, 1), value), (0,)) for value in (1.0, 2.0))
    seen, _ = AlignStreams({FRONT: WRIST, WRIST: FRONT}).forward(context(front=a, wrist=b), {})
    assert (seen.now[WRIST].value[0].item(), seen.now[FRONT].value[0].item()) == (1.0, 2.0)


def test_actions_come_back_in_their_own_dimensions():
    action = torch.tensor([[[1.0, 2.0, 7.0, 8.0, 3.0]]])
    chunk = ActionChunk(action, torch.ones(1, 1, dtype=torch.bool), torch.arange(1))
    assert ALIGN.inverse(chunk).value.tolist() == [[[1.0, 2.0, 3.0]]]
    assert AlignStreams().inverse(chunk) is chunk


def test_windows_are_on_the_bodys_own_streams():
    windows = (Window(FRONT, (0,)), Window(WRIST, (-1, 0)), Window(ACTION, (0, 1)))
    assert ALIGN.own_windows(windows) == (Window(SIDE, (0,)), Window(ACTION, (0, 1)))


def test_vectors_of_another_size_are_refused():
    with pytest.raises(ValueError, match=r"stream 'action' has 2 dimensions, not 3; give data of the robot"):
        ALIGN.forward(raw()[0], {ACTION: Track.of(torch.ones(2, 4, 2), range(4))})


def test_json_round_trip():
    assert AlignStreams.from_json(json.loads(json.dumps(ALIGN.to_json()))) == ALIGN


def test_calibrations_take_the_policys_names_too():
    camera = CameraCalibration(SIDE, 8, 8, 4.0, 4.0, 4.0, 4.0)
    known, future = raw()
    assert ALIGN.forward(known, future)[0].task == known.task
    body = replace(known.task[0].embodiment, cameras=(camera,))
    seen, _ = ALIGN.forward(replace(known, task=(Task("open", body),) * 2), future)
    assert seen.task[1].embodiment.camera(FRONT) == replace(camera, stream=FRONT)
    assert seen.task[1].embodiment.camera(SIDE) == camera
