"""Contexts from live observations: what a row remembers, and what a dataset would have read at the same step."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.contract.toys import ACTION, ACTION_DIM, FRONT, STATE, STATE_DIM

from tempovla.control.context_builder import ContextBuilder
from tempovla.data.memory import MemoryEpisode, MemorySource
from tempovla.data.window import gather
from tempovla.timeline import CameraCalibration, Context, Embodiment, StreamInfo, Window

BODY = Embodiment("toy", STATE_DIM, ACTION_DIM, rate_hz=10.0)
WINDOWS = (
    Window(STATE, (-3, -1, 0, 4)),
    Window(FRONT, (0,)),
    Window(ACTION, (-2, -1, 0, 1)),
)


def observation(number: int) -> dict[str, np.ndarray]:
    return {
        STATE: np.full(STATE_DIM, number, np.float32),
        FRONT: np.full((4, 4, 3), number, np.uint8),
        "observation.unused": np.zeros(1),
    }


def action(number: int) -> np.ndarray:
    return np.full(ACTION_DIM, number, np.float32)


def shown(context: Context, key: str, row: int = 0) -> tuple[list[int], list[bool]]:
    """First number of each step, and its validity."""
    track = context.track(key)
    return track.value[row].flatten(1)[:, 0].int().tolist(), track.valid[row].tolist()


def test_an_episode_starts_with_repeats_that_are_not_valid():
    builder = ContextBuilder(WINDOWS, BODY, num_rows=1)
    builder.reset(0, "open it", observation(10))
    context = builder.context()
    assert shown(context, STATE) == ([10, 10, 10], [False, False, True])
    assert shown(context, FRONT) == ([10], [True])
    assert shown(context, ACTION) == ([0, 0], [False, False])
    assert context.first.tolist() == [True]
    assert context.task[0].instruction == "open it"
    assert context.task[0].embodiment is BODY


def test_what_follows_an_action_is_not_asked_of_observations():
    builder = ContextBuilder((*WINDOWS, Window("next.reward", (0, 1))), BODY, num_rows=1)
    builder.reset(0, "open it", observation(10))
    builder.add(0, action(1)[None], observation(11))
    assert "next.reward" not in {*builder.context().past, *builder.context().now}
    with pytest.raises(
        ValueError, match=r"reads the past of \['next\.done'\], which no observation holds when it acts"
    ):
        ContextBuilder((*WINDOWS, Window("next.done", (-1, 0))), BODY, num_rows=1)


def test_history_fills_up_step_by_step():
    builder = ContextBuilder(WINDOWS, BODY, num_rows=1)
    builder.reset(0, "", observation(10))
    seen = []
    for step in range(1, 6):
        builder.add(0, action(100 + step)[None], observation(10 + step))
        context = builder.context()
        assert context.first.tolist() == [False]
        seen.append((shown(context, STATE), shown(context, ACTION)))
    assert seen == [
        (([10, 10, 11], [False, True, True]), ([101, 101], [False, True])),
        (([10, 11, 12], [False, True, True]), ([101, 102], [True, True])),
        (([10, 12, 13], [True, True, True]), ([102, 103], [True, True])),
        (([11, 13, 14], [True, True, True]), ([103, 104], [True, True])),
        (([12, 14, 15], [True, True, True]), ([104, 105], [True, True])),
    ]


def test_past_and_present_are_apart_and_the_future_is_absent():
    builder = ContextBuilder(WINDOWS, BODY, num_rows=2)
    for row in (0, 1):
        builder.reset(row, "", observation(row))
    context = builder.context()
    assert {key: track.offset.tolist() for key, track in context.past.items()} == {STATE: [-3, -1], ACTION: [-2, -1]}
    assert {key: track.offset.tolist() for key, track in context.now.items()} == {STATE: [0], FRONT: [0]}
    assert context.now[FRONT].value.shape == (2, 1, 4, 4, 3)
    assert context.now[FRONT].value.dtype == torch.uint8


def test_a_reset_row_forgets_and_the_others_do_not_notice():
    builder = ContextBuilder(WINDOWS, BODY, num_rows=2)
    for row in (0, 1):
        builder.reset(row, f"task {row}", observation(10))
        for step in range(1, 5):
            builder.add(row, action(step)[None], observation(10 + step))
    builder.reset(1, "another task", observation(50))
    context = builder.context()
    assert shown(context, STATE, row=0) == ([11, 13, 14], [True, True, True])
    assert shown(context, ACTION, row=0) == ([3, 4], [True, True])
    assert shown(context, STATE, row=1) == ([50, 50, 50], [False, False, True])
    assert shown(context, ACTION, row=1)[1] == [False, False]
    assert context.first.tolist() == [False, True]
    assert [task.instruction for task in context.task] == ["task 0", "another task"]


def test_no_more_is_kept_than_the_windows_reach_back():
    builder = ContextBuilder(WINDOWS, BODY, num_rows=1)
    builder.reset(0, "", observation(0))
    for step in range(50):
        builder.add(0, action(step)[None], observation(step))
    assert {key: len(values) for key, values in builder._history[0].items()} == {STATE: 4, FRONT: 1, ACTION: 2}


def test_no_more_actions_are_kept_however_many_come_at_once():
    builder = ContextBuilder((Window(STATE, (0,)), Window(ACTION, (-3, -1, 0))), BODY, num_rows=1)
    builder.reset(0, "", observation(0))
    for call in range(20):
        builder.add(0, np.stack([action(8 * call + step) for step in range(8)]), observation(call))
    assert {key: len(values) for key, values in builder._history[0].items()} == {STATE: 1, ACTION: 3}
    assert shown(builder.context(), ACTION) == ([157, 159], [True, True])


def test_actions_that_come_together_are_seen_as_if_they_had_come_one_by_one():
    """Pieces of several lengths, as where an episode ends inside a chunk; two rows at different places."""
    windows = (Window(STATE, (0,)), Window(ACTION, (-5, -4, -1, 0, 1)))
    together, alone = (ContextBuilder(windows, BODY, num_rows=2) for _ in range(2))
    for builder in (together, alone):
        for row in (0, 1):
            builder.reset(row, "", observation(row))
    random, step = np.random.default_rng(0), 0
    for row, length in ((0, 3), (1, 4), (0, 1), (1, 6), (0, 2), (1, 1)):
        actions = random.normal(size=(length, ACTION_DIM)).astype(np.float32)
        together.add(row, actions, observation(step + length))
        for taken in actions:
            step += 1
            alone.add(row, taken[None], observation(step))
        expected, actual = alone.context(), together.context()
        for key in (STATE, ACTION):
            assert torch.equal(actual.track(key).value, expected.track(key).value)
            assert torch.equal(actual.track(key).valid, expected.track(key).valid)
        assert torch.equal(actual.first, expected.first)


def test_actions_are_kept_as_they_were_whatever_becomes_of_the_array():
    builder = ContextBuilder((Window(ACTION, (-1, 0)),), BODY, num_rows=1)
    builder.reset(0, "", observation(0))
    taken = action(7)[None]
    builder.add(0, taken, observation(1))
    taken[:] = 0
    assert shown(builder.context(), ACTION) == ([7], [True])


def test_steps_without_their_observations_are_refused_where_windows_need_them():
    builder = ContextBuilder(WINDOWS, BODY, num_rows=1)
    builder.reset(0, "", observation(0))
    with pytest.raises(ValueError, match="2 actions at once, but the windows reach into past observations"):
        builder.add(0, np.stack([action(1), action(2)]), observation(2))
    with pytest.raises(ValueError, match=r"actions \(2,\) must be \(n, A\)"):
        builder.add(0, action(1), observation(1))
    with pytest.raises(ValueError, match=r"actions \(0, 2\) must be \(n, A\)"):
        builder.add(0, action(1)[None][:0], observation(1))


@pytest.mark.parametrize(
    ("windows", "expected"),
    [
        ((Window(STATE, (0,)), Window(ACTION, (0, 1))), False),
        ((Window(STATE, (-1, 0)),), True),
        ((Window(STATE, (0,)), Window(ACTION, (-1, 0))), False),
        ((Window(STATE, (-1, 0)), Window(ACTION, (-1, 0))), True),
        ((Window(STATE, (0, 5)),), False),
    ],
)
def test_windows_into_the_past_of_observations_need_every_step(windows, expected):
    assert ContextBuilder(windows, BODY, num_rows=1).needs_every_step is expected


def test_streams_that_are_not_observed_are_left_out():
    builder = ContextBuilder((Window(STATE, (0,)), Window(FRONT, (0,))), BODY, num_rows=1)
    assert not builder.has_row(0)
    builder.reset(0, "", {STATE: np.zeros(3, np.float32)})
    assert builder.has_row(0)
    assert set(builder.context().now) == {STATE}


def test_an_observation_whose_names_are_all_others_is_refused_with_them():
    builder = ContextBuilder(WINDOWS, BODY, num_rows=1)
    told = r"row 0 has streams \['front', 'state'\], but the policy reads \['observation.images.front', "
    with pytest.raises(ValueError, match=told):
        builder.reset(0, "", {"state": observation(0)[STATE], "front": observation(0)[FRONT]})


def test_a_stream_that_the_episode_began_with_is_not_shown_again_when_it_stays_away():
    builder = ContextBuilder(WINDOWS, BODY, num_rows=1)
    builder.reset(0, "", observation(10))
    without = {key: value for key, value in observation(11).items() if key != STATE}
    with pytest.raises(ValueError, match=r"lacks streams \['observation.state'\], which the episode began with"):
        builder.add(0, action(1)[None], without)


def test_a_row_was_started_also_where_nothing_is_observed():
    builder = ContextBuilder((Window(ACTION, (-1, 0)),), BODY, num_rows=2)
    builder.reset(1, "", observation(0))
    assert [builder.has_row(row) for row in (0, 1)] == [False, True]


def test_what_a_rollout_sees_is_what_a_dataset_reads_at_the_same_step():
    """Law 8 in time, over windows with gaps and at every step of an episode, its start included."""
    random = np.random.default_rng(0)
    values = {
        STATE: random.normal(size=(9, STATE_DIM)).astype(np.float32),
        FRONT: random.integers(0, 256, (9, 4, 4, 3), dtype=np.uint8),
        ACTION: random.normal(size=(9, ACTION_DIM)).astype(np.float32),
    }
    streams = {
        STATE: StreamInfo("state", (STATE_DIM,), "float32", 10.0),
        FRONT: StreamInfo("image", (4, 4, 3), "uint8", 10.0),
        ACTION: StreamInfo("action", (ACTION_DIM,), "float32", 10.0),
    }
    source = MemorySource("recorded", BODY, streams, [MemoryEpisode("open it", 9, values)])
    windows = (Window(STATE, (-5, -2, 0)), Window(FRONT, (-1, 0)), Window(ACTION, (-4, -1, 0)))
    builder = ContextBuilder(windows, BODY, num_rows=1)
    builder.reset(0, "open it", {key: values[key][0] for key in (STATE, FRONT)})
    for step in range(9):
        if step:
            builder.add(0, values[ACTION][step - 1 : step], {key: values[key][step] for key in (STATE, FRONT)})
        context = builder.context()
        for window in windows:
            until = -1 if window.key == ACTION else 0
            reading = gather(source, 0, step, Window(window.key, [o for o in window.offsets if o <= until]))
            track = context.track(window.key)
            assert track.valid[0].tolist() == reading.valid.tolist()
            np.testing.assert_array_equal(track.value[0][track.valid[0]].numpy(), reading.value[reading.valid])
            if window.key != ACTION:
                np.testing.assert_array_equal(track.value[0].numpy(), reading.value)


def test_the_words_of_a_row_change_in_the_middle_of_its_episode():
    builder = ContextBuilder(WINDOWS, BODY, num_rows=2)
    with pytest.raises(ValueError, match="row 1 has no episode in which it could be told 'pull'; reset it first"):
        builder.instruct(1, "pull")
    for row in range(2):
        builder.reset(row, "open", observation(0))
        builder.add(row, action(1)[None], observation(1))
    builder.instruct(1, "pull")
    context = builder.context()
    assert [task.instruction for task in context.task] == ["open", "pull"]
    assert shown(context, STATE, 1) == shown(context, STATE, 0)
    assert context.first.tolist() == [False, False]
    builder.reset(1, "close", observation(2))
    assert [task.instruction for task in builder.context().task] == ["open", "close"]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_state_that_is_not_finite_is_refused_with_its_step_and_changes_nothing(bad: float):
    builder = ContextBuilder((Window(STATE, (0,)), Window(FRONT, (0,))), BODY, num_rows=2)
    broken = observation(12)
    broken[STATE][1] = bad
    with pytest.raises(ValueError, match=rf"row 1 at step 0 has {bad} in dimension 1 of '{STATE}'; give finite"):
        builder.reset(1, "", broken)
    assert not builder.has_row(1)
    builder.reset(1, "", observation(10))
    builder.add(1, np.stack([action(0)] * 3), observation(11))
    with pytest.raises(ValueError, match=rf"row 1 at step 5 has {bad} in dimension 1 of '{STATE}'") as caught:
        builder.add(1, np.stack([action(0)] * 2), broken)
    assert "\n" not in str(caught.value)
    builder.reset(0, "", observation(1))
    assert shown(builder.context(), STATE, row=1) == ([11], [True])


def test_only_vectors_that_the_policy_reads_must_be_finite():
    """A distance that is not finite is no reading."""
    depth = "observation.images.depth"
    builder = ContextBuilder((Window(STATE, (0,)), Window(depth, (0,))), BODY, num_rows=1)
    seen = observation(3) | {depth: np.full((2, 2, 1), np.nan, np.float32), "observation.unused": np.array([np.nan])}
    builder.reset(0, "", seen)
    assert shown(builder.context(), STATE) == ([3], [True])


def test_a_copy_goes_on_by_itself():
    builder = ContextBuilder(WINDOWS, BODY, num_rows=2)
    for row in range(2):
        builder.reset(row, "open it", observation(10 + row))
    other = builder.copy()
    other.add(0, action(1)[None], observation(20))
    other.instruct(1, "close it")
    assert shown(other.context(), STATE) == ([10, 10, 20], [False, True, True])
    assert shown(builder.context(), STATE) == ([10, 10, 10], [False, False, True])
    assert [builder.context().first.tolist(), other.context().first.tolist()] == [[True, True], [False, True]]
    assert [task.instruction for task in builder.context().task] == ["open it", "open it"]
    assert [task.instruction for task in other.context().task] == ["open it", "close it"]


def test_an_episode_may_have_calibrations_of_its_own():
    own = CameraCalibration("observation.depth.front", 8, 8, 4.0, 4.0, 4.0, 4.0)
    body = replace(BODY, cameras=(own,))
    builder = ContextBuilder((Window(STATE, (0,)),), body, num_rows=2)
    seen = {STATE: np.zeros(2, np.float32)}
    builder.reset(0, "a", seen)
    builder.reset(1, "b", seen, [replace(own, fx=5.0)])
    kept = builder.copy()
    assert [task.embodiment.cameras[0].fx for task in builder.context().task] == [4.0, 5.0]
    builder.reset(1, "c", seen)
    assert [task.embodiment.cameras[0].fx for task in builder.context().task] == [4.0, 4.0]
    assert [task.embodiment.cameras[0].fx for task in kept.context().task] == [4.0, 5.0]


def test_clouds_of_different_sizes_become_one_track_of_points():
    key = "observation.points.lidar"
    builder = ContextBuilder((Window(key, (-1, 0)),), BODY, num_rows=2)
    for row, count in enumerate((1, 3)):
        builder.reset(row, "drive", {key: np.full((count, 4), row, np.float32)})
    builder.add(0, np.zeros((1, ACTION_DIM)), {key: np.full((2, 4), 7, np.float32)})
    builder.add(1, np.zeros((1, ACTION_DIM)), {key: np.zeros((0, 4), np.float32)})
    found = builder.context().track(key)
    assert found.value.shape == (2, 2, 3, 4)
    assert found.element_valid is not None
    assert found.element_valid.sum(dim=-1).tolist() == [[1, 2], [3, 0]]
    assert found.value[0, 1, :, 0].tolist() == [7.0, 7.0, 0.0]
    assert found.valid.all()


def test_a_policy_that_can_do_without_every_stream_acts_on_an_empty_observation():
    builder = ContextBuilder((Window(STATE, (0,), optional=True),), BODY, num_rows=1)
    builder.reset(0, "drive", {})
    assert STATE not in builder.context().now
    with pytest.raises(ValueError, match=r"has streams \['state'\], but the policy reads \['observation.state'\]"):
        builder.reset(0, "drive", {"state": np.zeros(STATE_DIM, np.float32)})
    needs = ContextBuilder((Window(STATE, (0,)),), BODY, num_rows=1)
    with pytest.raises(ValueError, match=r"has streams \[\], but the policy reads"):
        needs.reset(0, "drive", {})


def test_a_stream_that_the_policy_can_do_without_may_stay_away_and_come_back():
    key = "observation.points.lidar"
    builder = ContextBuilder((Window(STATE, (-1, 0)), Window(key, (-1, 0), optional=True)), BODY, num_rows=1)
    state, cloud = {STATE: np.zeros(STATE_DIM, np.float32)}, np.ones((3, 4), np.float32)
    builder.reset(0, "drive", {**state, key: cloud})
    action = np.zeros((1, ACTION_DIM), np.float32)
    validity = []
    for seen in ({}, {}, {key: 2 * cloud}):
        builder.add(0, action, {**state, **seen})
        track = builder.context().track(key)
        validity.append(track.valid[0].tolist())
    assert validity == [[True, False], [False, False], [False, True]]
    assert (track.value[0, 1] == 2).all()
    with pytest.raises(ValueError, match="lacks streams"):
        builder.add(0, action, {key: cloud})
