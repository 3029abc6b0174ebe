"""Vectors that are not finite are refused where they are valid, by row and dimension."""

import pytest
import torch

from tempovla.timeline.finite import absurd_reading, check_actions, check_finite
from tempovla.timeline.track import Track


def test_the_first_row_and_dimension_are_named():
    value = torch.zeros(3, 2, 4)
    check_finite("state", value, torch.ones(3, 2, dtype=torch.bool))
    value[1, 0, 2] = torch.nan
    with pytest.raises(ValueError, match=r"row 1 has nan in dimension 2 of 'state'; give finite numbers, or end the"):
        check_finite("state", value, torch.ones(3, 2, dtype=torch.bool))
    with pytest.raises(ValueError, match="row 2 has -inf in dimension 0 of 'vector'"):
        check_finite("vector", torch.tensor([[0.0], [1.0], [-torch.inf]]))
    with pytest.raises(ValueError, match="row 0 has nan in dimension 0 of 'number'"):
        check_finite("number", torch.tensor([[0.0, torch.nan]]), torch.tensor([[True, True]]))


def test_what_is_not_valid_and_pictures_of_distances_may_hold_nan():
    value = torch.full((1, 2, 3), torch.nan)
    check_finite("state", value, torch.tensor([[False, False]]))
    check_finite("depth", torch.full((1, 1, 4, 4, 1), torch.nan), torch.tensor([[True]]))
    check_finite("pixels", torch.zeros(1, 3, 4, 4, dtype=torch.uint8))


def test_actions_that_are_not_finite_are_named_with_their_step():
    actions = torch.zeros(2, 3, 4)
    check_actions(actions, "run")
    actions[1, 2, 3] = -torch.inf
    with pytest.raises(
        ValueError, match=r"^run: gives -inf in dimension 3 at step 2 of the chunk of row 1, which is no"
    ):
        check_actions(actions, "run")
    with pytest.raises(ValueError, match=r"not a motion; it computes in float16, which holds no number above 65504"):
        check_actions(actions, "run", torch.float16)


def test_an_absurd_reading_is_named_where_actions_are_not_finite():
    actions = torch.zeros(2, 1, 1)
    actions[1] = torch.nan
    valid = torch.tensor([[True], [True]])
    fine = Track(torch.tensor([[[1.0]], [[2.0]]]), valid, torch.tensor([0]))
    state = Track(torch.tensor([[[3e38, 0.0]], [[0.0, -2e38]]]), valid, torch.tensor([0]))
    unseen = Track(torch.full((2, 1, 1), 3e38), ~valid, torch.tensor([0]))
    seen = [("pose", fine), ("state", state), ("imu", unseen)]
    assert absurd_reading(seen, 0) == ("state", pytest.approx(3e38))
    with pytest.raises(
        ValueError, match=r"row 1, which is not a motion; the observation has -2e\+38 in 'state', which no sensor"
    ):
        check_actions(actions, "run", seen=seen)
    with pytest.raises(ValueError, match="give an earlier checkpoint"):
        check_actions(actions, "run", seen=seen[:1])
    actions[1] = -3e34
    with pytest.raises(ValueError, match=r"gives -3e\+34 in dimension 0 .* the observation has -2e\+38 in 'state'"):
        check_actions(actions, "run", seen=seen)
    check_actions(torch.full((2, 1, 1), 1e6), "run", seen=seen)
