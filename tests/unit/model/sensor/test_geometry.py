"""What all geometry encoders do alike."""

import pytest
import torch
from tests.geometry_doubles import SeededConvEncoder
from torch.utils._python_dispatch import TorchDispatchMode

from tempovla.model.fusion.gated import GatedFusion
from tempovla.model.sensor import (
    GEOMETRY_REGISTRY,
    DepthGeometryConfig,
    LatentGeometryConfig,
    PointMapGeometryConfig,
    PointTokensConfig,
    build_geometry,
)
from tempovla.model.vlm import vision_encoder
from tempovla.model.vlm.config import VisionEncoderConfig
from tempovla.model.vlm.vision_encoder import ENCODER_REGISTRY

TOKENS = PointTokensConfig(grid=2, output_dim=16, hidden_dim=8, num_bands=3)
CONFIGS = {
    "depth": DepthGeometryConfig(tokens=TOKENS),
    "depth_in_world": DepthGeometryConfig(tokens=TOKENS, frame="world"),
    "relative_depth": DepthGeometryConfig(tokens=TOKENS, scale="relative"),
    "point_map": PointMapGeometryConfig(tokens=TOKENS),
    "relative_points": PointMapGeometryConfig(tokens=TOKENS, frame="world", scale="relative"),
    "latent": LatentGeometryConfig(vision=VisionEncoderConfig("seeded_conv", image_size=28, freeze=False)),
}


@pytest.fixture(autouse=True)
def _seeded_conv(monkeypatch):
    monkeypatch.setitem(ENCODER_REGISTRY, "seeded_conv", SeededConvEncoder)


def views(seed: int = 0) -> dict[str, torch.Tensor]:
    """Two samples of two views, of which the second sample lacks its first."""
    random = torch.Generator().manual_seed(seed)
    eye = torch.eye(4).expand(2, 2, 4, 4).clone()
    eye[..., :3, 3] = torch.rand(2, 2, 3, generator=random)
    return {
        "images": torch.rand(2, 2, 3, 28, 28, generator=random),
        "view_mask": torch.tensor([[True, True], [False, True]]),
        "intrinsics": torch.tensor([[30.0, 0, 14], [0, 30, 14], [0, 0, 1]]).expand(2, 2, 3, 3).clone(),
        "extrinsics": eye,
        "depth": 0.5 + torch.rand(2, 2, 1, 12, 12, generator=random),
        "points": 0.5 + torch.rand(2, 2, 3, 12, 12, generator=random),
    }


def encoder(name: str):
    torch.manual_seed(0)
    return build_geometry(CONFIGS[name])


def test_every_registered_kind_is_tested():
    assert {config.kind for config in CONFIGS.values()} == set(GEOMETRY_REGISTRY)


@pytest.mark.parametrize("name", CONFIGS)
def test_features_have_the_promised_shapes_and_tags(name):
    model = encoder(name)
    out = model.encode(**views())
    assert out.features.shape == (2, 2, 4, 16)
    assert out.features.dtype == torch.float32
    assert out.token_mask.tolist() == [[[True] * 4, [True] * 4], [[False] * 4, [True] * 4]]
    assert (out.frame, out.scale) == (model.frame, model.scale)
    assert (out.points is None) == (out.frame == "none")
    if out.points is not None:
        assert out.points.shape == (2, 2, 4, 3)
        assert out.confidence.tolist() == [[[1.0] * 4, [1.0] * 4], [[0.0] * 4, [1.0] * 4]]
    sequence, mask = out.flat()
    assert torch.equal(sequence[0, 5], out.features[0, 1, 1])
    assert mask.tolist() == [[True] * 8, [False] * 4 + [True] * 4]


@pytest.mark.parametrize("name", CONFIGS)
def test_what_a_masked_view_holds_changes_nothing(name):
    model, seen = encoder(name), views()
    other = {key: value.clone() for key, value in seen.items()}
    for key in set(seen) - {"view_mask"}:
        other[key][1, 0] = torch.nan
    first, second = model.encode(**seen), model.encode(**other)
    for field in ("features", "token_mask", "points", "depth", "confidence"):
        expected, actual = getattr(first, field), getattr(second, field)
        assert (expected is None) == (actual is None)
        assert expected is None or torch.equal(expected, actual), field
    assert not first.features[1, 0].any()


