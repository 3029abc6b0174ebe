"""Encoders of sensors and fusions in bfloat16, float16 and under autocast: they run, learn, and stay close."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.half_precision import HALVES, assert_close
from torch import Tensor, nn

from tempovla.model.fusion import (
    BEVFusion,
    BEVFusionConfig,
    BEVTokens,
    CrossModalFusion,
    HierarchicalFusion,
    LiftConfig,
    build_lift,
)
from tempovla.model.sensor import (
    BEVGridConfig,
    CameraBackbone,
    DepthEncoder,
    IMUEncoder,
    PillarEncoder,
    PointCloudConfig,
    PointCloudEncoder,
    RadarEncoder,
    RadarPillars,
    SetAbstractionConfig,
)

GRID = BEVGridConfig(x_min=0.0, x_max=16.0, y_min=-8.0, y_max=8.0)
POINTS = PointCloudConfig((SetAbstractionConfig(16, (4.0,), (8,), ((8, 16),)),), (32,))


def drawn(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def cloud(width: int) -> Tensor:
    return drawn(2, 60, width) * 4.0 + 8.0 * torch.eye(width)[0]


def cameras() -> tuple[Tensor, Tensor]:
    """Intrinsics (2, 1, 3, 3) and poses (2, 1, 4, 4) of a camera that looks ahead."""
    pose = torch.tensor([[0.0, 0.0, 1.0, 0.0], [-1.0, 0.0, 0.0, 0.0], [0.0, -1.0, 0.0, 1.5], [0.0, 0.0, 0.0, 1.0]])
    intrinsics = torch.tensor([[40.0, 0.0, 32.0], [0.0, 40.0, 16.0], [0.0, 0.0, 1.0]])
    return intrinsics.expand(2, 1, 3, 3), pose.expand(2, 1, 4, 4)


SETS = (drawn(2, 5, 16), drawn(2, 4, 16), drawn(2, 3, 16))
MAPS = {"cameras": drawn(2, 6, 8, 8), "lidar": drawn(2, 4, 8, 8)}
CASES: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "point cloud": (lambda: PointCloudEncoder(4, 12, POINTS), (cloud(4),)),
    "pillars": (lambda: PillarEncoder(GRID, 12), (cloud(4),)),
    "radar targets": (lambda: RadarEncoder(12), (cloud(5),)),
    "radar maps": (lambda: RadarEncoder(12, map_channels=2), (drawn(2, 2, 16, 16),)),
    "radar pillars": (lambda: RadarPillars(GRID, 12), (cloud(5),)),
    "imu": (lambda: IMUEncoder(12), (drawn(2, 20, 6), torch.arange(20.0).expand(2, -1) / 90.0)),
    "depth": (lambda: DepthEncoder(12, hidden_dim=8), (1.0 + drawn(2, 1, 32, 48).abs(),)),
    "backbone": (lambda: CameraBackbone(12, 4, 16), (drawn(2, 2, 3, 32, 48).sigmoid(),)),
    "splat": (lambda: build_lift(GRID, 6, LiftConfig("splat", 12)), (drawn(2, 1, 6, 4, 8), *cameras())),
    "sample": (lambda: build_lift(GRID, 6, LiftConfig("sample", 12)), (drawn(2, 1, 6, 4, 8), *cameras())),
    "cross-modal": (lambda: CrossModalFusion(16, 4), SETS),
    "hierarchical": (lambda: HierarchicalFusion(16, 4), SETS),
    "bev fusion": (
        lambda: BEVFusion({name: each.shape[1] for name, each in MAPS.items()}, BEVFusionConfig(8)),
        (MAPS,),
    ),
    "bev tokens": (lambda: BEVTokens(6, 12, size=4), (MAPS["cameras"],)),
}


def built(name: str) -> nn.Module:
    torch.manual_seed(0)
    return CASES[name][0]()


def features(module: nn.Module, name: str) -> Tensor:
    out = module(*CASES[name][1])
    return getattr(out, "pooled", out[0] if isinstance(out, tuple) else out)


def assert_learns(module: nn.Module, out: Tensor) -> None:
    out.float().square().sum().backward()
    gradients = [weight.grad for weight in module.parameters() if weight.grad is not None]
    assert gradients
    assert all(gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("name", CASES)
def test_weights_of_half_precision(name, dtype):
    low = built(name).to(dtype)
    out = features(low, name)
    assert_close(out, features(built(name), name), dtype)
    assert_learns(low, out)


@pytest.mark.parametrize("name", CASES)
def test_autocast(name):
    module = built(name)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = features(module, name)
    assert_close(out, features(built(name), name), torch.bfloat16)
    assert_learns(module, out)
