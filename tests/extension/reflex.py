"""A policy, its recipe and its training outside the package: what a plugin looks like."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tempovla.model.vla.registry import POLICY_REGISTRY
from tempovla.recipe.datasets.config import DataConfig, ObservationConfig
from tempovla.recipe.settings.system import System
from tempovla.recipe.systems.job import imitate
from tempovla.recipe.systems.registry import SYSTEM_REGISTRY
from tempovla.timeline import ActionChunk, Context, LossTerm, TimelineSample, Track, Window
from tempovla.timeline.streams import StreamSpec
from tempovla.training.config import TrainConfig


@dataclass(frozen=True)
class ReflexConfig:
    """Sizes of a `Reflex`."""

    state_dim: int = 3
    action_dim: int = 2
    action_horizon: int = 4

    def streams(self) -> dict[str, StreamSpec]:
        """What it reads and imitates."""
        return {
            "observation.state": StreamSpec("state", (self.state_dim,)),
            "action": StreamSpec("action", (self.action_dim,)),
        }


class Reflex(nn.Module):
    """Actions as a linear function of the newest state."""

    def __init__(self, config: ReflexConfig) -> None:
        super().__init__()
        self.config = config
        self.shape = (config.action_horizon, config.action_dim)
        self.linear = nn.Linear(config.state_dim, config.action_horizon * config.action_dim)

    def windows(self) -> tuple[Window, ...]:
        return Window("observation.state", (0,)), Window("action", tuple(range(self.shape[0])))

    def initial_state(self, batch_size: int) -> None:
        return None

    def forward(self, sample: TimelineSample) -> dict[str, LossTerm]:
        action = sample.future["action"]
        return {"action_loss": LossTerm(self.predict(sample.context), action.value, action.valid)}

    def act(self, context: Context, state: None) -> tuple[ActionChunk, None]:
        track = Track.of(self.predict(context), range(self.shape[0]))
        return ActionChunk(track.value, track.valid, track.offset), state

    def after_step(self, train_step: int) -> None:
        pass

    def predict(self, context: Context) -> Tensor:
        state, valid = context.now["observation.state"].at(0)
        return self.linear(torch.where(valid[:, None], state, 0.0)).unflatten(1, self.shape)


@dataclass(frozen=True)
class ReflexRecipe:
    """All that a run is made of."""

    data: DataConfig = field(default_factory=DataConfig)
    transform: ObservationConfig = field(default_factory=ObservationConfig)
    model: ReflexConfig = field(default_factory=ReflexConfig)
    training: TrainConfig = field(default_factory=TrainConfig)


def train_reflex(recipe: ReflexRecipe, out_dir: str | Path, *, resume: str | Path | None = None) -> Any:
    """Imitate the dataset."""
    return imitate("reflex", recipe, out_dir, lambda: Reflex(recipe.model), resume=resume)


POLICY_REGISTRY["reflex"] = (Reflex, ReflexConfig)
SYSTEM_REGISTRY["reflex"] = (
    System(ReflexRecipe, train_reflex, "checkpoints/reflex", "tempovla train reflex --dataset outputs/data"),
    "train a linear policy",
)