@pytest.mark.parametrize("name", CONFIGS)
def test_gradients_are_finite_where_a_masked_view_holds_no_numbers(name):
    model, seen = encoder(name), views()
    for key in set(seen) - {"view_mask"}:
        seen[key][1, 0] = torch.nan
    model.encode(**seen).features.square().sum().backward()
    gradients = [weight.grad for weight in model.parameters() if weight.grad is not None]
    assert gradients
    assert all(gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize(
    ("name", "missing", "told"),
    [
        ("depth", "intrinsics", "DepthGeometry needs intrinsics, but they are not known; record the cameras'"),
        ("depth", "depth", "DepthGeometry needs depth, but they are not known; record depth streams"),
        ("depth_in_world", "extrinsics", "needs extrinsics, but they are not known; record the cameras' poses"),
        ("point_map", "points", "PointMapGeometry needs points, but they are not known"),
    ],
)
def test_what_is_needed_and_not_known_is_an_error_of_one_line(name, missing, told):
    with pytest.raises(ValueError, match=told) as error:
        encoder(name).encode(**(views() | {missing: None}))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", CONFIGS)
def test_what_is_not_needed_may_be_unknown(name):
    model, seen = encoder(name), views()
    needed = {key for key in ("intrinsics", "extrinsics", "depth", "points") if getattr(model, f"needs_{key}")}
    few = {key: value for key, value in seen.items() if key in {"images", "view_mask", *needed}}
    assert torch.equal(model.encode(**few).features, model.encode(**seen).features)


def test_tensors_of_other_shapes_are_refused():
    model, seen = encoder("depth"), views()
    with pytest.raises(ValueError, match=r"images are \(2, 3, 28, 28\) torch.float32; give \(B, V, 3, h, w\)"):
        model.encode(**(seen | {"images": seen["images"][:, 0]}))
    with pytest.raises(ValueError, match=r"view_mask is \(2,\) torch.bool; give \(2, 2\) truth values"):
        model.encode(**(seen | {"view_mask": seen["view_mask"][0]}))
    with pytest.raises(ValueError, match=r"depth of the views are \(2, 2, 12, 12\); give \(2, 2, 1, any, any\)"):
        model.encode(**(seen | {"depth": seen["depth"][:, :, 0]}))
    with pytest.raises(ValueError, match=r"intrinsics of the views are \(3, 3\); give \(2, 2, 3, 3\)"):
        model.encode(**(seen | {"intrinsics": seen["intrinsics"][0, 0]}))


def test_an_unknown_kind_is_refused():
    config = DepthGeometryConfig()
    object.__setattr__(config, "kind", "lidar")
    with pytest.raises(ValueError, match=r"geometry\.kind='lidar' is unknown; choose from depth, point_map, latent"):
        build_geometry(config)


class WaitsForNothing(TorchDispatchMode):
    """Fails where a GPU would have to be waited for."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        assert func.name() not in ("aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select"), func.name()
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", CONFIGS)
def test_no_step_waits_for_a_gpu(name, monkeypatch):
    monkeypatch.setattr(vision_encoder, "unit_pixels", lambda images: images)  # looks at the values on a CPU alone
    model, seen = encoder(name), views()
    fusion = GatedFusion(8, model.output_dim, num_heads=2)
    with WaitsForNothing():
        fusion(torch.zeros(2, 3, 8), *model.encode(**seen).flat())


@pytest.mark.parametrize("name", ["depth_in_world", "point_map"])
def test_points_keep_their_precision_under_autocast(name):
    model, seen = encoder(name), views()
    expected = model.encode(**seen)
    with torch.autocast("cpu", torch.bfloat16):
        out = model.encode(**seen)
    assert torch.equal(out.points, expected.points)
    assert out.features.dtype == torch.float32
    assert torch.allclose(out.features, expected.features, atol=0.05)
    out = model.to(torch.bfloat16).encode(**seen)
    assert torch.equal(out.points, expected.points)
