"""Checkpoints: folders that appear complete or not at all, and pointers to the latest and the best of them.

A checkpoint is a loadable `Bundle` (what eval and serve need) plus `trainer.json` and `training.safetensors` (what
resuming needs). Nothing in it can execute code.
"""

from __future__ import annotations

import logging
import os
import re
import secrets
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from tempovla.storage.json_files import read_json, to_json_text
from tempovla.storage.lock import Lock
from tempovla.storage.paths import written_in
from tempovla.storage.problems import problems_of
from tempovla.storage.strays import LOCK_NAME, is_empty
from tempovla.storage.tensors import save_tensors
from tempovla.storage.whole import new_folder, new_link, remove_leftovers, restore
from tempovla.timeline import Bundle
from tempovla.timeline.bundle_path import LATEST, check_path
from tempovla.timeline.tensors import read_tensors
from tempovla.training.record import REMEDY, check_record

FORMAT_VERSION = 1
LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checkpoint:
    """The state of a run, from which it can be resumed.

    Attributes:
        record: plain JSON values: train step, data order, configs, figures.
        tensors: `<part>/<name>` to tensor: training weights, average of the weights, optimiser state.
    """

    record: Mapping[str, Any]
    tensors: Mapping[str, Tensor]

    def part(self, name: str) -> dict[str, Tensor]:
        """Return the tensors of one part, by their names in it."""
        prefix = f"{name}/"
        return {key.removeprefix(prefix): value for key, value in self.tensors.items() if key.startswith(prefix)}

    @classmethod
    def load(cls, folder: str | Path) -> Checkpoint:
        """Read `trainer.json` and `training.safetensors`.

        Raises:
            ValueError: naming the file and the remedy, if one is missing, truncated or of another format.
        """
        root = Path(folder).resolve()
        record = cls.read_record(folder)
        return cls(record, read_tensors(root / "training.safetensors", remedy=REMEDY))

    @staticmethod
    def read_record(folder: str | Path) -> dict[str, Any]:
        """Read `trainer.json` alone.

        Raises:
            ValueError: naming the file and the remedy, if it is missing, truncated or of another format, or a value of
                it is of another type than it has to be, or out of range.
        """
        check_path(folder)
        path = Path(folder).resolve() / "trainer.json"
        record = read_json(path, remedy=REMEDY)
        if record.get("format_version") != FORMAT_VERSION:
            raise ValueError(
                f"{path}: format_version {record.get('format_version')!r} is not {FORMAT_VERSION}; "
                "resume it with the version of tempovla that wrote it"
            )
        check_record(path, record)
        return record


