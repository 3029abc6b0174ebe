import torch

from tempovla.model.sensor.config import PointMapGeometryConfig, PointTokensConfig
from tempovla.model.sensor.point_map_geometry import PointMapGeometry

TOKENS = PointTokensConfig(grid=2, output_dim=8, hidden_dim=8, num_bands=2)


def encode(points: torch.Tensor, **options):
    torch.manual_seed(0)
    views = points.shape[:2]
    return PointMapGeometry(PointMapGeometryConfig(tokens=TOKENS, **options)).encode(
        torch.zeros(*views, 3, 8, 8), torch.ones(views, dtype=torch.bool), points=points
    )


def test_patches_hold_the_mean_of_their_points():
    points = torch.rand(1, 1, 3, 4, 4) + 0.5
    points[0, 0, :, 0, 0] = torch.nan
    out = encode(points)
    patch = points[0, 0, :, :2, :2].flatten(1)[:, 1:]
    assert torch.allclose(out.points[0, 0, 0], patch.mean(dim=1))
    assert torch.allclose(out.depth, out.points[..., 2])
    assert out.confidence[0, 0].tolist() == [0.75, 1.0, 1.0, 1.0]


def test_points_behind_the_camera_are_no_readings():
    points = torch.rand(1, 1, 3, 4, 4) + 0.5
    points[0, 0, 2, :2, :2] = -1.0
    assert encode(points).token_mask[0, 0].tolist() == [False, True, True, True]


def test_relative_points_are_divided_by_one_median_over_all_views():
    points = torch.ones(1, 2, 3, 4, 4)
    points[0, 0, 2], points[0, 1, 2] = 2.0, 6.0
    points[0, 1, 2, 0] = 2.0  # most pixels are at 2
    out = encode(points, scale="relative")
    assert out.depth[0, 0].tolist() == [1.0] * 4
    assert out.depth[0, 1].tolist() == [2.0, 2.0, 3.0, 3.0]
    assert torch.equal(encode(4.0 * points, scale="relative").features, out.features)


def test_points_of_a_common_frame_tell_no_depth():
    out = encode(-torch.ones(1, 1, 3, 4, 4), frame="world")
    assert (out.frame, out.depth) == ("world", None)
    assert out.token_mask.all()
