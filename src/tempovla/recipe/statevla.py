"""StateVLA's two phases as a recipe: data, transforms, model, training, from one config."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from tempovla import __version__
from tempovla.data.lerobot import open_dataset
from tempovla.data.loader import LoaderConfig, SampleLoader
from tempovla.data.memory import preload
from tempovla.data.mixture import Mixture
from tempovla.data.split import split_episodes
from tempovla.model.vla.registry import load_weights
from tempovla.model.vla.statevla import ACTION_KEY, STATE_KEY, StateVLA, StateVLAConfig
from tempovla.timeline import Bundle, EpisodeSource
from tempovla.timeline.config import config_to_json
from tempovla.train import distributed
from tempovla.train.config import TrainConfig
from tempovla.train.trainer import FitResult, fit
from tempovla.transform.augment import RandomShift
from tempovla.transform.blind import BlankImages
from tempovla.transform.image import ResizeImages
from tempovla.transform.normalize import NormalizationConfig, NormalizationMode, Normalize
from tempovla.transform.pipeline import TransformPipeline
from tempovla.transform.text import EmbedInstruction, HashedNgramEmbedder, TransformersTextEmbedder

LOGGER = logging.getLogger(__name__)

PHASE_NAMES = {1: "phase1_temporal_jepa", 2: "phase2_flow_matching"}


@dataclass(frozen=True)
class DataConfig:
    """Where demonstrations come from.

    Attributes:
        data_directory: root of a LeRobot dataset (v2.1 or v3.0).
        train_split: share of the episodes that is trained on; the others validate.
        preload_bytes: datasets up to this size are held decoded in memory [bytes].
        num_workers: loader processes; 0 reads in the training process.
        validation_batches: batches of one validation.
    """

    data_directory: str = ""
    train_split: float = 0.9
    preload_bytes: int = 2 << 30
    num_workers: int = 0
    validation_batches: int = 4

    def __post_init__(self) -> None:
        if not 0 < self.train_split <= 1:
            raise ValueError(f"data.train_split={self.train_split} must lie in (0, 1]")
        for name, least in (("preload_bytes", 0), ("num_workers", 0), ("validation_batches", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"data.{name}={getattr(self, name)} must be at least {least}")


@dataclass(frozen=True)
class TransformConfig:
    """What happens to observations and actions before the model sees them.

    Attributes:
        state_normalization: of the robot's state.
        action_normalization: of the continuous action dimensions; a gripper stays in {-1, +1}.
        text_model: name or folder of a transformers text model; None embeds instructions by hashed n-grams.
        shift_px: pictures are shifted at random by up to this many pixels in training.
        blind: pictures are blanked, in training and in control: the baseline.
    """

    state_normalization: NormalizationMode = "mean_std"
    action_normalization: NormalizationMode = "mean_std"
    text_model: str | None = None
    shift_px: int = 4
    blind: bool = False


@dataclass(frozen=True)
class Phase1Config:
    """Phase 1: the temporal JEPA. None takes what `training` says for both phases.

    Attributes:
        num_epochs: passes over the data, unless `train_steps` is given.
        train_steps: optimiser steps.
        learning_rate: peak learning rate.
        temporal_predictor_hidden_dim: width of the predictor.
    """

    num_epochs: int | None = None
    train_steps: int | None = None
    learning_rate: float | None = None
    temporal_predictor_hidden_dim: int = 512


@dataclass(frozen=True)
class Phase2Config:
    """Phase 2: flow matching. None takes what `training` says for both phases.

    Attributes:
        num_epochs: passes over the data, unless `train_steps` is given.
        train_steps: optimiser steps.
        learning_rate: peak learning rate.
    """

    num_epochs: int | None = None
    train_steps: int | None = None
    learning_rate: float | None = 5e-5


@dataclass(frozen=True)
class StateVLATraining(TrainConfig):
    """Training of both phases, and what is different in each.

    Attributes:
        ema_momentum: of phase 1's target encoder, at the start.
        ema_momentum_schedule: `cosine` rises to 1.0 over phase 1; `constant` stays.
        phase1: the temporal JEPA.
        phase2: flow matching.
    """

    ema_momentum: float = 0.996
    ema_momentum_schedule: Literal["cosine", "constant"] = "cosine"
    phase1: Phase1Config = field(default_factory=Phase1Config)
    phase2: Phase2Config = field(default_factory=Phase2Config)

    def of_phase(self, phase: Literal[1, 2]) -> TrainConfig:
        """The settings of one phase."""
        own = self.phase1 if phase == 1 else self.phase2
        settings = {f.name: getattr(self, f.name) for f in dataclasses.fields(TrainConfig)}
        for name in ("num_epochs", "train_steps", "learning_rate"):
            if getattr(own, name) is not None:
                settings[name] = getattr(own, name)
        return TrainConfig(**settings)


@dataclass(frozen=True)
class StateVLARecipe:
    """All that a StateVLA run is made of.

    Attributes:
        data: where demonstrations come from.
        transform: what happens to them before the model sees them.
        model: its sizes and parts.
        training: how both phases are trained.
    """

    data: DataConfig = field(default_factory=DataConfig)
    transform: TransformConfig = field(default_factory=TransformConfig)
    model: StateVLAConfig = field(default_factory=StateVLAConfig)
    training: StateVLATraining = field(default_factory=StateVLATraining)


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
        ValueError: if the dataset does not fit the model, or a checkpoint is missing or of another model.
    """
    out_dir = Path(out_dir)
    if source is None:
        source = load_dataset(recipe)
    training = recipe.training.of_phase(phase)
    check_fits(recipe.model, source)
    training_mixture, validation_mixture = split_source(source, recipe)
    with distributed.process_group() as device:
        model_config = resolve_model(recipe, training_mixture, training)
        torch.manual_seed(training.seed)
        policy = StateVLA(model_config, phase).to(device)
        learning = sum(weight.numel() for weight in policy.parameters() if weight.requires_grad)
        resting = sum(weight.numel() for weight in policy.parameters()) - learning
        LOGGER.info("%s: %d weights learn, %d stay as they are", PHASE_NAMES[phase], learning, resting)
        if phase == 2 and resume is None:
            start_from_phase1(policy, phase1_checkpoint or out_dir / PHASE_NAMES[1] / "checkpoint_latest")
        transform = build_transform(recipe, model_config, source)
        loader = build_loader(training_mixture, policy, recipe, training)
        augment = RandomShift(0 if recipe.transform.blind else recipe.transform.shift_px)
        validation = None
        if validation_mixture is not None:
            validation = FixedBatches(validation_mixture, policy, recipe, training, transform)
        return fit(
            policy,
            loader,
            training,
            out_dir / PHASE_NAMES[phase],
            bundle=lambda weights: make_bundle(model_config, policy, transform, source, weights, recipe),
            prepare=lambda sample: augment(transform.forward_sample(sample)),
            validation=validation,
            phase=PHASE_NAMES[phase],
            resume=resume,
        )


