"""Calibrations of cameras in ``meta/info.json``, under an entry of our own that other readers pass by."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tempovla.data.errors import DatasetError
from tempovla.data.layout import OWN_ENTRY
from tempovla.storage.json_files import shown
from tempovla.storage.said_by import said_by
from tempovla.timeline.calibration import CameraCalibration, check_cameras
from tempovla.timeline.config import config_from_json, config_to_json

CAMERAS = "cameras"


def read_cameras(info: Mapping[str, Any], path: Path) -> tuple[CameraCalibration, ...]:
    """Return the calibrations that ``info.json`` holds; none where it says nothing of them.

    Args:
        info: content of the file.
        path: the file, for messages.

    Raises:
        DatasetError: if it holds something else in their place.
    """
    own = info.get(OWN_ENTRY, {})
    if not isinstance(own, Mapping):
        raise DatasetError(f"{path}: {OWN_ENTRY} is {shown(own)}, not an object; correct or remove it")
    entries = own.get(CAMERAS, [])
    if not isinstance(entries, list):
        raise DatasetError(f"{path}: {OWN_ENTRY}.{CAMERAS} is {shown(entries)}, not a list; correct or remove it")
    with said_by(path, remedy=f"correct or remove {OWN_ENTRY}.{CAMERAS}", error=DatasetError):
        cameras = tuple(
            config_from_json(CameraCalibration, entry, f"{OWN_ENTRY}.{CAMERAS}[{place}]")
            for place, entry in enumerate(entries)
        )
        check_cameras(cameras)
    return cameras


def with_cameras(info: Mapping[str, Any], cameras: Iterable[CameraCalibration]) -> dict[str, Any]:
    """Return the content of ``info.json`` with these calibrations in place of others, and without an entry for none."""
    own = info.get(OWN_ENTRY, {})
    kept = {key: value for key, value in own.items() if key != CAMERAS} if isinstance(own, Mapping) else {}
    entries = [config_to_json(camera) for camera in cameras]
    kept |= {CAMERAS: entries} if entries else {}
    rest = {key: value for key, value in info.items() if key != OWN_ENTRY}
    return rest | ({OWN_ENTRY: kept} if kept else {})
