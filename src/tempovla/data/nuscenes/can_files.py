"""Writing a scene's CAN messages, and what we add beside them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from tempovla.data.nuscenes.layout import CAN_MESSAGES, SIDECAR_MARK
from tempovla.storage.json_files import to_json_text

ROUTE = "route"
PER_KEY_FRAME = ("commands", "perturbed", "next_light")
"""Sidecars that have one entry for each key frame."""

_is_word = re.compile(r"[a-z][a-z0-9_]{,40}").fullmatch


class CanFiles:
    """Messages and sidecars of one scene, until they are written."""

    def __init__(self) -> None:
        self._messages: dict[str, list[Any]] = {name: [] for name in CAN_MESSAGES}
        self._sidecars: dict[str, Any] = {}

    def add(self, message: str, rows: Iterable[Any], scene: str) -> None:
        """Add rows behind earlier ones; see `SceneWriter.add_can`."""
        if message not in self._messages:
            raise ValueError(f"{scene}: message {message!r} is unknown; choose from {', '.join(CAN_MESSAGES)}")
        kept = self._messages[message]
        for row in rows:
            if message == ROUTE:
                x, y = (float(value) for value in row)
                kept.append([x, y])
                continue
            last = kept[-1]["utime"] if kept else -1
            if not isinstance(row.get("utime"), int | np.integer) or row["utime"] <= last:
                raise ValueError(
                    f"{scene}: utime={row.get('utime')!r} of {message} must be whole microseconds after {last}; add "
                    "rows in order"
                )
            kept.append(_plain(row))

    def add_sidecar(self, name: str, value: Any) -> None:
        """Add or replace a sidecar; see `SceneWriter.add_sidecar`."""
        if not _is_word(name):
            raise ValueError(f"sidecar {name!r} must be a word of small letters, e.g. commands")
        self._sidecars[name] = _plain(value)

    def check_sidecars(self, key_frames: int, scene: str) -> None:
        """Refuse a sidecar that has not one entry for each key frame, where it must.

        Raises:
            ValueError: naming it.
        """
        for name in PER_KEY_FRAME:
            count = len(self._sidecars.get(name, ())) if name in self._sidecars else key_frames
            if count != key_frames:
                raise ValueError(f"{scene}: {name} has {count} entries, but there are {key_frames} key frames")

    def write(self, folder: Path, scene: str) -> None:
        """Write a file for each message, whether there are rows or not, `meta`, and each sidecar."""
        files: dict[str, Any] = {**self._messages, "meta": {}}
        for name, rows in self._messages.items():
            if rows and name != ROUTE:
                span_s = (rows[-1]["utime"] - rows[0]["utime"]) * 1e-6
                rate_hz = (len(rows) - 1) / span_s if span_s else 0.0
                files["meta"][name] = {"message_count": len(rows), "message_freq": rate_hz, "timespan": span_s}
        files |= {SIDECAR_MARK + name: value for name, value in self._sidecars.items()}
        for name, content in files.items():
            (folder / f"{scene}_{name}.json").write_text(to_json_text(content), encoding="utf-8")


def _plain(value: Any) -> Any:
    """Arrays and numbers of numpy as those of Python."""
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value
