"""A tiny town, whose files are kept for all tests of a run."""

from collections.abc import Iterator
from importlib.util import find_spec

import pytest
from tests.small_town import NEEDS

from tempovla.storage.cache import CACHE_VARIABLE


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
