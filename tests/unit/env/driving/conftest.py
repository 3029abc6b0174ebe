"""A tiny town, whose files are kept for all tests of a run."""

from collections.abc import Iterator
from importlib.util import find_spec

import pytest

from tempovla.env.driving.config import DrivingConfig
from tempovla.storage.cache import CACHE_VARIABLE

SMALL = DrivingConfig(
    town="crossing",
    image_height=32,
    image_width=56,
    supersample=1,
    vehicles=8,
    pedestrians=6,
    route_least_m=100.0,
    route_most_m=150.0,
    lidar_azimuths=120,
    max_steps=60,
)
"""Settings of a town that is cheap to make and to draw."""
NEEDS = ("libsumo", "sumo", "sumolib", "mujoco", "cv2", "gymnasium")


@pytest.fixture(scope="session", autouse=True)
def kept_towns(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CACHE_VARIABLE, str(tmp_path_factory.getbasetemp().parent / "towns"))
        yield


@pytest.fixture(scope="session")
def sumo() -> None:
    """Skips where the extra `driving` is not installed."""
    missing = [name for name in NEEDS if find_spec(name) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} not installed: pip install -e '.[driving]'")
