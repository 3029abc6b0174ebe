"""A cache on disk for results that can be computed again."""

from __future__ import annotations

import os
from pathlib import Path

CACHE_VARIABLE = "TEMPOVLA_CACHE"
"""Environment variable: the folder; by default `~/.cache/tempovla`."""


def cache_folder() -> Path:
    """Return the folder, which need not exist."""
    return Path(os.environ.get(CACHE_VARIABLE) or Path.home() / ".cache" / "tempovla")
