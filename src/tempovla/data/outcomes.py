"""Outcomes of actions in datasets that were begun before these were recorded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from tempovla.data.lerobot_meta import load_meta
from tempovla.timeline.keys import OUTCOME_KEYS


def outcomes_lacking(root: Path) -> frozenset[str]:
    """Return which outcomes the episodes of a dataset lack, so that others can be added to it; none without episodes.

    Raises:
        DatasetError: if there is a dataset that cannot be read.
    """
    if not (root / "meta" / "info.json").exists():
        return frozenset()
    meta = load_meta(root)
    return frozenset(OUTCOME_KEYS) - meta.features.keys() if meta.episodes else frozenset()


def without(steps: Mapping[str, NDArray[Any]], keys: frozenset[str]) -> dict[str, NDArray[Any]]:
    """Return the arrays of an episode without some streams."""
    return {key: values for key, values in steps.items() if key not in keys}
