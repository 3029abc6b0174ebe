"""Statistics that were computed from a dataset's data, kept for the next time."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tempovla.data.fingerprint import hash_json
from tempovla.data.layout import DatasetMeta
from tempovla.data.plausibility import contradiction
from tempovla.data.statistics import NAMES, Statistic
from tempovla.data.stored_statistics import sound_entry
from tempovla.storage.cache import cache_folder
from tempovla.storage.json_files import read_json, to_json_text
from tempovla.storage.paths import inside
from tempovla.storage.whole import write_text

LOGGER = logging.getLogger(__name__)

KEPT_NAME = "tempovla_stats.json"
"""Ours, in ``meta/``. Other readers of the format pass it by."""


class KeptStatistics:
    """A file of statistics, tied to the dataset's rows as they are: those of other rows are as good as none.

    It lies in ``meta/`` or, where that cannot be written, in the folder `TEMPOVLA_CACHE` (by default
    `~/.cache/tempovla`).

    Args:
        meta: the dataset.
    """

    def __init__(self, meta: DatasetMeta) -> None:
        self._meta = meta
        self._told: set[str] = set()
        place = hashlib.sha256(str(meta.root.resolve()).encode()).hexdigest()[:32]
        self.paths = [cache_folder() / "statistics" / f"{place}.json"]
        try:
            self.paths.insert(0, inside(meta.root, f"meta/{KEPT_NAME}", said_by=str(meta.root), remedy="remove it"))
        except ValueError as error:  # a link, along which nothing may be read or written
            self._tell(f"{error}; statistics are kept in {self.paths[0].parent}")

    def fingerprint(self) -> str:
        """Return 64 hexadecimal digits that change when a data file or the episodes do.

        Files are told apart by name, size and time of modification, so that no row has to be read for it.
        """
        meta = self._meta
        files = {}
        for path in sorted({record.data_path for record in meta.episodes}):
            try:
                facts = path.stat()
                files[os.path.relpath(path, meta.root)] = [facts.st_size, facts.st_mtime_ns]
            except OSError:  # reading it will say so
                files[os.path.relpath(path, meta.root)] = []
        episodes = [[record.index, record.length] for record in meta.episodes]
        return hash_json({"files": files, "episodes": episodes})

    def load(self) -> dict[str, Statistic]:
        """Return statistics by stream; empty where none were kept of these rows."""
        fingerprint = self.fingerprint()
        kept: dict[str, Statistic] = {}
        for path in reversed(self.paths):
            kept |= self._load(path, fingerprint)
        return kept

    def _load(self, path: Path, fingerprint: str) -> dict[str, Statistic]:
        if not path.exists():  # the folder of the cache may be a file: nothing is kept there
            return {}
        try:
            content: Mapping[str, Any] | None = read_json(path, remedy="remove the file")
        except ValueError:
            content = None
        streams = content.get("streams") if isinstance(content, Mapping) else None
        if not isinstance(content, Mapping) or not isinstance(streams, Mapping):
            self._tell(f"{path}: not readable, so that statistics are computed again; remove the file")
            return {}
        if content.get("fingerprint") != fingerprint:
            return {}
        kept = {}
        for key, entry in streams.items():
            if key in self._meta.features:
                sound = self._sound(entry, key)
                if isinstance(sound, str):
                    self._tell(f"{path}: {key!r} {sound}, so that it is computed again")
                else:
                    kept[key] = sound
        return kept

    def _tell(self, line: str) -> None:
        """Warn once."""
        if line not in self._told:
            LOGGER.warning(line)
        self._told.add(line)

    def _sound(self, entry: Any, key: str) -> Statistic | str:
        """A stream's kept statistics, or what is wrong with them: they are those of all rows, or they are damaged."""
        sound = sound_entry(entry, self._meta.features[key])
        if isinstance(sound, str):
            return sound
        absent = [name for name in NAMES if name not in sound]
        if absent:
            return f"has no {absent[0]}"
        rows = sum(record.length for record in self._meta.episodes)
        if sound["count"].tolist() != [rows]:
            return f"has count {sound['count'][0]:g}, but there are {rows} rows"
        return contradiction(sound) or sound

    def keep(self, streams: Mapping[str, Mapping[str, Any]]) -> Path | None:
        """Keep statistics beside those that are kept already; returns the file, None where none can be written.

        The file appears whole or not at all; of two processes that write at once, the later one's stays.
        """
        together = {**self.load(), **streams}
        content = {
            "made_by": "tempovla: exact statistics of the data; `tempovla data stats` shows them",
            "fingerprint": self.fingerprint(),
            "streams": {
                key: {name: np.asarray(value).tolist() for name, value in entry.items()}
                for key, entry in together.items()
            },
        }
        text = to_json_text(content, indent=1)
        for path in self.paths:
            try:
                write_text(path, text)
            except OSError as error:
                LOGGER.debug("%s cannot be written (%s)", path, error)
            else:
                return path
        LOGGER.warning(
            "%s: its statistics cannot be stored, so they will be computed again; set TEMPOVLA_CACHE to a folder that "
            "can be written",
            self._meta.root,
        )
        return None
