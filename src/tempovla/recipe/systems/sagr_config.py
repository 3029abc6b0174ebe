"""The recipe of an SA-GR run: data, transforms, model and training."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from tempovla.model.vla.sagr_config import SAGRConfig
from tempovla.recipe.settings.system import Option, System
from tempovla.recipe.systems.mixture_data import MixtureDataConfig
from tempovla.recipe.systems.vla_config import VLATraining, VLATransformConfig

PHASES = ("sagr_phase_a_steps", "sagr_phase_b_ramp_steps")
"""Settings that training and model both have."""


@dataclass(frozen=True)
class SAGRDataConfig(MixtureDataConfig):
    """The demonstrations, and the steps that a sample holds.

    Attributes:
        observation_indices: steps at which frames are seen, relative to now; empty takes now and k.
        action_indices: steps whose actions are learned; empty takes a whole chunk from now on.
        include_state: whether the policy reads the robot's state; None leaves it to `model.robot_state_dim`.
    """

    observation_indices: tuple[int, ...] = ()
    action_indices: tuple[int, ...] = ()
    include_state: bool | None = None


@dataclass(frozen=True)
class SAGRTraining(VLATraining):
    """Training with supervision from now to k steps ahead.

    Attributes:
        sagr_phase_a_steps: number of optimiser steps that train flow matching alone; None takes that of the model.
        sagr_phase_b_ramp_steps: number of optimiser steps over which the other losses then grow to their weights; None
            takes that of the model.
        repeated_diffusion_steps: number of pairs of noise and flow time on which each row is trained; None takes that
            of the head.
    """

    sagr_phase_a_steps: int | None = None
    sagr_phase_b_ramp_steps: int | None = None
    repeated_diffusion_steps: int | None = None


@dataclass(frozen=True)
class SAGRRecipe:
    """All settings of an SA-GR run.

    Attributes:
        data: the demonstrations.
        transform: preprocessing of the demonstrations.
        model: parts and sizes of the model.
        training: settings of the training.
    """

    data: SAGRDataConfig = field(default_factory=SAGRDataConfig)
    transform: VLATransformConfig = field(default_factory=VLATransformConfig)
    model: SAGRConfig = field(default_factory=SAGRConfig)
    training: SAGRTraining = field(default_factory=SAGRTraining)

    def __post_init__(self) -> None:
        self.check_time()
        for name in PHASES:
            given, own = getattr(self.training, name), getattr(self.model, name)
            if given is not None and given < 0:
                raise ValueError(f"training.{name}={given} must not be negative; give 0 or more")
            if given is not None and own not in (0, given):
                raise ValueError(f"training.{name}={given} and model.{name}={own} differ; leave one of them out")

    def check_time(self) -> None:
        """Refuse steps of the data that are not those of the model.

        Raises:
            ValueError: naming both.
        """
        data, model = self.data, self.model
        seen, done = data.observation_indices, data.action_indices
        if len(set(seen)) != len(seen):
            raise ValueError(f"data.observation_indices={list(seen)} names a step twice; name each of them once")
        if seen and 0 not in seen:
            raise ValueError(f"data.observation_indices={list(seen)} leaves out 0, the frame of now; add it")
        if seen and model.uses_future and model.temporal_delta_k not in seen:
            raise ValueError(
                f"model.temporal_delta_k={model.temporal_delta_k} is not among data.observation_indices={list(seen)}; "
                "add it there, or set it to one of them"
            )
        if done and done != tuple(range(model.action_horizon)):
            raise ValueError(
                f"data.action_indices={list(done)} are not the model.action_horizon={model.action_horizon} steps from "
                f"0 on; give 0 to {model.action_horizon - 1}, or set model.action_horizon={len(done)}"
            )
        if data.include_state is not None and data.include_state != (model.robot_state_dim is not None):
            remedy = "set model.robot_state_dim" if data.include_state else "set model.robot_state_dim=null"
            raise ValueError(
                f"data.include_state={str(data.include_state).lower()} with model.robot_state_dim="
                f"{model.robot_state_dim}; {remedy}, or leave include_state out"
            )

    @property
    def resolved(self) -> SAGRRecipe:
        """The recipe with the datasets that `data.data_mix` names; see `MixtureDataConfig.resolved`."""
        model = self.model
        later = (model.temporal_delta_k, *(model.horizons if model.uses_world else ())) if model.uses_future else ()
        return replace(self, data=self.data.resolved(later, model.action_horizon))

    @property
    def resolved_model(self) -> SAGRConfig:
        """The model's config, completed with the settings of the training."""
        training = self.training
        phases = {name: getattr(training, name) for name in PHASES}
        model = replace(self.model, **{name: steps for name, steps in phases.items() if steps is not None})
        if training.repeated_diffusion_steps is None:
            return model
        return replace(
            model,
            action_head=replace(model.action_head, repeated_diffusion_steps=training.repeated_diffusion_steps),
        )


SYSTEM = System(
    recipe=SAGRRecipe,
    train="tempovla.recipe.systems.sagr:train_sagr",
    out="checkpoints/sagr",
    check="tempovla.recipe.systems.sagr:check_model",
    options=(
        Option("pretrained_vlm", "checkpoint or folder with the vision-language model from which the run starts"),
    ),
    examples="""
tempovla train sagr --config configs/sagr_metaworld.yaml --dataset outputs/data --out outputs/sagr
tempovla train sagr --config configs/sagr_metaworld.yaml --dataset outputs/data --out outputs/sagr \\
    --checkpoint outputs/sagr/checkpoint_latest
""",
)
