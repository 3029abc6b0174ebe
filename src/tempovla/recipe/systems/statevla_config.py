"""The recipe of a StateVLA run: data, transforms, model and training."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Literal

from tempovla.model.vla.statevla_config import StateVLAConfig
from tempovla.recipe.datasets.config import DataConfig, ObservationConfig
from tempovla.recipe.settings.system import Link, Option, System
from tempovla.training.config import TrainConfig


@dataclass(frozen=True)
class TransformConfig(ObservationConfig):
    """Preprocessing of observations and actions.

    Attributes:
        text_model: name or folder of a transformers text model; None embeds instructions by hashed n-grams.
    """

    text_model: str | None = None


@dataclass(frozen=True)
class Phase1Config:
    """Phase 1, the temporal JEPA. None means the value under `training`.

    Attributes:
        num_epochs: number of passes over the data; has no effect if `train_steps` is given.
        train_steps: number of optimiser steps.
        learning_rate: peak learning rate.
        temporal_predictor_hidden_dim: width of the predictor.
    """

    num_epochs: int | None = None
    train_steps: int | None = None
    learning_rate: float | None = None
    temporal_predictor_hidden_dim: int = 512


@dataclass(frozen=True)
class Phase2Config:
    """Phase 2, flow matching. None means the value under `training`.

    Attributes:
        num_epochs: number of passes over the data; has no effect if `train_steps` is given.
        train_steps: number of optimiser steps.
        learning_rate: peak learning rate.
        cache_encodings: encode every observation once before the first step, and not once in every epoch. This needs a
            frozen encoder and pictures that are not shifted, and takes 4 bytes of memory for each dimension of z.
            Losses differ by rounding, because the last bits of a row may depend on its place in a batch.
            `data.encoding_cache` keeps the encodings on disk.
    """

    num_epochs: int | None = None
    train_steps: int | None = None
    learning_rate: float | None = 5e-5
    cache_encodings: bool = False


@dataclass(frozen=True)
class StateVLATraining(TrainConfig):
    """Training of both phases, and the settings that differ between them.

    Attributes:
        ema_momentum: momentum of phase 1's target encoder at the start.
        ema_momentum_schedule: `cosine` lets the momentum rise to 1.0 over phase 1; `constant` keeps it.
        recompute_activations: keep only one array for each layer for the backward pass and compute the others again.
            The result is the same, with a fraction of the memory and a third more time.
        phase1: the temporal JEPA.
        phase2: flow matching.
    """

    ema_momentum: float = 0.996
    ema_momentum_schedule: Literal["cosine", "constant"] = "cosine"
    recompute_activations: bool = False
    phase1: Phase1Config = field(default_factory=Phase1Config)
    phase2: Phase2Config = field(default_factory=Phase2Config)

    def of_phase(self, phase: Literal[1, 2]) -> TrainConfig:
        """Return the settings of one phase."""
        own = self.phase1 if phase == 1 else self.phase2
        settings = {f.name: getattr(self, f.name) for f in dataclasses.fields(TrainConfig)}
        for name in ("num_epochs", "train_steps", "learning_rate"):
            if getattr(own, name) is not None:
                settings[name] = getattr(own, name)
        return TrainConfig(**settings)


@dataclass(frozen=True)
class StateVLARecipe:
    """All settings of a StateVLA run.

    Attributes:
        data: the demonstrations.
        transform: preprocessing of the demonstrations.
        model: parts and sizes of the model.
        training: settings of both phases of the training.
    """

    data: DataConfig = field(default_factory=DataConfig)
    transform: TransformConfig = field(default_factory=TransformConfig)
    model: StateVLAConfig = field(default_factory=StateVLAConfig)
    training: StateVLATraining = field(default_factory=StateVLATraining)

    def __post_init__(self) -> None:
        moving = {
            "model.freeze_encoder=false": not self.model.freeze_encoder,
            f"transform.shift_px={self.transform.shift_px}": self.transform.applied_shift_px > 0,
        }
        found = [setting for setting, holds in moving.items() if holds]
        steps, phases = self.training.train_steps, (self.training.phase1, self.training.phase2)
        if steps is not None and all(phase.train_steps is not None for phase in phases):
            raise ValueError(
                f"training.train_steps={steps} has no effect, because both phases have steps of their own; set "
                "training.phase1.train_steps and training.phase2.train_steps instead"
            )
        if self.data.encoding_cache is not None and not self.training.phase2.cache_encodings:
            raise ValueError(
                f"data.encoding_cache={self.data.encoding_cache} keeps what is encoded once; set "
                "training.phase2.cache_encodings=true, too, or leave it out"
            )
        if self.training.phase2.cache_encodings and found:
            raise ValueError(
                f"training.phase2.cache_encodings=true with {found[0]}: encodings change from epoch to epoch; "
                "set model.freeze_encoder=true and transform.shift_px=0, or leave the cache off"
            )


SYSTEM = System(
    recipe=StateVLARecipe,
    train="tempovla.recipe.systems.statevla_phases:train_statevla",
    out="checkpoints",
    options=(
        Option("phase", "phase to train; without it, one after the other", Literal[1, 2], None),
        Option(
            "phase1_checkpoint",
            "what --phase 2 starts from (by default, the latest of phase 1 in the folder)",
            metavar="CKPT",
        ),
    ),
    links=(
        Link("training.ema_momentum", "model.jepa.ema_momentum"),
        Link("training.ema_momentum_schedule", "model.jepa.ema_momentum_schedule"),
        Link("training.phase1.temporal_predictor_hidden_dim", "model.jepa.temporal_predictor_hidden_dim"),
        Link("training.phase1.train_steps", "model.jepa.ema_steps", lambda steps: steps or 1),
    ),
    examples="""
tempovla train statevla --config configs/statevla_metaworld.yaml --dataset outputs/data --out outputs/run
tempovla train statevla --config configs/statevla_libero_object.yaml --dataset ROOT --phase 1
tempovla train statevla --config configs/statevla_libero_object.yaml --dataset ROOT --phase 2 \\
    --phase1_checkpoint checkpoints/phase1_temporal_jepa/checkpoint_best
tempovla train statevla --config configs/statevla_libero_object.yaml --dataset ROOT --phase 1 \\
    --checkpoint checkpoints/phase1_temporal_jepa/checkpoint_latest
tempovla train statevla --config configs/statevla_libero_object.yaml --batch_size 32 --print_config > mine.yaml
torchrun --nproc_per_node=2 -m tempovla.cli train statevla --config configs/statevla_libero_object.yaml --phase 1
""",
)
