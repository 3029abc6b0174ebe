"""StateVLA's two phases as a recipe: data, transforms, model, training, from one config."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Collection
from pathlib import Path
from typing import Literal

from tempovla.data.mixture import Mixture
from tempovla.data.words import words_told
from tempovla.model.vla.context_policy import ContextPolicy, base_of, with_context
from tempovla.model.vla.statevla import StateVLA
from tempovla.model.vla.statevla_config import StateVLAConfig
from tempovla.model.vla.statevla_sizes import size_table
from tempovla.model.vla.weights import load_weights
from tempovla.objective import Objective
from tempovla.recipe.datasets.dataset import split_source
from tempovla.recipe.datasets.dataset_mixture import DatasetMixture, one_dataset
from tempovla.recipe.datasets.fits import check_lengths
from tempovla.recipe.datasets.same_body import warn_of_other_body
from tempovla.recipe.systems.collapse import PHASES, CollapseAlarm
from tempovla.recipe.systems.job import Imitation
from tempovla.recipe.systems.statevla_config import StateVLARecipe
from tempovla.storage.json_files import plain_json
from tempovla.timeline import Bundle, EpisodeSource
from tempovla.timeline.bundle import read_meta
from tempovla.timeline.bundle_path import check_path
from tempovla.training import distributed
from tempovla.training.config import TrainConfig
from tempovla.training.result import FitResult
from tempovla.transform.pipeline import TransformPipeline
from tempovla.transform.text import EmbedInstruction, HashedNgramEmbedder, SentenceEmbedder

LOGGER = logging.getLogger(__name__)

PHASE_NAMES = {1: "phase1_temporal_jepa", 2: "phase2_flow_matching"}
SUMS = {"action_loss": ("pos_rot_loss", "gripper_loss")}
"""Figures that are logged beside the loss terms."""


def train_phase(
    recipe: StateVLARecipe,
    phase: Literal[1, 2],
    out_dir: str | Path,
    *,
    phase1_checkpoint: str | Path | None = None,
    resume: str | Path | None = None,
    source: EpisodeSource | DatasetMixture | None = None,
) -> FitResult:
    """Train one phase into `out_dir`/phase1_temporal_jepa or `out_dir`/phase2_flow_matching.

    Args:
        recipe: the experiment.
        phase: 1 or 2.
        out_dir: folder of the run.
        phase1_checkpoint: bundle whose weights phase 2 starts from; by default phase 1's latest in `out_dir`.
        resume: checkpoint of this phase to go on from.
        source: the dataset, if it is loaded already.

    Raises:
        ValueError: if the dataset does not fit the model, or a checkpoint is missing, of another model or of no use.
    """
    check_phase1_checkpoint(phase1_checkpoint, phase, resume)
    out_dir = Path(out_dir)
    data = one_dataset(source, recipe, decode=reads_pictures(recipe, (phase,)))
    training = recipe.training.of_phase(phase)
    if resume is None:
        training = dataclasses.replace(training, extend=None)  # is of the phase that goes on

    def build_policy() -> StateVLA | ContextPolicy:
        base = StateVLA(resolve_model(recipe, split_source(data.only, recipe)[0], training), phase)
        base.recompute_activations(recipe.training.recompute_activations)
        return with_context(base) if phase == 2 else base

    def start(policy: StateVLA | ContextPolicy, data: DatasetMixture) -> TransformPipeline:
        check_lengths(data.only, policy.windows(), "model.action_seq_len and model.jepa.prediction_horizon")
        LOGGER.info("%s\n%s", PHASE_NAMES[phase], size_table(base_of(policy)))
        transform = build_transform(recipe, base_of(policy).config, data)
        if phase == 2 and resume is None:
            checkpoint = phase1_checkpoint or out_dir / PHASE_NAMES[1] / "checkpoint_latest"
            start_from_phase1(base_of(policy), checkpoint, transform)
            warn_of_other_body(checkpoint, data, reads_state=recipe.model.robot_state_dim is not None)
        return transform

    imitation = Imitation(
        "statevla",
        build_policy,
        start,
        PHASE_NAMES[phase],
        encodes_once=phase == 2 and recipe.training.phase2.cache_encodings,
        facts={"phase": phase},
        objective=Objective(SUMS),
        callback=lambda batches_per_epoch: build_alarm(phase, training, batches_per_epoch),
        follows_length=("model.jepa.ema_steps",),
    )
    return imitation.train(recipe, data, out_dir / PHASE_NAMES[phase], training=training, resume=resume)


def reads_pictures(recipe: StateVLARecipe, phases: Collection[int]) -> bool:
    """Return whether these phases read pictures more than once, so that keeping them decoded pays."""
    return 1 in phases or not recipe.training.phase2.cache_encodings


def build_alarm(phase: Literal[1, 2], training: TrainConfig, batches_per_epoch: int) -> CollapseAlarm:
    """Return the alarm for a collapse of z in this run."""
    rows = training.batch_size * training.gradient_accumulation * distributed.world_size()
    return CollapseAlarm(PHASES[phase], training.total_steps(batches_per_epoch), rows)


def resolve_model(recipe: StateVLARecipe, mixture: Mixture, training: TrainConfig) -> StateVLAConfig:
    """Return the model's config, completed with the training's settings of phase 1."""
    phase1 = recipe.training.of_phase(1)
    samples = sum(mixture.lengths)
    batches = max(1, -(-samples // (training.batch_size * distributed.world_size())))
    jepa = dataclasses.replace(
        recipe.model.jepa,
        ema_momentum=recipe.training.ema_momentum,
        ema_momentum_schedule=recipe.training.ema_momentum_schedule,
        ema_steps=phase1.total_steps(batches),
        temporal_predictor_hidden_dim=recipe.training.phase1.temporal_predictor_hidden_dim,
    )
    return dataclasses.replace(recipe.model, jepa=jepa)


def check_phase1_checkpoint(phase1_checkpoint: str | Path | None, phase: int | None, resume: str | Path | None) -> None:
    """Refuse `phase1_checkpoint` unless phase 2 starts from it.

    Raises:
        ValueError: if `phase` is not 2, or phase 2 goes on from `resume`.
    """
    if phase1_checkpoint is None:
        return
    if phase != 2:
        raise ValueError(f"--phase1_checkpoint {phase1_checkpoint} is what phase 2 starts from; give it with --phase 2")
    if resume is not None:
        raise ValueError(
            f"--phase1_checkpoint {phase1_checkpoint} is of no use with --checkpoint {resume}, which has its weights "
            "already; leave out one of them"
        )


def start_from_phase1(policy: StateVLA, checkpoint: str | Path, transform: TransformPipeline) -> None:
    """Load phase 1's weights, and warn if phase 1 was trained with other transforms than phase 2.

    Raises:
        ValueError: if there is no such checkpoint, or it is of phase 2 or of another model.
    """
    folder = Path(checkpoint)
    check_path(folder)
    if not folder.exists():
        there = sorted(path.name for path in folder.parent.glob("checkpoint_*") if path.exists())
        remedy = f"give one of {', '.join(there)}" if there else "train phase 1 first, or give --phase1_checkpoint"
        raise ValueError(f"{folder}: no phase 1 checkpoint; {remedy}")
    bundle = Bundle.load(folder)
    if bundle.provenance.get("phase") == 2:
        raise ValueError(f"{folder}: is of phase 2; give a checkpoint of phase 1, or go on from it with --checkpoint")
    load_weights(policy, bundle.weights, str(folder))
    kept = "kept as it is" if policy.config.freeze_encoder else "trained on"
    LOGGER.info("phase 2 starts from %s of phase 1, whose encoder is %s", folder, kept)
    if bundle.transform != plain_json(transform.to_json()):
        LOGGER.warning(
            "%s: phase 1 saw the data through other transforms (statistics of other data, another text model, ...); "
            "its encoder knows only those",
            folder,
        )


def phase_of(checkpoint: str | Path) -> Literal[1, 2]:
    """Return the phase whose training a checkpoint belongs to.

    Raises:
        ValueError: if it is no checkpoint of StateVLA.
    """
    meta = read_meta(checkpoint)
    phase: Literal[1, 2] | None = meta["provenance"].get("phase")
    if meta["policy"] != "statevla" or phase not in PHASE_NAMES:
        raise ValueError(f"{checkpoint}: is of policy {meta['policy']!r}, not of a phase of statevla; give another one")
    return phase


def build_transform(recipe: StateVLARecipe, model: StateVLAConfig, data: DatasetMixture) -> TransformPipeline:
    """Return the transforms that training and control share, fitted to the dataset's statistics."""
    text = recipe.transform.text_model
    embedder: SentenceEmbedder = HashedNgramEmbedder(model.lang_emb_dim)
    if text is not None:
        from tempovla.transform.text_model import TransformersTextEmbedder

        embedder = pretrained = TransformersTextEmbedder(text)
        pretrained.keep(sorted(words_told(data.only)))  # the model's weights are too many for every checkpoint
    if embedder.dim != model.lang_emb_dim:
        raise ValueError(f"transform.text_model={text} embeds in {embedder.dim}; set model.lang_emb_dim={embedder.dim}")
    shared = data.observation_steps(recipe.transform, model, (), model.image_size)
    return TransformPipeline([*shared, EmbedInstruction(embedder)])
