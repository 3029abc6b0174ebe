import pytest
import torch

from tempovla.timeline import Context, Track
from tempovla.transform.points import CropPoints, LimitPoints, ScalePoints

CLOUD = "observation.points.lidar"


def prepared(transform, points: torch.Tensor) -> Track:
    """One cloud (N, F) behind a transform."""
    now = {CLOUD: Track.of_points(points[None, None], (0,)), "other": Track.of(torch.ones(1, 1, 2), (0,))}
    context, future = transform.forward(Context({}, now, (), torch.zeros(1, dtype=torch.bool)), {})
    assert future == {}
    assert context.now["other"] is now["other"]
    return context.now[CLOUD]


def test_points_outside_the_box_are_absent():
    points = torch.tensor([[0.0, 0.0, 1.0, 7.0], [5.0, 0.0, 1.0, 7.0], [0.0, -2.0, 9.0, 7.0], [4.9, 1.9, 0.0, 7.0]])
    track = prepared(CropPoints(CLOUD, (0.0, -2.0, 0.0), (5.0, 2.0, 5.0)), points)
    assert track.element_valid.tolist() == [[[True, False, False, True]]]
    assert (track.value[0, 0, 1:3] == 0).all()
    assert torch.equal(track.value[0, 0, 0], points[0])


def test_too_many_points_are_thinned_evenly_and_those_that_are_there_come_first():
    points = torch.arange(10.0)[:, None].repeat(1, 4)
    points[[0, 3]] = torch.nan
    track = prepared(LimitPoints(CLOUD, 4), points)
    assert track.value[0, 0, :, 0].tolist() == [1.0, 4.0, 6.0, 8.0]
    assert track.element_valid.all()


def test_fewer_points_are_padded():
    points = torch.tensor([[torch.nan] * 4, [1.0] * 4, [2.0] * 4])
    track = prepared(LimitPoints(CLOUD, 5), points)
    assert track.value.shape == (1, 1, 5, 4)
    assert track.value[0, 0, :, 0].tolist() == [1.0, 2.0, 0.0, 0.0, 0.0]
    assert track.element_valid.tolist() == [[[True, True, False, False, False]]]


def test_a_cloud_without_any_row_is_padded():
    track = prepared(LimitPoints(CLOUD, 5), torch.zeros(0, 4))
    assert torch.equal(track.value, torch.zeros(1, 1, 5, 4))
    assert not track.element_valid.any()
    assert track.element_valid.shape == (1, 1, 5)


def test_numbers_are_divided_by_their_scales():
    track = prepared(ScalePoints(CLOUD, (1.0, 2.0, 4.0, 255.0)), torch.tensor([[1.0, 2.0, 4.0, 255.0]]))
    assert torch.equal(track.value, torch.ones(1, 1, 1, 4))
    with pytest.raises(ValueError, match="has 4 numbers a point, and its scale 2"):
        prepared(ScalePoints(CLOUD, (1.0, 1.0)), torch.zeros(1, 4))


def test_settings_and_streams_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="are no box"):
        CropPoints(CLOUD, (0.0, 1.0), (1.0, 1.0))
    with pytest.raises(ValueError, match="max_points=0"):
        LimitPoints(CLOUD, 0)
    with pytest.raises(ValueError, match="must be finite numbers above 0"):
        ScalePoints(CLOUD, (1.0, 0.0))
    state = Context({}, {CLOUD: Track.of(torch.zeros(1, 1, 4), (0,))}, (), torch.zeros(1, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"is \(1, 1, 4\); points must be"):
        LimitPoints(CLOUD, 3).forward(state, {})
