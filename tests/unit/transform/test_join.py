"""Observations under a dataset's own names, as the streams that the policy knows."""

import json

import pytest
import torch

from tempovla.timeline import Context, Embodiment, Task, Track, Window
from tempovla.timeline.parts import StreamPart
from tempovla.transform.join import JoinStreams
from tempovla.transform.pipeline import TransformPipeline

STATE = "observation.state"
OWN = (StreamPart("grip", 1, 0, 1), StreamPart("arm", 3, 1, 3))
JOIN = JoinStreams({STATE: (OWN, (StreamPart(STATE, 3, 0, 3),))})
ARM, GRIP = torch.tensor([[[1.0, 2.0, 3.0]]]), torch.tensor([[[9.0]]])


def context(past: dict | None = None, **now: torch.Tensor) -> Context:
    tracks = {key.replace("_dot_", "."): Track.of(value, (0,)) for key, value in now.items()}
    return Context(past or {}, tracks, (Task("open", Embodiment("arm", 3, 2, 10.0)),), torch.tensor([False]))


def test_parts_are_joined_in_their_order_and_leave_the_context():
    seen, _ = JOIN.forward(context(arm=ARM, grip=GRIP, front=torch.ones(1, 1, 2)), {})
    assert seen.now[STATE].value.tolist() == [[[9.0, 2.0, 3.0]]]
    assert sorted(seen.now) == ["front", STATE]


def test_a_value_is_valid_where_all_its_parts_are():
    past = {
        "arm": Track.of(ARM.repeat(1, 2, 1), (-2, -1), torch.tensor([[True, True]])),
        "grip": Track.of(GRIP.repeat(1, 2, 1), (-2, -1), torch.tensor([[False, True]])),
    }
    seen, _ = JOIN.forward(context(past, arm=ARM, grip=GRIP), {})
    assert seen.past[STATE].valid.tolist() == [[False, True]]
    assert seen.past[STATE].offset.tolist() == [-2, -1]


def test_what_is_joined_already_is_taken_as_it_is():
    seen, _ = JOIN.forward(context(observation_dot_state=torch.tensor([[[7.0, 8.0, 9.0]]])), {})
    assert seen.now[STATE].value.tolist() == [[[7.0, 8.0, 9.0]]]


def test_numbers_of_several_types_become_float32_and_bare_ones_a_dimension():
    seen, _ = JOIN.forward(context(arm=ARM.double(), grip=torch.tensor([[4]])), {})
    assert seen.now[STATE].value.dtype == torch.float32
    assert seen.now[STATE].value.tolist() == [[[4.0, 2.0, 3.0]]]


def test_a_missing_part_is_named_with_what_was_given():
    with pytest.raises(
        ValueError, match=r"needs streams \['grip'\] for 'observation.state' = grip \+ arm\[1:3\], but is "
    ):
        JOIN.forward(context(arm=ARM), {})


def test_a_part_of_another_size_is_refused():
    with pytest.raises(ValueError, match="stream 'arm' has 4 dimensions, not 3"):
        JOIN.forward(context(arm=torch.ones(1, 1, 4), grip=GRIP), {})


def test_windows_take_the_datasets_names_and_control_accepts_all_forms():
    windows = (Window(STATE, (-1, 0)), Window("front", (0,)), Window("action", (0, 1)))
    pipeline = TransformPipeline([JOIN])
    own = pipeline.own_windows(windows)
    assert own == (Window("grip", (-1, 0)), Window("arm", (-1, 0)), *windows[1:])
    assert pipeline.accepted_windows(own) == (*own, windows[0])
    assert TransformPipeline([]).accepted_windows(windows) == windows


def test_an_exported_graph_gets_its_inputs_out_of_the_joined_form():
    whole = JoinStreams(
        {STATE: ((StreamPart("grip", 1, 0, 1), StreamPart("arm", 2, 0, 2)), (StreamPart(STATE, 3, 0, 3),))}
    )
    seen = whole.under_own_names(context(observation_dot_state=torch.tensor([[[7.0, 8.0, 9.0]]])))
    assert {key: track.value.tolist() for key, track in seen.now.items()} == {"grip": [[[7.0]]], "arm": [[[8.0, 9.0]]]}
    with pytest.raises(ValueError, match=r"needs streams \['grip', 'arm'\]"):
        JOIN.under_own_names(context(observation_dot_state=torch.ones(1, 1, 3)))


def test_it_comes_back_from_json():
    assert JoinStreams.from_json(json.loads(json.dumps(JOIN.to_json()))) == JOIN
