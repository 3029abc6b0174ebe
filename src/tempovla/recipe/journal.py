"""Episodes of an evaluation, kept on the disk as they end, so that an interrupted one goes on where it stopped."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from tempovla.rollout.runner import EpisodeResult, EpisodeSpec

LOGGER = logging.getLogger(__name__)
FIGURES = ("instruction", "success", "steps", "total_reward", "policy_calls", "policy_s")


class EpisodeJournal:
    """A file of JSON lines: what the episodes follow from, then every episode, without its recording.

    A last line without its newline is what a kill leaves, and is dropped.

    Args:
        path: the file; gone on with if it exists.
        identity: what episodes follow from beside their specs, as plain JSON values.

    Raises:
        ValueError: if the file's episodes follow from something else.
    """

    def __init__(self, path: Path, identity: Mapping[str, Any]) -> None:
        self.path = path
        head = f"{json.dumps(identity)}\n"
        first, *kept = _whole_lines(path) or [head]
        if first != head:
            raise ValueError(
                f"{path}: keeps episodes of another checkpoint, simulator or version; evaluate that one to its end, "
                "remove the file, or write to another one"
            )
        self.episodes = dict(map(_read, kept))
        """What is there already, by spec."""
        part = path.with_name(f".{path.name}.part")
        part.write_text("".join([head, *kept]))
        part.replace(path)
        self._file = path.open("a")
        if kept:
            LOGGER.info("%s: going on after %d episodes", path, len(kept))

    def add(self, result: EpisodeResult) -> None:
        """Keep an episode; it is on the disk when this returns."""
        self.episodes[result.spec] = result
        actions = None if result.actions is None else result.actions.tolist()
        figures = {name: getattr(result, name) for name in FIGURES}
        self._file.write(json.dumps({"spec": asdict(result.spec), "actions": actions} | figures) + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def __enter__(self) -> EpisodeJournal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove the file, or leave it where an error or Ctrl-C came between."""
        self._file.close()
        if error is None:
            self.path.unlink()
        else:
            LOGGER.warning("%s keeps %d episodes; the same command goes on from there", self.path, len(self.episodes))


def _whole_lines(path: Path) -> list[str]:
    text = path.read_text() if path.exists() else ""
    return [line for line in text.splitlines(keepends=True) if line.endswith("\n")]


def _read(line: str) -> tuple[EpisodeSpec, EpisodeResult]:
    data = json.loads(line)
    spec = EpisodeSpec(**data["spec"])
    actions = None if data["actions"] is None else np.array(data["actions"], np.float32)
    return spec, EpisodeResult(spec, actions=actions, **{name: data[name] for name in FIGURES})
