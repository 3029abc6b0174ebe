"""Paths that a run has for its checkpoints, and what to say about one that leads nowhere."""

from __future__ import annotations

import os
import re
from pathlib import Path

LATEST, BEST = "checkpoint_latest", "checkpoint_best"
"""Links in the folder of a run, to two of its checkpoints."""


def check_path(folder: str | Path) -> None:
    """Refuse the name of a checkpoint that a run has not, where the run shows what to give in its place.

    Raises:
        ValueError: if `folder` is a link to nothing, or the best checkpoint of a run that has only a latest one.
    """
    path = Path(folder)
    if os.path.exists(path):
        return
    if path.is_symlink():
        raise ValueError(f"{path}: is a link to {os.readlink(path)}, which is not there; {_instead(path)}")
    latest = path.with_name(LATEST)
    if path.name == BEST and latest.exists():
        raise ValueError(
            f"{path}: no such checkpoint, as no episodes were held out (data.train_split=1) or none was validated on "
            f"yet; give {latest}"
        )


def _instead(link: Path) -> str:
    """What to give in place of a link to nothing."""
    there = link.parent / "checkpoints"
    steps = {int(found[1]): path for path in there.glob("step_*") if (found := re.fullmatch(r"step_(\d+)", path.name))}
    steps = {step: path for step, path in steps.items() if (path / "bundle.json").is_file()}
    if steps:
        return f"give {steps[max(steps)]}"
    if there.is_dir():  # a kill came before the first one was written
        return "start the run anew without --checkpoint, as it has no checkpoint"
    return "copy the run again with what its links lead to (`cp -rL`)"
