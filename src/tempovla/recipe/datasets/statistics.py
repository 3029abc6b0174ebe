"""Statistics for normalisation: computed where the dataset has none, checked where it has them."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from tempovla.data.dataset_statistics import DatasetStatistics, Needed, StatisticsTable, require_number_streams
from tempovla.data.joined import forms_of, recorded
from tempovla.data.open import open_source
from tempovla.data.plausibility import Finding
from tempovla.recipe.datasets.config import ObservationConfig
from tempovla.recipe.progress import CountProgress
from tempovla.timeline import EpisodeSource
from tempovla.timeline.keys import ACTION_KEY, STATE_KEY
from tempovla.transform.scaling import STATISTICS_OF_MODE

LOGGER = logging.getLogger(__name__)

BASIC = ("mean", "std", "min", "max")
LIMITED_HEADS = ("diffusion", "transformer", "gaussian")
"""Action heads that may not reach every action; see `with_reaching_clip`."""


def needed_statistics(
    settings: ObservationConfig, config: Any, reads_state: bool, vectors: Iterable[str] = ()
) -> dict[str, tuple[str, ...]]:
    """Return names of the statistics, by stream, that a model's normalisation needs, and its action head's limit.

    Args:
        settings: how streams are normalised.
        config: the model's.
        reads_state: whether it reads the state.
        vectors: keys of the vectors that it reads beside the state.
    """
    names: dict[str, tuple[str, ...]] = {ACTION_KEY: STATISTICS_OF_MODE[settings.action_normalization]}
    if getattr(config, "action_head", None) in LIMITED_HEADS:
        names[ACTION_KEY] = (*names[ACTION_KEY], "min", "max")
    for key in (*([STATE_KEY] if reads_state else []), *vectors):
        names[key] = STATISTICS_OF_MODE[settings.state_normalization]
    return names


def settle_statistics(source: EpisodeSource, needed: Mapping[str, tuple[str, ...]]) -> None:
    """Compute a dataset's missing statistics, under a progress bar, and compare the others with its rows.

    Raises:
        ValueError: if stored statistics cannot be those of the rows; slightly stale ones are a warning.
    """
    statistics = source.statistics
    if not isinstance(statistics, StatisticsTable):
        return
    absent = statistics.absent(needed)
    if absent:
        statistics.compute(absent, counted)
    for finding in _findings(statistics, needed):
        if finding.refused:
            raise ValueError(finding.text)
        LOGGER.warning(finding.text)


@contextmanager
def counted(total: int) -> Iterator[Callable[[], None]]:
    """A progress bar over this number of episodes."""
    with CountProgress("episodes read for statistics", total, silent=os.environ.get("RANK", "0") != "0") as bar:
        yield bar.advance


def dataset_statistics(root: str | Path, keys: Sequence[str] = (), *, recompute: bool = False) -> dict[str, Any]:
    """Return a dataset's statistics, as plain JSON values.

    Args:
        root: the dataset.
        keys: streams of numbers to report; by default states and actions.
        recompute: compute exact statistics from the rows, and store them as the dataset's own.

    Returns:
        ``root``, ``episodes``, ``problems`` (lines, with what mends them) and ``streams`` by key, each with ``names``
        of the dimensions, ``origin`` and ``statistics`` by name.

    Raises:
        ValueError: if there is no such dataset or stream, or a value is not finite.
    """
    source = open_source(root)
    chosen = list(keys) or [key for key, stream in source.streams.items() if stream.kind in ("state", "action")]
    require_number_streams(source, chosen)
    statistics = source.statistics
    needed = dict.fromkeys(chosen, BASIC)
    if isinstance(statistics, StatisticsTable):
        absent = chosen if recompute else statistics.absent(needed)
        if absent:
            statistics.compute(absent, counted)
    streams = {}
    for key in chosen:
        own = recorded(source).statistics
        stored = set(own.stored.streams) - set(own.computed) if isinstance(own, DatasetStatistics) else set()
        parts = [part.key for form in forms_of(source, key)[:1] for part in form] or [key]
        size = int(np.prod(source.streams[key].shape))
        streams[key] = {
            "names": list(source.streams[key].names) or [""] * size,
            "origin": "as the dataset brings them" if stored & set(parts) else "computed from the data",
            "statistics": {name: np.asarray(value).tolist() for name, value in statistics[key].items()},
        }
    return {
        "root": source.name,
        "episodes": len(source),
        "problems": [finding.text for finding in _findings(statistics, needed)],
        "streams": streams,
    }


def _findings(statistics: Any, needed: Needed) -> list[Finding]:
    return statistics.findings(needed) if isinstance(statistics, StatisticsTable) else []
