"""Fixtures for all tests."""

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parent.parent.parent / "shared"


@pytest.fixture
def shared_dir() -> Path:
    """The folder with real recordings and assets that lies beside the checkout; skips where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("../shared is absent: this test needs the recordings beside the checkout")
    return SHARED
