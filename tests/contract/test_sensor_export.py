"""What a bird's eye view is made of can be exported: the graph holds for other points than it was made with."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tempovla.model.fusion import LiftConfig, build_lift
from tempovla.model.sensor import BEVGridConfig, IMUEncoder, PillarEncoder

GRID = BEVGridConfig(x_min=0.0, x_max=8.0, y_min=-4.0, y_max=4.0)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def cameras() -> tuple[Tensor, Tensor]:
    """Intrinsics (2, 1, 3, 3) and poses (2, 1, 4, 4) of a camera that looks ahead."""
    pose = torch.tensor([[0.0, 0.0, 1.0, 0.0], [-1.0, 0.0, 0.0, 0.0], [0.0, -1.0, 0.0, 1.5], [0.0, 0.0, 0.0, 1.0]])
    intrinsics = torch.tensor([[40.0, 0.0, 32.0], [0.0, 40.0, 16.0], [0.0, 0.0, 1.0]])
    return intrinsics.expand(2, 1, 3, 3), pose.expand(2, 1, 4, 4)


def inputs(name: str, seed: int) -> tuple[Tensor, ...]:
    if name == "pillars":
        return 4.0 * drawn(2, 60, 4, seed=seed), drawn(2, 60, seed=seed + 1) > -0.5
    if name == "imu":
        return drawn(2, 9, 6, seed=seed), torch.arange(9.0).expand(2, -1) / (90 + seed), drawn(2, 9, seed=seed) > -0.5
    return drawn(2, 1, 6, 4, 8, seed=seed), *cameras(), drawn(2, 1, seed=seed + 1) > -0.5


MODULES: dict[str, Any] = {
    "pillars": lambda: PillarEncoder(GRID, 8),
    "imu": lambda: IMUEncoder(8, num_layers=1),
    "splat": lambda: build_lift(GRID, 6, LiftConfig("splat", 8, depth_bins=8)),
    "sample": lambda: build_lift(GRID, 6, LiftConfig("sample", 8)),
}


def features(module: nn.Module, given: tuple[Tensor, ...]) -> Tensor:
    out = module(*given)
    return out[0] if isinstance(out, tuple) else out


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The tensor attributes self.lstm")
@pytest.mark.parametrize("name", MODULES)
def test_the_exported_graph_gives_the_same(name):
    torch.manual_seed(0)
    module = MODULES[name]().eval()
    with torch.no_grad():
        exported = torch.export.export(module, inputs(name, 0), strict=False).module()
        for seed in (0, 5):
            given = inputs(name, seed)
            assert torch.allclose(features(exported, given), features(module, given), rtol=0, atol=1e-6)
