"""Recorded scenes that several tests read."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.nuscenes_scenes import Rates, write

from tempovla.data.nuscenes.source import NuScenesSource, open_nuscenes


@pytest.fixture(scope="session")
def jittered_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scenes of 5 and 1 key frames, whose sensors have jittering clocks of their own."""
    return write(tmp_path_factory.mktemp("nuscenes") / "jittered", (5, 1))


@pytest.fixture(scope="session")
def jittered(jittered_folder: Path) -> NuScenesSource:
    """The same, read."""
    return open_nuscenes(jittered_folder)


@pytest.fixture(scope="session")
def key_frames_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One scene of 3 key frames and nothing between them."""
    return write(tmp_path_factory.mktemp("nuscenes") / "key_frames", (3,), Rates(2.0, 2.0, 2.0))


@pytest.fixture
def folder(key_frames_folder: Path, tmp_path: Path) -> Path:
    """A copy of one scene of key frames alone, to be damaged."""
    return Path(shutil.copytree(key_frames_folder, tmp_path / "data"))


@pytest.fixture
def edit(folder: Path) -> Callable[[str, Callable], None]:
    """Changes a table's records in the copy."""

    def change(table: str, function: Callable) -> None:
        path = folder / "v1.0-mini" / f"{table}.json"
        records = json.loads(path.read_text())
        function(records)
        path.write_text(json.dumps(records))

    return change
