"""nuScenes among the formats of datasets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tempovla.data.errors import DatasetError
from tempovla.timeline.source import EpisodeSource

if TYPE_CHECKING:
    from tempovla.data.formats import OpenOptions


class NuScenesFormat:
    """nuScenes' tables, sensor files and CAN messages."""

    @staticmethod
    def recognises(path: Path) -> bool:
        """Return whether the folder holds a folder `v1.0-*`."""
        return any(found.is_dir() for found in path.glob("v1.0-*"))

    @staticmethod
    def open(path: Path, options: OpenOptions) -> EpisodeSource:
        """Open the dataset; see `open_nuscenes`."""
        for name, value, default in (
            ("depth_unit", options.depth_unit, None),
            ("libero_images", options.libero_images, "auto"),
            ("default_instruction", options.default_instruction, ""),
        ):
            if value != default:
                raise DatasetError(f"{path}: is a dataset of nuScenes, for which {name}={value!r} says nothing")
        from tempovla.data.nuscenes.source import open_nuscenes

        return open_nuscenes(path, options.nuscenes)
