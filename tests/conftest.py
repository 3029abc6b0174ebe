"""Fixtures for all tests."""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # read as torch is imported: threads without work must not spin

import gc
import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.processes import Nursery

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # no test waits for a hub to answer, or not to
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # each of many processes would compile all modules, and tests, anew
sys.dont_write_bytecode = False
SHARED = Path(__file__).resolve().parent.parent.parent / "shared"


def pytest_sessionstart() -> None:
    """Collecting makes many objects that stay; looking for garbage among them takes a seventh of the time."""
    gc.disable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put first those that fork processes, and then the modules that simulate.

    Of several workers of pytest, one alone has to start a nursery and to import simulators then.
    """
    simulating = {item.path for item in items if item.get_closest_marker("sim")}
    items.sort(key=lambda item: ("nursery" not in getattr(item, "fixturenames", ()), item.path not in simulating))


def pytest_collection_finish() -> None:
    """Look for garbage again, but not among what was imported and collected, and seldom: it took 7% of the time."""
    gc.freeze()
    gc.set_threshold(50_000, 50, 50)
    gc.enable()


@pytest.fixture(autouse=True, scope="session")
def kept_parsers() -> Iterator[None]:
    """Parsers of trainings are built once."""
    from tests.parsers import parsers_kept

    with parsers_kept():
        yield


@pytest.fixture(autouse=True, scope="session")
def quick_files() -> Iterator[None]:
    """Checkpoints of small models are written in half the time."""
    from tests.tensor_files import tensors_written_quickly

    with tensors_written_quickly():
        yield


@pytest.fixture(autouse=True)
def own_log_levels() -> Iterator[None]:
    """What a command of one test lets through to its log, and where to, does not reach the next test."""
    loggers = logging.getLogger(), logging.getLogger("tempovla")
    levels, handlers = [logger.level for logger in loggers], logging.root.handlers[:]
    yield
    logging.root.handlers[:] = handlers
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


@pytest.fixture
def shared_dir() -> Path:
    """The folder with real recordings and assets that lies beside the checkout; skips where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("../shared is absent: this test needs the recordings beside the checkout")
    return SHARED


@pytest.fixture(scope="session")
def libero_assets() -> Iterator[Path]:
    """LIBERO's packages are installed and its assets are found; skips where the one or the other is absent."""
    from tempovla.env.libero_setup import ASSETS_VARIABLE, LiberoUnavailableError, locate_assets, package_root

    with pytest.MonkeyPatch.context() as patch:
        folder = SHARED / "libero_object_assets"
        if ASSETS_VARIABLE not in os.environ and folder.is_dir():
            patch.setenv(ASSETS_VARIABLE, str(folder))
        try:
            package_root()
            assets = locate_assets()
        except LiberoUnavailableError as error:
            pytest.skip(f"LIBERO is not on this machine: {error}")
        yield assets


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    """Runs functions in several processes that train together."""
    started = Nursery()
    yield started
    started.close()


@pytest.fixture
def alone_in_a_group() -> Iterator[None]:
    """This process is one of one that train together: sharding divides nothing, but is all there."""
    import torch.distributed as dist

    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()
