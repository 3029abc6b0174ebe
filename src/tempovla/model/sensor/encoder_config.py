"""Options of the encoders of LiDAR points.

Nothing here loads torch, so that the command line can show and check these options at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Sampling = Literal["torch", "quickfps"]
"""What samples the farthest points: PyTorch alone, or the package torch-quickfps, which is faster."""


@dataclass(frozen=True)
class SetAbstractionConfig:
    """One level of PointNet++: centres, and a small network over the neighbours of each.

    Attributes:
        count: number of centres.
        radii: radius of the neighbourhood [m]; several make a level of several scales (multi-scale grouping), whose
            features are joined.
        max_neighbours: most neighbours that are looked at, for each radius; the nearest ones are taken.
        widths: widths of the network's layers, the last of which is that of the features, for each radius.
    """

    count: int
    radii: tuple[float, ...]
    max_neighbours: tuple[int, ...]
    widths: tuple[tuple[int, ...], ...]

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"levels.count={self.count} must be at least 1")
        if not self.radii or not len(self.radii) == len(self.max_neighbours) == len(self.widths):
            raise ValueError(
                f"levels.radii={self.radii}, levels.max_neighbours={self.max_neighbours} and levels.widths="
                f"{self.widths} must name the same scales, at least one"
            )
        if not all(radius > 0 for radius in self.radii) or not all(most > 0 for most in self.max_neighbours):
            raise ValueError(f"levels.radii={self.radii} and max_neighbours={self.max_neighbours} must be above 0")
        if not all(scale and all(width > 0 for width in scale) for scale in self.widths):
            raise ValueError(f"levels.widths={self.widths} must have at least one layer for each scale, all above 0")

    @property
    def output_dim(self) -> int:
        """Width of a centre's features: those of all scales together."""
        return sum(scale[-1] for scale in self.widths)


@dataclass(frozen=True)
class PointCloudConfig:
    """PointNet++ (Qi et al., 2017) over LiDAR points.

    Attributes:
        levels: set abstractions, each over the centres of the one before.
        global_widths: widths of the network over the last centres, whose largest values are the feature of the cloud.
        extent: length by which positions are divided where they are features [m].
        sampling: what samples the centres: `torch`, or the faster package `quickfps`, which must be installed.
    """

    levels: tuple[SetAbstractionConfig, ...] = (
        SetAbstractionConfig(256, (2.0,), (16,), ((32, 32, 64),)),
        SetAbstractionConfig(64, (8.0,), (16,), ((64, 64, 128),)),
    )
    global_widths: tuple[int, ...] = (128, 1024)
    extent: float = 50.0
    sampling: Sampling = "torch"

    def __post_init__(self) -> None:
        if not self.levels or not self.global_widths:
            raise ValueError(
                f"levels={self.levels} and global_widths={self.global_widths} must hold at least one entry each"
            )
        if self.sampling not in ("torch", "quickfps"):
            raise ValueError(f"sampling={self.sampling!r} is unknown; choose torch or quickfps")
        if not self.extent > 0:
            raise ValueError(f"extent={self.extent} must be a length above 0 [m]")
