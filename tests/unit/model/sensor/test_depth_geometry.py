import pytest
import torch
from tests.geometry_doubles import Scene, look_down, pinhole

from tempovla.model.sensor.config import DepthGeometryConfig, PointTokensConfig
from tempovla.model.sensor.depth_geometry import DepthGeometry, readings

TOKENS = PointTokensConfig(grid=8, output_dim=12, hidden_dim=16, num_bands=4)
SIZE = 32


def seen_from(scene: Scene, *poses: torch.Tensor, size: int = SIZE) -> dict[str, torch.Tensor]:
    """One sample with a view from each pose."""
    intrinsics = pinhole(size, size, 0.8 * size)
    depth = torch.stack([scene.depth(intrinsics, pose, size, size) for pose in poses])
    return {
        "images": torch.zeros(1, len(poses), 3, size, size),
        "view_mask": torch.ones(1, len(poses), dtype=torch.bool),
        "intrinsics": intrinsics.float().expand(1, len(poses), 3, 3),
        "extrinsics": torch.stack(poses)[None].float(),
        "depth": depth[None, :, None].float(),
    }


def model(**options) -> DepthGeometry:
    torch.manual_seed(0)
    return DepthGeometry(DepthGeometryConfig(tokens=TOKENS, **options))


def test_points_in_the_world_are_the_scene_from_every_camera():
    scene = Scene(radius=1e-9)
    out = model(frame="world").encode(**seen_from(scene, look_down(1.5), look_down(1.2, x=0.1, tilt=0.3)))
    assert (out.frame, out.scale) == ("world", "metric")
    assert out.points[..., 2].abs().max() < 1e-5
    assert out.points[0, 0, 0].tolist() == pytest.approx([-1.5 * 14 / 25.6, 1.5 * 14 / 25.6, 0.0], abs=1e-5)


def test_points_move_with_the_object():
    moved = [Scene(centre=(x, 0.0, 0.2)) for x in (-0.25, 0.25)]
    outs = [model(frame="world").encode(**seen_from(scene, look_down(1.5))) for scene in moved]
    tops = [out.points[0, 0][out.points[0, 0, :, 2].argmax()] for out in outs]
    assert (tops[1] - tops[0])[0].item() == pytest.approx(0.5, abs=0.15)
    assert tops[0][2] > 0.25
    assert not torch.equal(outs[0].features, outs[1].features)


def test_patches_average_readings_alone():
    seen = seen_from(Scene(radius=1e-9), look_down(1.5))
    seen["depth"][0, 0, 0, :2, :4] = 0.0  # half of the first patch has no reading
    seen["depth"][0, 0, 0, :4, 4:8] = torch.nan
    out = model().encode(**seen)
    assert out.depth[0, 0, 0].item() == pytest.approx(1.5)
    assert out.confidence[0, 0, :3].tolist() == [0.5, 0.0, 1.0]
    assert out.token_mask[0, 0, :3].tolist() == [True, False, True]
    assert out.features[0, 0, 1].tolist() == [0.0] * 12


def test_depth_beyond_the_limit_is_no_reading():
    seen = seen_from(Scene(), look_down(1.5))
    out = model(max_depth=1.4).encode(**seen)
    assert out.depth.max() < 1.4
    assert out.token_mask.sum() < 64
    assert (
        readings(torch.tensor([0.0, -1.0, 2.0, torch.inf, torch.nan, 5.0]), 4.0).tolist()
        == [False] * 2 + [True] + [False] * 3
    )


def test_relative_depth_of_any_unit_gives_the_same_features():
    seen = seen_from(Scene(), look_down(1.5), look_down(1.0))
    first = model(scale="relative").encode(**seen)
    second = model(scale="relative").encode(**(seen | {"depth": 4.0 * seen["depth"]}))
    assert first.scale == "relative"
    assert torch.equal(first.points, second.points)
    middle = first.depth.median(dim=-1).values
    assert middle[0].tolist() == pytest.approx([1.0, 1.0], abs=0.05)


def test_pictures_and_depth_may_differ_in_size():
    small = seen_from(Scene(radius=1e-9), look_down(1.5))
    large = torch.zeros(1, 1, 3, 2 * SIZE, 2 * SIZE)
    of_large = torch.stack([2 * small["intrinsics"][..., :2, :], small["intrinsics"][..., :2, :]])[0]
    intrinsics = torch.cat([of_large, small["intrinsics"][..., 2:, :]], dim=-2)
    first = model().encode(**small)
    second = model().encode(**(small | {"images": large, "intrinsics": intrinsics}))
    assert torch.equal(first.points, second.points)


def test_a_frame_of_the_world_needs_metric_depth():
    with pytest.raises(ValueError, match=r"geometry\.frame='world' needs metric depth"):
        DepthGeometryConfig(frame="world", scale="relative")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"frame": "none"}, "geometry.frame='none' is no frame of points; choose from camera, world"),
        ({"scale": "none"}, "geometry.scale='none' is no scale of points; choose from metric, relative"),
        ({"max_depth": 0.0}, "geometry.max_depth=0.0 must be above 0"),
    ],
)
def test_options_that_no_depth_has_are_refused(options, told):
    with pytest.raises(ValueError, match=told):
        DepthGeometryConfig(**options)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"grid": 0}, "model.geometry.tokens.grid=0 must be at least 1"),
        ({"extent": float("inf")}, "model.geometry.tokens.extent=inf must be a length above 0"),
        ({"min_valid_share": 1.5}, "tokens.min_valid_share=1.5 must be a share from 0 to 1"),
    ],
)
def test_sizes_that_no_tokens_have_are_refused(options, told):
    with pytest.raises(ValueError, match=told):
        PointTokensConfig(**options)
