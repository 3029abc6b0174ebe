"""Tracks are read from samples that are dicts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from tempovla.data.temporal.rows import RowReader, given

FRONT = "observation.images.front"
FRAME = np.arange(27, dtype=np.uint8).reshape(3, 3, 3)


def row(**changed) -> dict:
    return {"image_t": [FRAME], "action": [[1, 2], [3, 4]], "state_t": [5, 6, 7]} | changed


def test_the_first_key_that_a_row_has_is_read():
    assert given([{"a": None, "b": 2}], 0, "a", None, "b") == 2
    with pytest.raises(ValueError, match="row 0 has no 'a' and no 'c'; it has"):
        given([{"b": 2}], 0, "a", "c")


def test_pictures_may_be_of_pil_or_arrays_and_become_rgb():
    grey = Image.fromarray(FRAME[..., 0])
    reader = RowReader([row(), row(image_t=[Image.fromarray(FRAME)]), row(image_t=[grey])], [FRONT])
    value = reader.images("image_t", "image", 0)[FRONT].value
    assert value.shape == (3, 1, 3, 3, 3)
    assert torch.equal(value[0], value[1])
    assert torch.equal(value[2, 0], torch.from_numpy(np.repeat(FRAME[..., :1], 3, axis=-1)))


def test_a_state_may_be_a_vector_or_a_row_of_one():
    reader = RowReader([row(), row(state_t=[[5, 6, 7]])], [FRONT])
    assert reader.state("state_t", "state", 0).value.tolist() == [[[5.0, 6.0, 7.0]], [[5.0, 6.0, 7.0]]]


def test_actions_count_as_their_flags_say_and_all_of_them_without_flags():
    reader = RowReader([row(), row(action_valid=[True, False])], [FRONT])
    track = reader.actions("action", (0, 1))
    assert track.valid.tolist() == [[True, True], [True, False]]
    assert track.value.dtype == torch.float32


def test_actions_of_the_past_count_only_where_the_row_says_so():
    past = [[8, 9], [8, 9]]
    rows = [row(), row(action_prev=past), row(action_prev=past, valid_tmk=1.0), row(valid_tmk=1.0)]
    track = RowReader([{**each, "image_tmk": [FRAME]} for each in rows], [FRONT]).past_actions(2)
    assert track.offset.tolist() == [-2, -1]
    assert track.valid[:, 0].tolist() == [False, False, True, False]
    assert track.value[0].tolist() == [[0.0, 0.0], [0.0, 0.0]]
    with pytest.raises(ValueError, match=r"row 0: action_prev has shape \[2, 2\]; give the 3 actions before now"):
        RowReader([row(action_prev=past)], [FRONT]).past_actions(3)


def test_numbers_of_another_kind_are_refused():
    with pytest.raises(ValueError, match="row 0: state_t is 'far'; give numbers"):
        RowReader([row(state_t="far")], [FRONT]).state("state_t", None, 0)
    with pytest.raises(ValueError, match="row 0: action is empty; give numbers"):
        RowReader([row(action=[])], [FRONT]).actions("action", (0, 1))
    with pytest.raises(ValueError, match=r"state_t has the shapes \[\[2\], \[3\]\] in one batch"):
        RowReader([row(), row(state_t=[1, 2])], [FRONT]).state("state_t", None, 0)
