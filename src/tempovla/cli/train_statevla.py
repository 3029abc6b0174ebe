"""`tempovla train statevla`."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Literal

from jsonargparse import ArgumentParser, Namespace

from tempovla.cli.command import Outcome, add_json_flag, add_short_names, build_parser
from tempovla.cli.train_policy import training_figures
from tempovla.recipe.datasets.dataset import load_dataset
from tempovla.recipe.systems.statevla import PHASE_NAMES, check_of_use, phase_of, reads_pictures, train_phase
from tempovla.recipe.systems.statevla_config import StateVLARecipe
from tempovla.storage.lock import FolderLock, check_free
from tempovla.train.checkpoint import CheckpointFolder
from tempovla.train.extension import check_extends

EXAMPLES = """
tempovla train statevla --config configs/statevla_metaworld.yaml --data.data_directory outputs/data --out outputs/run
tempovla train statevla --config configs/statevla_libero_object.yaml --data.data_directory ROOT --phase 1
tempovla train statevla --config configs/statevla_libero_object.yaml --data.data_directory ROOT --phase 2 \\
    --phase1_checkpoint checkpoints/phase1_temporal_jepa/checkpoint_best
tempovla train statevla --config configs/statevla_libero_object.yaml --data.data_directory ROOT --phase 1 \\
    --checkpoint checkpoints/phase1_temporal_jepa/checkpoint_latest
tempovla train statevla --config configs/statevla_libero_object.yaml --batch_size 32 --print_config > mine.yaml
torchrun --nproc_per_node=2 -m tempovla.cli train statevla --config configs/statevla_libero_object.yaml --phase 1
"""

ONE_NAME = {
    "training.ema_momentum": "model.jepa.ema_momentum",
    "training.ema_momentum_schedule": "model.jepa.ema_momentum_schedule",
    "training.phase1.temporal_predictor_hidden_dim": "model.jepa.temporal_predictor_hidden_dim",
}
"""Settings that the model takes from training: users set them under the first name alone."""


def build(name: str, summary: str) -> ArgumentParser:
    """The parser."""
    parser = build_parser(name, summary, "--config FILE [--phase 1|2] [--KEY VALUE ...]", EXAMPLES)
    parser.add_argument("--config", action="config", metavar="FILE", help="YAML file of any of the keys below")
    parser.add_argument("--phase", type=Literal[1, 2], help="phase to train; without it, one after the other")
    parser.add_argument("--out", default="checkpoints", metavar="DIR", help="folder of the run")
    parser.add_argument("--checkpoint", metavar="CKPT", help="checkpoint of this run to go on from")
    parser.add_argument("--phase1_checkpoint", metavar="CKPT", help="what --phase 2 starts from (DIR's latest)")
    add_json_flag(parser)
    parser.add_class_arguments(StateVLARecipe, None)
    for source, target in ONE_NAME.items():
        parser.link_arguments(source, target)
    parser.link_arguments("training.phase1.train_steps", "model.jepa.ema_steps", compute_fn=lambda steps: steps or 1)
    add_short_names(parser)
    return parser


def run(args: Namespace) -> Outcome:
    """Train one phase, or both."""
    recipe = StateVLARecipe(args.data, args.transform, args.model, args.training)
    check_of_use(args.phase1_checkpoint, args.phase, args.checkpoint)
    check_extends(recipe.training, args.checkpoint)
    resumed = None if args.checkpoint is None else phase_of(args.checkpoint)
    if None not in (args.phase, resumed) and args.phase != resumed:
        raise ValueError(
            f"--checkpoint {args.checkpoint} is a checkpoint of phase {resumed}, not of --phase {args.phase}"
        )
    with _alone_in(Path(args.out)):
        return _train(args, recipe, resumed)


def _train(args: Namespace, recipe: StateVLARecipe, resumed: Literal[1, 2] | None) -> Outcome:
    phases: tuple[Literal[1, 2], ...] = (1, 2) if args.phase is None else (args.phase,)
    done: dict[str, Any] = {}
    left = [phase for phase in phases if resumed is None or phase >= resumed]
    source = load_dataset(recipe, decode=reads_pictures(recipe, left))
    for phase in left:
        result = train_phase(
            recipe,
            phase,
            args.out,
            phase1_checkpoint=args.phase1_checkpoint,
            resume=args.checkpoint if phase == resumed else None,
            source=source,
        )
        done[f"phase{phase}"] = training_figures(result)
    lines = [f"{name}: {figures['train_step']} steps, {figures['checkpoint']}" for name, figures in done.items()]
    return Outcome("\n".join(lines), done)


def _alone_in(out: Path) -> AbstractContextManager[object]:
    """Hold the folder of the run until all phases are done; of the processes that torchrun started, the first holds it.

    Raises:
        ValueError: naming who trains there now, in this phase or another.
    """
    if os.environ.get("RANK", "0") != "0":
        return nullcontext()
    remedy = "let it end, or choose another folder with --out"
    for name in PHASE_NAMES.values():  # which whoever trains without this command holds alone
        check_free(CheckpointFolder(out / name).lock_path, out / name, remedy=remedy)
    return FolderLock(out, "trains", remedy=remedy)
