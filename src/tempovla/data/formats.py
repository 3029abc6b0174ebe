"""The formats of datasets by name: how each is recognised and opened."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from tempovla.data.errors import DatasetError
from tempovla.data.libero_layout import LiberoImages
from tempovla.data.nuscenes.format import NuScenesFormat
from tempovla.data.nuscenes.options import NuScenesOptions
from tempovla.timeline.source import EpisodeSource


@dataclass(frozen=True)
class OpenOptions:
    """Facts about a dataset that the user adds to its files.

    Attributes:
        depth_unit: unit of depth pictures: ``m``, ``cm``, ``mm`` or metres.
        default_instruction: instruction of steps that have none.
        libero_images: orientation of pictures in LIBERO's files.
        nuscenes: how files of nuScenes' format are read.
    """

    depth_unit: str | None = None
    default_instruction: str = ""
    libero_images: LiberoImages = "auto"
    nuscenes: NuScenesOptions = field(default_factory=NuScenesOptions)


class DatasetFormat(Protocol):
    """A format of datasets; its methods are static, and a class of one's own is one more entry in `FORMAT_REGISTRY`."""

    @staticmethod
    def recognises(path: Path) -> bool:
        """Return whether an existing file or folder is a dataset of this format. Only names of files are looked at."""

    @staticmethod
    def open(path: Path, options: OpenOptions) -> EpisodeSource:
        """Open the dataset.

        Raises:
            DatasetError: in one line that names the file, if it cannot be used as it is.
        """


class LeRobotFormat:
    """LeRobot's v2.0, v2.1 and v3.0."""

    @staticmethod
    def recognises(path: Path) -> bool:
        """Return whether the folder holds `meta/`."""
        return (path / "meta").is_dir()

    @staticmethod
    def open(path: Path, options: OpenOptions) -> EpisodeSource:
        """Open the dataset; see `open_dataset`."""
        if options.libero_images != "auto":
            raise DatasetError(
                f"{path}: is a LeRobot dataset, but libero_images={options.libero_images} is for LIBERO's HDF5; leave "
                "it out"
            )
        from tempovla.data.lerobot import open_dataset

        return open_dataset(path, depth_unit=options.depth_unit, default_instruction=options.default_instruction)


class LiberoFormat:
    """LIBERO's demonstrations in HDF5."""

    @staticmethod
    def recognises(path: Path) -> bool:
        """Return whether it is a file, or a folder that holds HDF5 files or folders of them."""
        return path.is_file() or any(path.glob("*.hdf5")) or any(path.glob("*/*.hdf5"))

    @staticmethod
    def open(path: Path, options: OpenOptions) -> EpisodeSource:
        """Open the demonstrations; see `open_libero`."""
        from tempovla.data.libero_hdf5 import open_libero

        return open_libero(path, default_instruction=options.default_instruction, images=options.libero_images)


FORMAT_REGISTRY: dict[str, type[DatasetFormat]] = {
    "libero_hdf5": LiberoFormat,
    "lerobot": LeRobotFormat,
    "nuscenes": NuScenesFormat,  # behind LeRobot, for collected scenes have a folder meta/, too
}
"""Formats by name; the last entry that recognises a dataset opens it, so that a format of one's own goes first."""


def format_name(path: Path) -> str | None:
    """Return the name of the format of a file or folder that exists; None if no format recognises it."""
    return next((name for name, form in reversed(FORMAT_REGISTRY.items()) if form.recognises(path)), None)
