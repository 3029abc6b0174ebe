"""Figures of a run, in `metrics.jsonl` and in TensorBoard."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tempovla.storage.json_files import json_number, read_log, to_json_text, torn_bytes
from tempovla.storage.paths import written_in
from tempovla.storage.problems import problems_of
from tempovla.storage.said_by import said_by
from tempovla.storage.whole import remove_leftovers, write_text
from tempovla.training import distributed
from tempovla.training.board import ScalarBoard

COUNT = "count of "
"""Begins the names of how many entries a metric's sum is over."""


class IntervalFigures:
    """Adds up the figures of steps, and gives their means.

    Attributes:
        sums: what was added since the last `take`, as plain JSON values, for checkpoints.
    """

    def __init__(self) -> None:
        self.sums: dict[str, float] = {}
        self._waiting: dict[str, Tensor] = {}
        self._latest: dict[str, Tensor] = {}

    def add_metrics(self, metrics: Mapping[str, Tensor]) -> None:
        """Add the metrics of one step, sums and numbers of entries (2,); they stay on their device until `settle`."""
        self._latest = dict(metrics)
        for name, value in metrics.items():
            before = self._waiting.get(name)
            self._waiting[name] = value.double() if before is None else before + value

    def settle(self) -> dict[str, float]:
        """Add to `sums` what waits on the device, in one transfer, and return the metrics of the last step.

        All processes must call it. A metric without a valid entry anywhere is left out.
        """
        waiting, latest = self._waiting, self._latest
        if not waiting:
            return {}
        self._waiting, self._latest = {}, {}
        both = torch.stack([*waiting.values(), *(value.double() for value in latest.values())])
        pairs = distributed.average(both).tolist()
        for name, (total, count) in zip(waiting, pairs, strict=False):
            for key, value in ((name, total), (COUNT + name, count)):
                self.sums[key] = self.sums.get(key, 0.0) + value
        own = zip(latest, pairs[len(waiting) :], strict=True)
        return {name: total / count for name, (total, count) in own if count}

    def add(self, figures: Mapping[str, float], rows: int, seconds: float) -> None:
        """Add one step. A figure that a step lacks, as nothing was valid in it, is no part of the figure's mean.

        Args:
            figures: of the step.
            rows: samples that it learned from, over all processes.
            seconds: that it took [s].
        """
        for name, value in figures.items():
            before = self.sums.get("steps", 0) if name in self.sums else 0  # of checkpoints without counts
            self.sums[COUNT + name] = self.sums.get(COUNT + name, before) + 1
            self.sums[name] = self.sums.get(name, 0.0) + value
        for name, value in {"steps": 1, "rows": rows, "seconds": seconds}.items():
            self.sums[name] = self.sums.get(name, 0.0) + value

    def take(self) -> dict[str, float]:
        """Return the means over the added steps, with `samples_per_s`, and start again from nothing."""
        sums, self.sums = self.sums, {}
        steps, rows, seconds = (sums.pop(name) for name in ("steps", "rows", "seconds"))
        counts = {name.removeprefix(COUNT): sums.pop(name) for name in list(sums) if name.startswith(COUNT)}
        parts = {name: counts.get(name, steps) for name in sums}
        means = {name: value / parts[name] for name, value in sums.items() if parts[name]}
        return means | {"samples_per_s": rows / seconds}


LOGGER = logging.getLogger(__name__)
FILE_NAME = "metrics.jsonl"
_REMEDY = "delete the line"


class MetricsLog:
    """Append-only figures of one run, one JSON object a train step, and the same in TensorBoard.

    A line holds `train_step`, `phase` and, every `log_interval` steps, means since the line before: `total`, every
    term under its name (unweighted; over the steps in which something of it was valid) and `grad_norm`; with the last
    step's `lr`, the throughput `samples_per_s` and the CPU time so far `cpu_s`. At a validation it holds `val_total`
    and `val_<term>`.
    """

    def __init__(self, run_dir: str | Path, train_step: int) -> None:
        """Open the log; lines beyond `train_step`, written before a kill, are dropped.

        Raises:
            ValueError: if a line before the last ones is damaged, or if a link leads to another folder.
            NotWrittenError: if it cannot be written.
        """
        self.path = written_in(Path(run_dir), Path(run_dir) / FILE_NAME)
        board = written_in(Path(run_dir), Path(run_dir) / "tensorboard")
        remove_leftovers(self.path)
        with problems_of(self.path, then="and resume from the last checkpoint"):
            if self.path.exists():
                _drop_lines_beyond(self.path, train_step)
            self._file = self.path.open("a", encoding="utf-8")
            self._board = ScalarBoard(board, purge_step=train_step + 1)

    def write(self, train_step: int, phase: str, figures: Mapping[str, float]) -> None:
        """Append the line of one train step.

        Raises:
            NotWrittenError: if it cannot be written, e.g. on a full disk.
        """
        line = to_json_text({"train_step": train_step, "phase": phase, **figures})
        with problems_of(self.path, then="and resume from the last checkpoint"):
            self._file.write(f"{line}\n")
            self._file.flush()
            self._board.add({f"{phase}/{name}": value for name, value in figures.items()}, train_step)

    def close(self) -> None:
        """Flush and close.

        Raises:
            NotWrittenError: if the last figures cannot be written.
        """
        with problems_of(self.path, then="and resume from the last checkpoint"):
            try:
                self._file.close()
            finally:
                self._board.close()


def read_metrics(run_dir: str | Path) -> list[dict[str, Any]]:
    """Return all whole lines of a run's `metrics.jsonl`, in order; none where there is no such file.

    A last line that a kill or a power failure cut short is skipped.

    Raises:
        ValueError: naming the file and the line, if one is no JSON object.
    """
    path = Path(run_dir) / FILE_NAME
    if not path.exists():
        return []
    lines = read_log(path, remedy=_REMEDY)
    return [{name: json_number(value) for name, value in line.items()} for _, line in lines]


def _drop_lines_beyond(path: Path, train_step: int) -> None:
    if torn := torn_bytes(path):
        LOGGER.warning("%s: its last %d bytes are torn, as a kill leaves them, and are dropped", path, torn)
    entries = read_metrics(path.parent)
    with said_by(path, remedy=_REMEDY):
        kept = [entry for entry in entries if entry["train_step"] <= train_step]
    if torn or len(kept) < len(entries):
        write_text(path, "".join(to_json_text(entry) + "\n" for entry in kept))