def load_dataset(recipe: StateVLARecipe) -> EpisodeSource:
    """The recipe's dataset; where they fit, frames are decoded once and held for both phases and their validation.

    Raises:
        ValueError: if there is no dataset, or it does not fit the model.
    """
    if not recipe.data.data_directory:
        raise ValueError("data.data_directory is empty; give the root of a LeRobot dataset")
    source = open_dataset(recipe.data.data_directory)
    check_fits(recipe.model, source)
    return preload(source, (STATE_KEY, ACTION_KEY, *recipe.model.cameras), recipe.data.preload_bytes)


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


def check_fits(config: StateVLAConfig, source: EpisodeSource) -> None:
    """Refuse a dataset whose streams are not what the model reads.

    Raises:
        ValueError: naming the stream, both sizes and the remedy.
    """
    wanted = {STATE_KEY: ("robot_state_dim", config.robot_state_dim), ACTION_KEY: ("action_dim", config.action_dim)}
    for key, (name, size) in wanted.items():
        if key not in source.streams:
            raise ValueError(f"{source.name}: has no stream {key!r}, but {sorted(source.streams)}; StateVLA needs it")
        if source.streams[key].shape != (size,):
            actual = source.streams[key].shape
            raise ValueError(f"{source.name}: stream {key!r} has shape {actual}; set model.{name}={actual[0]}")
    cameras = sorted(key for key, stream in source.streams.items() if stream.kind == "image")
    for camera in config.cameras:
        if camera not in cameras:
            raise ValueError(f"{source.name}: has no camera {camera!r}; set model.cameras to some of {cameras}")
    if config.has_gripper:
        check_gripper(source)


