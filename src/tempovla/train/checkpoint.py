"""Checkpoints: folders that appear complete or not at all, and pointers to the latest and the best of them.

A checkpoint is a loadable `Bundle` (what eval and serve need) plus `trainer.json` and `training.safetensors` (what
resuming needs). Nothing in it can execute code.
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from tempovla.storage.json_files import read_json, shown, to_json_text, what_it_is
from tempovla.timeline import Bundle
from tempovla.timeline.bundle import replace_folder
from tempovla.timeline.tensors import read_tensors

LOGGER = logging.getLogger(__name__)

FORMAT_VERSION = 1
LOCK = ".lock"
LATEST, BEST = "checkpoint_latest", "checkpoint_best"
REMEDY = "resume from another checkpoint of the run"


@dataclass(frozen=True)
class Checkpoint:
    """What resuming needs.

    Attributes:
        record: plain JSON values: train step, data order, configs, figures.
        tensors: `<part>/<name>` to tensor: training weights, average of the weights, optimiser state.
    """

    record: Mapping[str, Any]
    tensors: Mapping[str, Tensor]

    def part(self, name: str) -> dict[str, Tensor]:
        """The tensors of one part, by their names in it."""
        prefix = f"{name}/"
        return {key.removeprefix(prefix): value for key, value in self.tensors.items() if key.startswith(prefix)}

    @classmethod
    def load(cls, folder: str | Path) -> Checkpoint:
        """Read `trainer.json` and `training.safetensors`.

        Raises:
            ValueError: naming the file and the remedy, if one is missing, truncated or of another format.
        """
        root = Path(folder).resolve()
        record = cls.read_record(root)
        return cls(record, read_tensors(root / "training.safetensors", remedy=REMEDY))

    @staticmethod
    def read_record(folder: str | Path) -> dict[str, Any]:
        """`trainer.json` alone.

        Raises:
            ValueError: naming the file and the remedy, if it is missing, truncated or of another format.
        """
        path = Path(folder).resolve() / "trainer.json"
        record = read_json(path, remedy=REMEDY)
        if record.get("format_version") != FORMAT_VERSION:
            raise ValueError(
                f"{path}: format_version {record.get('format_version')!r} is not {FORMAT_VERSION}; "
                "resume it with the version of tempovla that wrote it"
            )
        kinds = {"identity": dict, "train_step": int, "batches": dict, "interval": dict, "metrics": dict}
        for key, kind in kinds.items():
            if key in record and not isinstance(record[key], kind):
                raise ValueError(f"{path}: {key} is {shown(record[key])}, not {what_it_is(kind())}; {REMEDY}")
        return record


class CheckpointFolder:
    """The checkpoints of one run: `<run>/checkpoints/step_00001000`, and relative links to them in `<run>`.

    Which ones stay: those that a link points to, and those at multiples of `keep_every` train steps.
    """

    def __init__(self, run_dir: str | Path, keep_every: int | None = None) -> None:
        self.run_dir = Path(run_dir)
        self.folder = self.run_dir / "checkpoints"
        self.keep_every = keep_every

    def hold(self) -> None:
        """Make the folder, and keep other processes from writing there until this one ends in whatever way.

        Raises:
            ValueError: if another process holds it.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = (self.folder / LOCK).open("a", encoding="utf-8")
        try:
            fcntl.lockf(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            raise ValueError(
                f"{self.run_dir}: another process trains there now; let it end, or choose another folder"
            ) from None
        except OSError as error:  # a disk that knows no locks
            LOGGER.debug("%s cannot be locked (%s)", self.folder, error)

    def clean(self) -> None:
        """Remove what a killed process left half-written."""
        for leftover in [*self.folder.glob(".*"), *self.run_dir.glob(".checkpoint_*.link")]:
            if leftover.name != LOCK:
                leftover.unlink() if leftover.is_symlink() else shutil.rmtree(leftover)

    def steps(self) -> dict[int, Path]:
        """Train step to folder, oldest first."""
        found = [(re.fullmatch(r"step_(\d+)", path.name), path) for path in sorted(self.folder.glob("step_*"))]
        return {int(match[1]): path for match, path in found if match}

    def save(self, train_step: int, bundle: Bundle, checkpoint: Checkpoint, links: tuple[str, ...]) -> Path:
        """Write a checkpoint, point `links` and `checkpoint_latest` to it, and drop those that need not stay.

        Raises:
            OSError: if it cannot be written, e.g. on a full disk; what was saved before is untouched.
        """
        target = self.folder / f"step_{train_step:08d}"
        staging = self.folder / f".{target.name}.part"
        try:
            self._write(staging, bundle, checkpoint)
        except (OSError, SafetensorError) as error:
            self.clean()
            raise OSError(
                f"{target}: checkpoint not written ({error}); make room and resume from {self.run_dir / LATEST}"
            ) from error
        replace_folder(staging, target)
        _sync(self.folder)
        for link in (*links, LATEST):
            self._point(link, target)
        self._drop()
        return target

    def _write(self, staging: Path, bundle: Bundle, checkpoint: Checkpoint) -> None:
        bundle.save(staging)
        tensors = {name: value.detach().cpu().contiguous().clone() for name, value in checkpoint.tensors.items()}
        save_file(tensors, staging / "training.safetensors")
        record = {"format_version": FORMAT_VERSION, **checkpoint.record}
        (staging / "trainer.json").write_text(to_json_text(record, indent=2) + "\n", encoding="utf-8")
        for path in [*staging.rglob("*"), staging]:
            _sync(path)

    def _point(self, link: str, target: Path) -> None:
        staging = self.run_dir / f".{link}.link"
        staging.unlink(missing_ok=True)
        staging.symlink_to(target.relative_to(self.run_dir))
        os.replace(staging, self.run_dir / link)
        _sync(self.run_dir)

    def _drop(self) -> None:
        linked = {path.resolve() for path in self.run_dir.glob("checkpoint_*")}
        for train_step, path in self.steps().items():
            stays = self.keep_every is not None and train_step % self.keep_every == 0
            if not stays and path.resolve() not in linked:
                doomed = path.with_name(f".{path.name}.old")
                path.rename(doomed)
                shutil.rmtree(doomed)


def _sync(path: Path) -> None:
    """Have the disk hold what was written to a file or folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
