import pytest
import torch
from tests.geometry_doubles import Scene, look_down, pinhole

from tempovla.model.sensor.unproject import masked_median, scale_intrinsics, transform_points, unproject


@pytest.mark.parametrize("tilt", [0.0, 0.4])
def test_unprojected_depth_lies_on_the_surfaces_that_were_seen(tilt):
    scene, intrinsics, pose = Scene(), pinhole(48, 64, 50.0), look_down(1.5, tilt=tilt)
    depth = scene.depth(intrinsics, pose, 48, 64)
    points = transform_points(unproject(depth, intrinsics), pose)
    seen = depth > 0
    from_plane = points[2].abs()
    from_sphere = ((points - torch.tensor(scene.centre)[:, None, None]).norm(dim=0) - scene.radius).abs()
    assert torch.minimum(from_plane, from_sphere)[seen].max() < 1e-6
    assert (from_sphere[seen] < 1e-6).sum() > 50
    assert (from_plane[seen] < 1e-6).sum() > 50


def test_a_resized_picture_has_scaled_intrinsics():
    scene, pose = Scene(), look_down(1.5)
    small = scale_intrinsics(pinhole(64, 96, 80.0), (64, 96), (16, 48))
    assert small.tolist() == [[40.0, 0.0, 24.0], [0.0, 20.0, 8.0], [0.0, 0.0, 1.0]]
    points = transform_points(unproject(scene.depth(small, pose, 16, 48), small), pose)
    assert points[2, 0].abs().max() < 1e-6  # the first row sees the plane


def test_skew_is_part_of_the_intrinsics():
    intrinsics = torch.tensor([[50.0, 5.0, 8.0], [0.0, 40.0, 8.0], [0.0, 0.0, 1.0]])
    points = unproject(torch.full((16, 16), 2.0), intrinsics)
    pixels = intrinsics @ (points / points[2]).flatten(1)
    assert torch.allclose(pixels[0].reshape(16, 16)[3], torch.arange(16) + 0.5, atol=1e-4)
    assert torch.allclose(pixels[1].reshape(16, 16)[:, 3], torch.arange(16) + 0.5, atol=1e-4)


def test_the_median_is_of_valid_values_alone_and_1_where_there_are_none():
    values = torch.tensor([[3.0, 100.0, 1.0, 2.0], [5.0, 6.0, 7.0, 8.0]])
    valid = torch.tensor([[True, False, True, True], [False] * 4])
    assert masked_median(values, valid).tolist() == [2.0, 1.0]
