"""Paths of a run's checkpoints, and messages about paths that lead nowhere."""

from __future__ import annotations

import os
import re
from pathlib import Path

LATEST, BEST = "checkpoint_latest", "checkpoint_best"
"""Links in the folder of a run, to two of its checkpoints."""
MOST_NAMED = 3
"""Checkpoints that a message names."""


def check_path(folder: str | Path) -> None:
    """Refuse a path that is no checkpoint, and name the checkpoint that was probably meant.

    Raises:
        ValueError: if `folder` is a file, a link to nothing, the folder of a run, or a name that its run has not.
    """
    path = Path(folder)
    if path.is_file():
        raise ValueError(f"{path}: a file; give the folder that training saved")
    if path.is_symlink() and not path.exists():
        raise ValueError(f"{path}: is a link to {os.readlink(path)}, which is not there; {_instead(path)}")
    if path.is_dir():
        holds = {"bundle.json", "trainer.json"} & set(os.listdir(path))
        if not holds and (found := _checkpoints_in(path)):
            raise ValueError(f"{path}: holds checkpoints, but is none itself; give {found}")
        return
    latest = path.with_name(LATEST)
    if path.name == BEST and latest.exists():
        raise ValueError(
            f"{path}: no such checkpoint, as no episodes were held out (data.train_split=1) or none was validated on "
            f"yet; give {latest}"
        )
    if found := _checkpoints_in(path.parent):
        raise ValueError(f"{path}: no such checkpoint; give {found}")


def _checkpoints_in(folder: Path) -> str:
    """The checkpoints of a run or of its phases, or the newest of a folder of them, as words; "" if none."""
    for pattern in (LATEST, f"*/{LATEST}"):
        if latest := sorted(path for path in folder.glob(pattern) if _is_checkpoint(path)):
            best = [path.with_name(BEST) for path in latest if _is_checkpoint(path.with_name(BEST))]
            found = [*map(str, [*latest, *best])]
            more = len(found) - MOST_NAMED
            return " or ".join(found[:MOST_NAMED]) + (f", and {more} more" if more > 0 else "")
    steps = _steps_in(folder)
    return str(steps[max(steps)]) if steps else ""


def _is_checkpoint(path: Path) -> bool:
    return (path / "bundle.json").is_file()


def _steps_in(folder: Path) -> dict[int, Path]:
    """The checkpoints in a run's `checkpoints`, by train step."""
    found = [(path, re.fullmatch(r"step_(\d+)", path.name)) for path in folder.glob("step_*")]
    return {int(match[1]): path for path, match in found if match and _is_checkpoint(path)}


def _instead(link: Path) -> str:
    """What to do about a link to nothing: a run's own is told from a copied one by its name, and what is beside it."""
    there = link.parent / "checkpoints"
    if link.name in (LATEST, BEST) and there.is_dir():
        if steps := _steps_in(there):
            return f"give {steps[max(steps)]}"
        if all(re.match(r"\.|step_\d+$", name) for name in os.listdir(there)):  # killed before the first was written
            return "the run has no checkpoint to go on from yet, so start it anew"
    return "remove it, and copy the checkpoint or its run again with what links lead to (`cp -rL`)"
