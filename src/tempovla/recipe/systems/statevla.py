"""StateVLA's two phases as a recipe: data, transforms, model, training, from one config."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from tempovla.data.loader import SampleLoader
from tempovla.data.mixture import Mixture
from tempovla.data.words import words_told
from tempovla.model.vla.context_policy import ContextPolicy, base_of, with_context
from tempovla.model.vla.statevla import StateVLA
from tempovla.model.vla.statevla_config import StateVLAConfig
from tempovla.model.vla.statevla_sizes import size_table
from tempovla.model.vla.weights import load_weights
from tempovla.objective import Objective
from tempovla.recipe.datasets.dataset import (
    build_batches,
    check_fits,
    check_lengths,
    load_dataset,
    observation_transforms,
    preparation,
    provenance,
    raw_observations,
    split_source,
)
from tempovla.recipe.datasets.encodings import encode, encoded_windows
from tempovla.recipe.datasets.same_body import warn_of_other_body
from tempovla.recipe.systems.collapse import CollapseAlarm
from tempovla.recipe.systems.statevla_config import StateVLARecipe
from tempovla.storage.json_files import plain_json
from tempovla.timeline import Bundle, EpisodeSource, training_windows, window_ends
from tempovla.timeline.bundle import read_meta
from tempovla.timeline.bundle_path import check_path
from tempovla.timeline.config import config_to_json
from tempovla.train import distributed
from tempovla.train.config import TrainConfig
from tempovla.train.precision import settle_precision
from tempovla.train.trainer import FitResult, fit
from tempovla.transform.pipeline import TransformPipeline
from tempovla.transform.text import EmbedInstruction, HashedNgramEmbedder
from tempovla.transform.text_model import TransformersTextEmbedder

LOGGER = logging.getLogger(__name__)

PHASE_NAMES = {1: "phase1_temporal_jepa", 2: "phase2_flow_matching"}
SUMS = {"action_loss": ("pos_rot_loss", "gripper_loss")}
"""What is logged beside the loss terms."""


def train_phase(
    recipe: StateVLARecipe,
    phase: Literal[1, 2],
    out_dir: str | Path,
    *,
    phase1_checkpoint: str | Path | None = None,
    resume: str | Path | None = None,
    source: EpisodeSource | None = None,
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
    check_of_use(phase1_checkpoint, phase, resume)
    out_dir = Path(out_dir)
    if source is None:
        source = load_dataset(recipe, decode=reads_pictures(recipe, (phase,)))
    else:
        check_fits(recipe.model, source)
    with distributed.process_group() as device:
        training = recipe.training.of_phase(phase)
        if resume is None:
            training = dataclasses.replace(training, extend=None)  # is of the phase that goes on
        training = settle_precision(training, device, resume)
        model_config = resolve_model(recipe, split_source(source, recipe)[0], training)
        torch.manual_seed(training.seed)
        base = StateVLA(model_config, phase)
        base.recompute_activations(recipe.training.recompute_activations)
        policy = (with_context(base) if phase == 2 else base).to(device)
        check_lengths(source, policy.windows(), "model.action_seq_len and model.jepa.prediction_horizon")
        LOGGER.info("%s\n%s", PHASE_NAMES[phase], size_table(base))
        transform = build_transform(recipe, model_config, source)
        if phase == 2 and resume is None:
            start = phase1_checkpoint or out_dir / PHASE_NAMES[1] / "checkpoint_latest"
            start_from_phase1(base, start, transform)
            warn_of_other_body(start, source, reads_state=model_config.robot_state_dim is not None)
        data, windows = source, training_windows(policy)
        if phase == 2 and recipe.training.phase2.cache_encodings:
            if resume is not None:
                load_weights(policy, Bundle.load(resume).weights, str(resume))
            shift_px = recipe.transform.applied_shift_px
            data = encode(source, base, transform, training, folder=recipe.data.encoding_cache, shift_px=shift_px)
            windows = encoded_windows(windows)
        loader, validation = build_batches(data, windows, recipe, training, transform, window_ends(policy))
        return fit(
            policy,
            loader,
            training,
            out_dir / PHASE_NAMES[phase],
            bundle=lambda weights: make_bundle(model_config, policy, transform, source, weights, recipe),
            prepare=preparation(recipe.transform, transform),
            validation=validation,
            objective=Objective(SUMS),
            watch=build_alarm(phase, training, loader),
            phase=PHASE_NAMES[phase],
            resume=resume,
            follows_length=("model.jepa.ema_steps",),
        )


def reads_pictures(recipe: StateVLARecipe, phases: Collection[int]) -> bool:
    """Whether training in these phases reads pictures more than once, so that they are worth holding decoded."""
    return 1 in phases or not recipe.training.phase2.cache_encodings


def build_alarm(phase: Literal[1, 2], training: TrainConfig, loader: SampleLoader) -> CollapseAlarm:
    """What warns of a collapse of z in this run."""
    rows = training.batch_size * training.gradient_accumulation * distributed.world_size()
    return CollapseAlarm(phase, training.total_steps(loader.batches_per_epoch), rows)


def resolve_model(recipe: StateVLARecipe, mixture: Mixture, training: TrainConfig) -> StateVLAConfig:
    """The model's config with what training says about phase 1 filled in."""
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


def check_of_use(phase1_checkpoint: str | Path | None, phase: int | None, resume: str | Path | None) -> None:
    """Refuse a checkpoint to start phase 2 from where phase 2 does not start.

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
    """Load phase 1's weights; warns where phase 1 was trained behind other transforms than phase 2 will be.

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
    """The phase whose training a checkpoint belongs to.

    Raises:
        ValueError: if it is no checkpoint of StateVLA.
    """
    meta = read_meta(checkpoint)
    phase: Literal[1, 2] | None = meta["provenance"].get("phase")
    if meta["policy"] != "statevla" or phase not in PHASE_NAMES:
        raise ValueError(f"{checkpoint}: is of policy {meta['policy']!r}, not of a phase of statevla; give another one")
    return phase


def build_transform(recipe: StateVLARecipe, model: StateVLAConfig, source: EpisodeSource) -> TransformPipeline:
    """The transforms that training and control share, fitted to the dataset's statistics."""
    text = recipe.transform.text_model
    embedder: HashedNgramEmbedder | TransformersTextEmbedder = HashedNgramEmbedder(model.lang_emb_dim)
    if text is not None:
        embedder = TransformersTextEmbedder(text)
        embedder.keep(sorted(words_told(source)))  # the model's weights are too many for every checkpoint
    if embedder.dim != model.lang_emb_dim:
        raise ValueError(f"transform.text_model={text} embeds in {embedder.dim}; set model.lang_emb_dim={embedder.dim}")
    shared = observation_transforms(recipe.transform, model, model.image_size, source)
    return TransformPipeline([*raw_observations(model, source), *shared, EmbedInstruction(embedder)])


def make_bundle(
    config: StateVLAConfig,
    policy: StateVLA | ContextPolicy,
    transform: TransformPipeline,
    source: EpisodeSource,
    weights: Mapping[str, Tensor],
    recipe: StateVLARecipe,
) -> Bundle:
    """What to deploy."""
    return Bundle(
        "statevla",
        config_to_json(config),
        transform.own_windows(policy.windows()),
        source.embodiment,
        transform.to_json(),
        weights,
        provenance(source, recipe) | {"phase": base_of(policy).phase},
        transform.assets(),
    )