def check_gripper(source: EpisodeSource) -> None:
    """Refuse a dataset whose last action dimension is no gripper in {-1, +1}: it could be learned, but not executed.

    Raises:
        ValueError: naming the range and the remedy.
    """
    statistics = source.statistics.get(ACTION_KEY, {})
    ends = {name: float(np.ravel(statistics[name])[-1]) for name in ("min", "max") if name in statistics}
    if any(abs(end) != 1.0 for end in ends.values()):
        raise ValueError(
            f"{source.name}: the last dimension of {ACTION_KEY!r} ranges over {ends}, so it is no gripper in "
            "{-1, +1}; set model.has_gripper=false"
        )


def start_from_phase1(policy: StateVLA, checkpoint: str | Path) -> None:
    """Load phase 1's weights.

    Raises:
        ValueError: if there is no such checkpoint, or it is of another model.
    """
    folder = Path(checkpoint)
    if not folder.exists():
        raise ValueError(f"{folder}: no phase 1 checkpoint; train phase 1 first, or give --phase1_checkpoint")
    load_weights(policy, Bundle.load(folder).weights, str(folder))


def phase_of(checkpoint: str | Path) -> Literal[1, 2]:
    """The phase whose training a checkpoint belongs to.

    Raises:
        ValueError: if it is no checkpoint of StateVLA.
    """
    bundle = Bundle.load(checkpoint)
    phase = bundle.provenance.get("phase")
    if bundle.policy != "statevla" or phase not in PHASE_NAMES:
        raise ValueError(f"{checkpoint}: is of policy {bundle.policy!r}, not of a phase of statevla; give another one")
    return phase


def build_transform(recipe: StateVLARecipe, model: StateVLAConfig, source: EpisodeSource) -> TransformPipeline:
    """The transforms that training and control share, fitted to the dataset's statistics."""
    settings = recipe.transform
    gripper = (model.action_dim - 1,) if model.has_gripper else ()
    normalize = Normalize.fit(
        source.statistics,
        {
            STATE_KEY: NormalizationConfig(settings.state_normalization),
            ACTION_KEY: NormalizationConfig(settings.action_normalization, keep=gripper),
        },
    )
    text = settings.text_model
    embedder = HashedNgramEmbedder(model.lang_emb_dim) if text is None else TransformersTextEmbedder(text)
    if embedder.dim != model.lang_emb_dim:
        raise ValueError(f"transform.text_model={text} embeds in {embedder.dim}; set model.lang_emb_dim={embedder.dim}")
    pictures = BlankImages(model.cameras, model.image_size) if settings.blind else ResizeImages(model.image_size)
    return TransformPipeline([pictures, normalize, EmbedInstruction(embedder)])


def split_source(source: EpisodeSource, recipe: StateVLARecipe) -> tuple[Mixture, Mixture | None]:
    """Training and validation episodes."""
    held_out = round(1.0 - recipe.data.train_split, 9)
    training, validation = split_episodes(len(source), held_out, recipe.training.seed)
    return Mixture([source], episodes=[training]), Mixture([source], episodes=[validation]) if validation else None


def build_loader(
    mixture: Mixture, policy: StateVLA, recipe: StateVLARecipe, training: TrainConfig, epochs: int | None = None
) -> SampleLoader:
    """Batches of the windows that the policy wants."""
    config = LoaderConfig(training.batch_size, recipe.data.num_workers, recipe.data.preload_bytes)
    rank, ranks = distributed.rank(), distributed.world_size()
    return SampleLoader(
        mixture, policy.windows(), config, seed=training.seed, rank=rank, world_size=ranks, epochs=epochs
    )


class FixedBatches:
    """The same few validation batches every time, transformed once."""

    def __init__(
        self,
        mixture: Mixture,
        policy: StateVLA,
        recipe: StateVLARecipe,
        training: TrainConfig,
        transform: TransformPipeline,
    ) -> None:
        loader = iter(build_loader(mixture, policy, recipe, training))
        self._batches = [transform.forward_sample(next(loader)) for _ in range(recipe.data.validation_batches)]

    def __iter__(self) -> Any:
        return iter(self._batches)


def make_bundle(
    config: StateVLAConfig,
    policy: StateVLA,
    transform: TransformPipeline,
    source: EpisodeSource,
    weights: Mapping[str, Tensor],
    recipe: StateVLARecipe,
) -> Bundle:
    """What to deploy."""
    provenance = {
        "dataset": source.name,
        "episodes": len(source),
        "phase": policy.phase,
        "tempovla": __version__,
        "torch": torch.__version__,
        "recipe": config_to_json(recipe),
    }
    return Bundle(
        "statevla",
        config_to_json(config),
        policy.windows(),
        source.embodiment,
        transform.to_json(),
        weights,
        provenance,
    )
