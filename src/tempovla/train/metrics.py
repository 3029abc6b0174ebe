"""Figures of a run: `metrics.jsonl` for the report, TensorBoard for the eye."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter

FILE_NAME = "metrics.jsonl"


class MetricsLog:
    """Append-only figures of one run, one JSON object a line, and the same in TensorBoard.

    A training line holds `train_step`, `phase`, `split` ("train"), `total`, `terms` (each unweighted),
    `learning_rate`, `grad_norm`, `samples_per_s` and `cpu_s`, losses and norm being means since the line before; a
    validation line `train_step`, `phase`, `split` ("validation"), `total` and `terms`.
    """

    def __init__(self, run_dir: str | Path, train_step: int) -> None:
        """Open the log; lines beyond `train_step`, written before a kill, are dropped."""
        self.path = Path(run_dir) / FILE_NAME
        if self.path.exists():
            _drop_lines_beyond(self.path, train_step)
        self._file = self.path.open("a")
        self._board = SummaryWriter(str(Path(run_dir) / "tensorboard"), purge_step=train_step + 1)

    def write(self, line: Mapping[str, Any]) -> None:
        """Append one line."""
        self._file.write(json.dumps(line, allow_nan=False) + "\n")
        self._file.flush()
        figures = {name: value for name, value in line.items() if isinstance(value, float)} | dict(line["terms"])
        for name, value in figures.items():
            self._board.add_scalar(f"{line['phase']}/{line['split']}/{name}", value, line["train_step"])

    def close(self) -> None:
        """Flush and close."""
        self._file.close()
        self._board.close()


def read_metrics(run_dir: str | Path) -> list[dict[str, Any]]:
    """All complete lines of a run's `metrics.jsonl`, in order; none where there is no such file."""
    path = Path(run_dir) / FILE_NAME
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]


def _drop_lines_beyond(path: Path, train_step: int) -> None:
    kept = [line for line in read_metrics(path.parent) if line["train_step"] <= train_step]
    staging = path.with_name(f".{path.name}.part")
    staging.write_text("".join(json.dumps(line) + "\n" for line in kept))
    os.replace(staging, path)
