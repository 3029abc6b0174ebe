"""The command line as a user meets it, in this process."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests import recordings
from tests.command_line import fails, logging_as_before, tempovla
from tests.in_process import simulators_in_process
from tests.tiny import statevla_arguments

__all__ = ["fails", "logging_as_before", "tempovla"]


@pytest.fixture(scope="session")
def recorded(tmp_path_factory) -> Path:
    """Written once; a copy takes a tenth of the time."""
    root = tmp_path_factory.mktemp("recorded") / "dataset"
    recordings.record(root)
    return root


@pytest.fixture
def dataset(tmp_path, recorded) -> Path:
    """Three short made-up episodes."""
    return shutil.copytree(recorded, tmp_path / "dataset")


@pytest.fixture
def in_process() -> Iterator[None]:
    """Commands that collect and evaluate start no processes for their simulators."""
    with simulators_in_process():
        yield


@pytest.fixture
def small_statevla(dataset) -> list[str]:
    """Arguments of `train statevla` that train on them within a second."""
    return statevla_arguments(dataset)
