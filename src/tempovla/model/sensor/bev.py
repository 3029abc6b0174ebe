"""The grid of a bird's eye view (BEV): which cell of a map around the vehicle a place belongs to.

Rows run backward and columns to the right, as in a map whose top is ahead: row 0 is the farthest ahead (x near `x_max`)
and column 0 the leftmost one (y near `y_max`). The frame is that of the vehicle: x forward, y to the left, z up.

Nothing here imports torch: configs hold these grids.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

_WHOLE = 1e-6


@dataclass(frozen=True)
class BEVGridConfig:
    """A rectangle around the vehicle that is cut into square cells.

    Attributes:
        x_min: rear end [m]; negative where it lies behind the rear axle.
        x_max: front end [m].
        y_min: right end [m].
        y_max: left end [m].
        z_min: points below this height are ignored [m].
        z_max: points at this height and above it are ignored [m].
        resolution: side of a cell [m].
    """

    x_min: float = -16.0
    x_max: float = 48.0
    y_min: float = -32.0
    y_max: float = 32.0
    z_min: float = -2.0
    z_max: float = 6.0
    resolution: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.resolution < math.inf:
            raise ValueError(f"grid.resolution={self.resolution} must be a length above 0 [m]")
        for axis in ("x", "y", "z"):
            low, high = getattr(self, f"{axis}_min"), getattr(self, f"{axis}_max")
            if not -math.inf < low < high < math.inf:
                raise ValueError(f"grid.{axis}_min={low} must be below grid.{axis}_max={high}")
            cells = (high - low) / self.resolution
            if axis != "z" and abs(cells - round(cells)) > _WHOLE:
                raise ValueError(
                    f"grid.{axis}_max - grid.{axis}_min = {high - low} is {cells:.3f} cells of grid.resolution="
                    f"{self.resolution}; choose a length that is a whole number of cells"
                )

    @property
    def rows(self) -> int:
        """Number H of cells from the front end to the rear one."""
        return round((self.x_max - self.x_min) / self.resolution)

    @property
    def columns(self) -> int:
        """Number W of cells from the left end to the right one."""
        return round((self.y_max - self.y_min) / self.resolution)

    @property
    def num_cells(self) -> int:
        """Number of all cells; cell (row, column) has the index row * columns + column."""
        return self.rows * self.columns

    def to_grid(self, x: Any, y: Any) -> tuple[Any, Any]:
        """Return row and column coordinates of places, of which the whole part is the cell.

        Args:
            x: how far ahead [m]: a number, or an array or a tensor of them.
            y: how far to the left [m], likewise.
        """
        return (self.x_max - x) / self.resolution, (self.y_max - y) / self.resolution

    def to_world(self, row: Any, column: Any) -> tuple[Any, Any]:
        """Return x and y [m] of row and column coordinates; those of a cell's centre are its indices plus 1/2."""
        return self.x_max - row * self.resolution, self.y_max - column * self.resolution
