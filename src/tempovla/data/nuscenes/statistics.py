"""Statistics of nuScenes' streams of numbers, computed once and kept."""

from __future__ import annotations

import logging
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from tempovla.data.dataset_statistics import LazyStatistics, number_streams
from tempovla.data.fingerprint import hash_json
from tempovla.data.identity import identity_of
from tempovla.data.statistics import NAMES, Progress, Statistic, unwatched
from tempovla.storage.cache import cache_folder
from tempovla.storage.json_files import read_json, to_json_text
from tempovla.storage.whole import write_text
from tempovla.timeline.source import EpisodeSource

LOGGER = logging.getLogger(__name__)


class NuScenesStatistics(LazyStatistics):
    """Exact statistics of a source's streams of numbers.

    They are kept in the folder `TEMPOVLA_CACHE`, by the identity of the files that they follow from, as all messages of
    all scenes have to be read for them.

    Args:
        source: where to read.
    """

    def __init__(self, source: EpisodeSource) -> None:
        super().__init__(source)
        self._place: Path | None = None

    def compute(self, keys: Collection[str], progress: Progress = unwatched) -> None:
        """Compute the statistics of some streams, in one reading, unless they were kept."""
        kept = self._load()
        self._computed |= {key: kept[key] for key in keys if key in kept}
        missing = [key for key in keys if key not in self._computed]
        if missing:
            super().compute(missing, progress)
            self._keep({**kept, **self._computed})

    def _path(self) -> Path:
        if self._place is None:
            identity = identity_of(self._source, number_streams(self._source))
            digest = hash_json([dict(identity.facts), dict(identity.files)])[:32]
            self._place = cache_folder() / "statistics" / f"nuscenes-{digest}.json"
        return self._place

    def _load(self) -> dict[str, Statistic]:
        path = self._path()
        if not path.exists():
            return {}
        try:
            content = read_json(path, remedy="remove it")
        except ValueError as error:
            LOGGER.warning("%s; statistics are computed again", error)
            return {}
        found = {key: self._sound(key, entry) for key, entry in content.items() if key in self}
        return {key: entry for key, entry in found.items() if entry is not None}

    def _sound(self, key: str, entry: Any) -> Statistic | None:
        """The kept statistics of a stream as arrays; None where the file holds something else."""
        shape = self._source.streams[key].shape
        try:
            arrays = {name: np.array(entry[name], dtype=np.float64) for name in NAMES}
        except (KeyError, TypeError, ValueError):
            return None
        shapes = all(array.shape == ((1,) if name == "count" else shape) for name, array in arrays.items())
        return arrays if shapes and all(np.isfinite(array).all() for array in arrays.values()) else None

    def _keep(self, streams: dict[str, Statistic]) -> None:
        text = to_json_text({key: {name: value.tolist() for name, value in e.items()} for key, e in streams.items()})
        try:
            write_text(self._path(), text)
        except OSError as error:
            LOGGER.debug("statistics are not kept (%s)", error)
