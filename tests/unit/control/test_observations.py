"""Observations of one robot or several, in numpy or torch, become rows; what is wrong is told in one line."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from tempovla.control.observations import Reads, read_observation
from tempovla.timeline import Embodiment, Window
from tempovla.timeline.parts import StreamPart
from tempovla.transform.blind import BlankImages
from tempovla.transform.join import JoinStreams
from tempovla.transform.pipeline import TransformPipeline
from tempovla.transform.text import EmbedInstruction, HashedNgramEmbedder

STATE, FRONT = "observation.state", "observation.images.front"
BODY = Embodiment("arm", 2, 3, rate_hz=10.0)
READS = Reads(frozenset({STATE, FRONT}), (STATE, FRONT), BODY)
PICTURE = np.full((4, 6, 3), 255, np.uint8)
ONE = {STATE: np.array([1.0, 2.0]), FRONT: PICTURE, "task": "open", "timestamp": 0.3}


def test_one_robot_is_one_row_without_an_axis_of_its_own():
    rows = read_observation(ONE, READS)
    assert (rows.is_batch, rows.device, rows.instructions, len(rows.streams)) == (False, None, ["open"], 1)
    assert rows.streams[0].keys() == {STATE, FRONT}
    assert rows.streams[0][STATE].dtype == np.float32
    assert rows.answer(np.ones((1, 5, 3), np.float32)).shape == (5, 3)


def test_what_follows_an_action_is_not_asked_of_a_robot():
    windows = (Window(STATE, (0,)), Window("action", (0,)), Window("next.reward", (0,)))
    reads = Reads.of(windows, windows, TransformPipeline([]), BODY)
    assert (reads.accepted, reads.required) == (frozenset({STATE}), (STATE,))


@pytest.mark.parametrize("tasks", ["open", ["open", "close"]])
def test_a_batch_is_a_row_each(tasks):
    batch = {STATE: np.array([[1, 2], [3, 4]]), FRONT: np.stack([PICTURE, 0 * PICTURE]), "task": tasks}
    rows = read_observation(batch, READS)
    assert rows.is_batch
    assert rows.instructions == (["open", "open"] if tasks == "open" else tasks)
    assert [row[STATE].tolist() for row in rows.streams] == [[1, 2], [3, 4]]
    assert [int(row[FRONT].max()) for row in rows.streams] == [255, 0]
    assert rows.answer(np.ones((2, 5, 3), np.float32)).shape == (2, 5, 3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_tensors_are_answered_with_tensors(dtype):
    rows = read_observation({STATE: torch.tensor([1.0, 2.0], dtype=dtype), FRONT: torch.ones(3, 4, 6)}, READS)
    assert (rows.device, rows.instructions) == (torch.device("cpu"), None)
    np.testing.assert_array_equal(rows.streams[0][FRONT], PICTURE)
    answer = rows.answer(np.ones((1, 3), np.float32))
    assert (type(answer), answer.dtype, tuple(answer.shape)) == (torch.Tensor, torch.float32, (3,))


def test_rows_do_not_share_memory_with_what_was_given():
    picture = PICTURE.copy()
    rows = read_observation(ONE | {FRONT: picture}, READS)
    picture[:] = 0  # as a camera that fills the same buffer again
    assert rows.streams[0][FRONT].min() == 255


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({STATE: np.array([1.0, np.nan])}, r"'observation.state' has nan in dimension 1; give finite numbers"),
        ({STATE: np.array([-np.inf, 1.0])}, r"'observation.state' has -inf in dimension 0"),
        (
            {STATE: np.array([1.0, 2.0, 3.0])},
            r"'observation.state' has 3 dimensions, but the policy learned with 2, .*arm",
        ),
        ({STATE: "near"}, r"'observation.state' is 'near'; give an array of numbers"),
        (
            {STATE: torch.zeros(2, device="meta")},
            r"'observation.state' is a tensor on the device meta, which has no val",
        ),
        (
            {STATE: np.ma.masked_greater([1.0, 2.0], 1.5)},
            r"'observation.state' has 1 masked values; give it with all of",
        ),
        ({STATE: [[1.0], [2.0, 3.0]]}, "give an array of numbers"),
        ({FRONT: np.full((3, 4, 6), np.nan)}, r"picture 'observation.images.front' holds nan"),
        ({FRONT: PICTURE[None]}, r"'observation.state' is of one robot, 'observation.images.front' is of a batch of 1"),
        ({"task": ["open", "close"]}, "'task' is of a batch of 2"),
        ({FRONT: PICTURE[None, None]}, "give one step of it, not a sequence of steps"),
        ({"task": 3}, "'task' is 3; give an instruction in words"),
    ],
)
def test_what_cannot_be_used_is_named_in_one_line(changed, told):
    with pytest.raises(ValueError, match=told) as refused:
        read_observation(ONE | changed, READS)
    assert "\n" not in str(refused.value)


def test_the_row_of_a_batch_is_named():
    batch = {STATE: np.array([[1, 2], [3, np.inf]]), FRONT: np.stack([PICTURE, PICTURE])}
    with pytest.raises(ValueError, match="has inf in dimension 1 of row 1"):
        read_observation(batch, READS)


def test_what_is_missing_is_told_beside_what_was_given():
    given = {"observation.image.front": PICTURE, STATE: np.zeros(2), "task": "open"}
    told = (
        r"^the observation lacks \['observation.images.front'\]: it holds \['observation.image.front', "
        r"'observation.state', 'task'\], and the policy reads \['observation.images.front', 'observation.state'\], "
        r"and 'task'; rename 'observation.image.front' to 'observation.images.front'$"
    )
    with pytest.raises(ValueError, match=told):
        read_observation(given, READS)
    with pytest.raises(ValueError, match="the observation is a list; give a mapping"):
        read_observation([1.0], READS)


def test_blanked_cameras_and_parts_of_a_joined_stream_may_be_missing():
    form = (StreamPart("arm", 2, 0, 2),)
    steps = [BlankImages((FRONT,), 8), JoinStreams({STATE: (form,)})]
    windows = [Window("arm", (0,)), Window(FRONT, (0,)), Window("action", (0, 1)), Window("observation.force", (0, 1))]
    accepted = [*windows, Window(STATE, (0,))]
    reads = Reads.of(accepted, windows, TransformPipeline(steps), BODY)
    assert reads == replace(
        READS,
        accepted=frozenset({"arm", FRONT, STATE, "observation.force"}),
        required=("observation.force",),
        instruction=False,
        joined={STATE: ("arm",)},
    )
    assert reads.in_words == "'observation.force', 'observation.state' (or 'arm')"
    told = TransformPipeline([*steps, EmbedInstruction(HashedNgramEmbedder(8))])
    assert Reads.of(accepted, windows, told, BODY).instruction


def test_points_of_one_robot_have_two_axes_and_of_several_three():
    lidar = "observation.points.lidar"
    reads = Reads(frozenset({STATE, lidar}), (STATE, lidar), BODY, instruction=False)
    one = read_observation({STATE: np.array([1.0, 2.0]), lidar: np.ones((5, 4))}, reads)
    assert (one.is_batch, one.streams[0][lidar].shape, one.streams[0][lidar].dtype) == (False, (5, 4), np.float32)
    two = read_observation({STATE: np.ones((2, 2)), lidar: np.ones((2, 5, 3))}, reads)
    assert [row[lidar].shape for row in two.streams] == [(5, 3), (5, 3)]
    with pytest.raises(ValueError, match=r"lidar' is \(4,\); give points \(N, F\), or \(B, N, F\) for a batch"):
        read_observation({STATE: np.ones(2), lidar: np.ones(4)}, reads)


def test_a_state_that_may_be_missing_has_the_size_of_the_body_where_it_is_given():
    windows = (Window(STATE, (0,), optional=True), Window(FRONT, (0,)))
    reads = Reads.of(windows, windows, TransformPipeline([]), BODY)
    assert reads.required == (FRONT,)
    assert read_observation({FRONT: PICTURE}, reads).streams[0].keys() == {FRONT}
    with pytest.raises(ValueError, match="has 3 dimensions, but the policy learned with 2, those of arm"):
        read_observation({FRONT: PICTURE, STATE: np.ones(3)}, reads)


def test_an_observation_may_lack_all_that_is_optional_but_names_nothing_else():
    windows = (Window(STATE, (0,), optional=True),)
    reads = Reads.of(windows, windows, TransformPipeline([]), BODY)
    assert reads.in_words == "nothing, and where there are 'observation.state'"
    assert read_observation({"task": "go"}, reads).streams == [{}]
    assert read_observation({"task": ["go", "stop"]}, reads).streams == [{}, {}]
    assert read_observation({FRONT: PICTURE}, reads).streams == [{}]
    with pytest.raises(ValueError, match=r"holds \['state'\], .* rename 'state' to 'observation.state'; give the"):
        read_observation({"state": np.ones(2), "task": "go"}, reads)
