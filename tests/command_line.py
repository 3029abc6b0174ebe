"""What tests share that run commands in their own process."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """Commands send messages to this test's stderr: take that back."""
    package = logging.getLogger("tempovla")
    handlers, levels = logging.root.handlers[:], (logging.root.level, package.level)
    yield
    logging.root.handlers[:] = handlers
    logging.root.setLevel(levels[0])
    package.setLevel(levels[1])
