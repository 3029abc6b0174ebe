"""StateVLA's phases one after the other, in one folder that a single process trains in."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Literal

from tempovla.recipe.datasets.dataset_mixture import one_dataset
from tempovla.recipe.systems.statevla import PHASE_NAMES, check_phase1_checkpoint, phase_of, reads_pictures, train_phase
from tempovla.recipe.systems.statevla_config import StateVLARecipe
from tempovla.storage.lock import FolderLock, check_free
from tempovla.training.checkpoint import CheckpointFolder
from tempovla.training.extension import check_extends
from tempovla.training.result import FitResult

Phase = Literal[1, 2]


def train_statevla(
    recipe: StateVLARecipe,
    out_dir: str | Path,
    *,
    phase: Phase | None = None,
    phase1_checkpoint: str | Path | None = None,
    resume: str | Path | None = None,
) -> dict[str, FitResult]:
    """Train one phase, or both; see `train_phase` for a phase and its folder.

    Args:
        recipe: the experiment.
        out_dir: folder of the run.
        phase: 1 or 2; None trains one after the other.
        phase1_checkpoint: what phase 2 starts from; by default phase 1's latest in `out_dir`.
        resume: checkpoint of this run to go on from, in its phase and then in the next.

    Returns:
        How each phase ended, by `phase1` and `phase2`.

    Raises:
        ValueError: if a checkpoint is of another phase or of no use, another process trains in the folder, or the
            dataset does not fit the model.
    """
    check_phase1_checkpoint(phase1_checkpoint, phase, resume)
    check_extends(recipe.training, resume)
    resumed = None if resume is None else phase_of(resume)
    if None not in (phase, resumed) and phase != resumed:
        raise ValueError(f"--checkpoint {resume} is a checkpoint of phase {resumed}, not of --phase {phase}")
    phases: tuple[Phase, ...] = (1, 2) if phase is None else (phase,)
    left = [each for each in phases if resumed is None or each >= resumed]
    with _alone_in(Path(out_dir)):
        data = one_dataset(None, recipe, decode=reads_pictures(recipe, left))
        return {
            f"phase{each}": train_phase(
                recipe,
                each,
                out_dir,
                phase1_checkpoint=phase1_checkpoint,
                resume=resume if each == resumed else None,
                source=data,
            )
            for each in left
        }


def _alone_in(out: Path) -> AbstractContextManager[object]:
    """Hold the folder of the run until all phases are done; of the processes that torchrun started, the first holds it.

    Raises:
        ValueError: naming who trains there now, in this phase or another.
    """
    if os.environ.get("RANK", "0") != "0":
        return nullcontext()
    remedy = "let it end, or choose another folder with --out"
    for name in PHASE_NAMES.values():  # which whoever trains a single phase from Python holds alone
        check_free(CheckpointFolder(out / name).lock_path, out / name, remedy=remedy)
    return FolderLock(out, "trains", remedy=remedy)