class CheckpointFolder:
    """The checkpoints of one run: `<run>/checkpoints/step_00001000`, and relative links to them in `<run>`.

    Which ones stay: those that a link points to, those at multiples of `keep_every` train steps, and the newest one
    that is known to be good, as the loss that its weights give is finite. The latest one is not known to be so before
    the step after it.
    """

    def __init__(self, run_dir: str | Path, keep_every: int | None = None) -> None:
        if "\0" in str(run_dir):
            raise ValueError(f"output directory {str(run_dir)!r} holds a zero byte, which no path has; choose another")
        self.run_dir = Path(run_dir)
        self.folder = self.run_dir / "checkpoints"
        self.lock_path = self.folder / LOCK_NAME
        self.keep_every = keep_every
        self._lock: Lock | None = None
        self._proved_step = -1
        self._unproved_step: int | None = None

    def proved(self, train_step: int) -> None:
        """Record that the loss after `train_step` steps was finite, so that a checkpoint of that step is good."""
        self._proved_step = train_step
        if train_step == self._unproved_step:
            self._unproved_step = None
            self._drop()

    def good_step(self) -> int | None:
        """Train step of the newest checkpoint that is known to be good; None without one."""
        return max((step for step in self.steps() if step <= self._proved_step), default=None)

    def what_is_left(self) -> str:
        """Return a sentence that names the checkpoint from which a diverged run can go on."""
        good, steps = self.good_step(), self.steps()
        if good is not None:
            return f"the last good checkpoint is of step {good}; go on from {steps[good]}"
        if steps:
            return f"no checkpoint of {self.run_dir} is known to be good; start a new run in another folder"
        return f"no checkpoint of {self.run_dir} was saved before; start it anew"

    def hold(self, resume: str | Path | None = None) -> None:
        """Make the folder and lock it until `release` or the end of this process.

        A half-written checkpoint of a killed process is removed, or restored where it is the only copy.

        Args:
            resume: checkpoint that the run goes on from.

        Raises:
            ValueError: if another process, or another run in this one, holds it, or if it holds a run that `resume` is
                not of, or if it or a checkpoint is a link to elsewhere.
            NotWrittenError: if nothing can be written there.
        """
        written_in(self.run_dir, self.folder)
        remedy = "let it end, or choose another folder"
        self._lock = Lock(self.lock_path, self.run_dir, "trains", remedy=remedy)
        try:
            self.clean()
            for path in sorted(self.folder.glob("step_*")):
                written_in(self.run_dir, path)
            if (steps := self.steps()) and not (resume is not None and self.is_own(resume)):
                raise ValueError(
                    f"{self.run_dir}: holds a run with checkpoints up to step {max(steps)}; "
                    f"resume from {self.run_dir / LATEST}, or choose another folder"
                )
        except (OSError, ValueError):
            self.release()
            raise

    def check_place(self, resume: str | Path, is_over: bool) -> None:
        """Warn if a run goes on in another folder, and refuse it if no step is left to do there.

        Args:
            resume: checkpoint that the run goes on from.
            is_over: whether no step is left.

        Raises:
            ValueError: if it would save nothing here.
        """
        if self.is_own(resume):
            return
        home = _run_of(resume)
        if is_over:
            there = "" if home is None else f"go on in its own folder {home}, or "
            raise ValueError(
                f"{resume}: is of a run that has ended, so nothing would be saved in {self.run_dir}; {there}give it "
                "more steps (training.train_steps and training.extend)"
            )
        if home is not None:
            LOGGER.warning(
                "%s: new checkpoints go to %s, and %s stays as it is; to continue in that folder, choose it as the "
                "output directory",
                *(resume, self.run_dir, home),
            )

    def release(self) -> None:
        """Unlock the folder."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def clean(self) -> None:
        """Remove half-written checkpoints of a killed process; one that it was replacing stays."""
        for path in sorted(self.folder.glob(".step_*")):
            if match := re.fullmatch(r"\.(step_\d+)\.[0-9a-f]+\.old", path.name):
                restore(self.folder / match[1])
            elif re.fullmatch(r"\.step_\d+\.old", path.name):  # an earlier version was dropping it
                shutil.rmtree(path, ignore_errors=True)
            elif match := re.fullmatch(r"\.(step_\d+)\.(?:[0-9a-f]+\.)?part", path.name):
                remove_leftovers(self.folder / match[1])
        for path in self.run_dir.glob(".checkpoint_*.link"):
            path.unlink() if path.is_symlink() else shutil.rmtree(path, ignore_errors=True)
        latest, steps = self.run_dir / LATEST, self.steps()
        if steps and not latest.exists():  # a kill came before the link, in an earlier version
            new_link(latest, steps[max(steps)])

    def steps(self) -> dict[int, Path]:
        """Train step to folder, oldest first."""
        found = [(re.fullmatch(r"step_(\d+)", path.name), path) for path in sorted(self.folder.glob("step_*"))]
        return {int(match[1]): path for match, path in found if match and _is_checkpoint(path)}

    def is_own(self, checkpoint: str | Path) -> bool:
        """Return whether a checkpoint is of this run: one of its folders, a link to one, or the copy that a link
        became.
        """
        parent = Path(checkpoint).resolve().parent
        is_copy = parent == self.run_dir.resolve() and Path(checkpoint).name.startswith("checkpoint_")
        return is_copy or parent == self.folder.resolve()

    def save(
        self, train_step: int, bundle: Bundle, checkpoint: Checkpoint, links: tuple[str, ...], is_last: bool = True
    ) -> Path:
        """Write a checkpoint, point `links` and `checkpoint_latest` to it, and drop those that need not stay.

        The link to the first checkpoint is made before the checkpoint, so that none is ever without a link.

        Args:
            train_step: steps done.
            bundle: to deploy.
            checkpoint: to resume from.
            links: names that point to it.
            is_last: whether no step follows. Otherwise the last good checkpoint stays until this one is proved.

        Raises:
            ValueError: if something of another kind has the name of this checkpoint.
            NotWrittenError: if the disk does not take it; what was saved before is untouched.
        """
        target = self.folder / f"step_{train_step:08d}"
        latest = self.run_dir / LATEST
        if os.path.lexists(target) and not _is_checkpoint(target) and not (target.is_dir() and is_empty(target)):
            then = f"resume from {latest}" if latest.exists() else "start again"
            raise ValueError(
                f"{target}: is not a checkpoint, though it has the name of one, so that the checkpoint of step "
                f"{train_step} was not written; move it elsewhere, and {then}"
            )
        then = f"and resume from {latest}" if latest.exists() else "and start again"
        with problems_of(target, what="checkpoint not written", then=then):
            if not latest.exists():
                new_link(latest, target)
            with new_folder(target) as staging:
                bundle.write(staging)
                save_tensors(checkpoint.tensors, staging / "training.safetensors")
                record = {"format_version": FORMAT_VERSION, **checkpoint.record}
                text = to_json_text(record, indent=2) + "\n"
                (staging / "trainer.json").write_text(text, encoding="utf-8")
            for link in (*links, LATEST):
                new_link(self.run_dir / link, target)
        self._unproved_step = None if is_last else train_step
        self._drop()
        return target

    def _drop(self) -> None:
        linked = {path.resolve() for path in self.run_dir.glob("checkpoint_*")}
        good = None if self._unproved_step is None else self.good_step()
        for train_step, path in self.steps().items():
            stays = train_step == good or (self.keep_every is not None and train_step % self.keep_every == 0)
            if not stays and path.resolve() not in linked:
                doomed = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
                with suppress(OSError):  # it is tried again after the next checkpoint
                    path.rename(doomed)
                    shutil.rmtree(doomed)


def _run_of(checkpoint: str | Path) -> Path | None:
    """The folder of the run that a checkpoint lies in; None for one that was copied out of its run."""
    path = Path(checkpoint).resolve()
    if path.parent.name == "checkpoints":
        return path.parent.parent
    return path.parent if path.name.startswith("checkpoint_") else None


def _is_checkpoint(path: Path) -> bool:
    """Whether a folder is one that `save` wrote, whatever of it a copy left out."""
    return (path / "bundle.json").exists() or (path / "trainer.json").exists()
