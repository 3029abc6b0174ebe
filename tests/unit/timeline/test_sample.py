from dataclasses import replace

import pytest
import torch

from tempovla.timeline import Context, Embodiment, Task, TimelineSample, Track
from tempovla.timeline.sample import join_contexts, join_tracks, split_tracks

BODY = Embodiment("arm", state_dim=1, action_dim=1, rate_hz=10.0)


def track(offsets, rows=3):
    value = torch.arange(rows * len(offsets), dtype=torch.float32).view(rows, len(offsets), 1)
    return Track.of(value, offsets)


def sample():
    past, now, future = split_tracks({"state": track((-1, 0, 2)), "action": track((-1, 0, 1)), "depth": track((0,))})
    tasks = tuple(Task(word, BODY) for word in ("open", "close", "push"))
    context = Context(past, now, tasks, first=torch.tensor([True, False, False]))
    return TimelineSample(context, future, seed=torch.tensor([5, 6, 7]))


def test_an_action_at_offset_0_is_future_and_an_observation_there_is_now():
    context, future = sample().context, sample().future
    offsets = {
        name: {key: part.offset.tolist() for key, part in tracks.items()}
        for name, tracks in (("past", context.past), ("now", context.now), ("future", future))
    }
    assert offsets == {
        "past": {"state": [-1], "action": [-1]},
        "now": {"state": [0], "depth": [0]},
        "future": {"state": [2], "action": [0, 1]},
    }


def test_what_follows_an_action_is_future_from_offset_0_on():
    past, now, future = split_tracks({key: track((-1, 0, 1)) for key in ("next.reward", "next.done", "nextdoor")})
    assert {key: part.offset.tolist() for key, part in past.items()} == {
        "next.reward": [-1],
        "next.done": [-1],
        "nextdoor": [-1],
    }
    assert {key: part.offset.tolist() for key, part in now.items()} == {"nextdoor": [0]}
    assert {key: part.offset.tolist() for key, part in future.items()} == {
        "next.reward": [0, 1],
        "next.done": [0, 1],
        "nextdoor": [1],
    }


def test_splitting_keeps_each_value_with_its_offset_and_validity():
    whole = replace(track((-1, 0, 2)), valid=torch.tensor([[True, False, True]] * 3))
    past, now, future = split_tracks({"state": whole})
    for part, offset in ((past, -1), (now, 0), (future, 2)):
        for got, expected in zip(part["state"].at(offset), whole.at(offset), strict=True):
            assert torch.equal(got, expected)


def test_which_streams_are_actions_can_be_said():
    past, now, future = split_tracks({"gripper_command": track((0,))}, action_keys=("action", "gripper_command"))
    assert (list(past), list(now), list(future)) == ([], [], ["gripper_command"])


def test_a_context_joins_past_and_present_of_a_stream():
    context = sample().context
    assert context.track("state").offset.tolist() == [-1, 0]
    assert context.track("depth").offset.tolist() == [0]
    assert context.track("action").offset.tolist() == [-1]
    with pytest.raises(
        KeyError, match=r"no stream 'lidar' in this context, which holds \['action', 'depth', 'state'\]"
    ):
        context.track("lidar")


def test_rows_take_tracks_tasks_flags_and_seeds_along():
    chosen = sample().rows([2, 0])
    assert [task.instruction for task in chosen.context.task] == ["push", "open"]
    assert chosen.context.first.tolist() == [False, True]
    assert chosen.seed.tolist() == [7, 5]
    assert chosen.context.now["depth"].value.flatten().tolist() == [2.0, 0.0]
    assert chosen.future["action"].value[0].flatten().tolist() == sample().future["action"].value[2].flatten().tolist()
    assert chosen.batch_size == 2


def test_map_tracks_reaches_past_present_and_future():
    mapped = sample().map_tracks(lambda key, part: part.map(lambda value: value + (key == "state")))
    assert mapped.context.past["state"].value[0].item() == sample().context.past["state"].value[0].item() + 1
    assert mapped.context.now["depth"].value[0].item() == sample().context.now["depth"].value[0].item()
    assert mapped.future["state"].value[0].item() == sample().future["state"].value[0].item() + 1


def test_rows_are_joined_again():
    whole = sample()
    parts = [whole.rows([0, 1]), whole.rows([2])]
    context = join_contexts([part.context for part in parts])
    assert context.task == whole.context.task
    assert context.first.tolist() == whole.context.first.tolist()
    joined = {**context.past, **context.now, **join_tracks([part.future for part in parts])}
    for key, part in {**whole.context.past, **whole.context.now, **whole.future}.items():
        assert joined[key].value.tolist() == part.value.tolist()
        assert joined[key].offset.tolist() == part.offset.tolist()


def test_rows_of_other_streams_or_shapes_make_no_batch():
    with pytest.raises(ValueError, match=r"streams \['depth'\] and with \['state'\] do not make one batch"):
        join_tracks([{"depth": track((0,))}, {"state": track((0,))}])
    wide = Track.of(torch.zeros(3, 1, 2), (0,))
    with pytest.raises(ValueError, match=r"stream 'depth' are \[1\] torch.float32 at \[0\] and \[2\] .* to one shape"):
        join_tracks([{"depth": track((0,))}, {"depth": wide}])
