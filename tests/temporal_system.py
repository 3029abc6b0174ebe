"""A system that predicts k steps later and trains nothing, for tests of checks."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from tempovla.recipe.datasets.config import DataConfig, ObservationConfig
from tempovla.recipe.settings.system import System
from tempovla.recipe.systems.registry import SYSTEM_REGISTRY
from tempovla.training.config import TrainConfig


@dataclass(frozen=True)
class ToyData(DataConfig):
    """Demonstrations."""

    observation_indices: tuple[int, ...] = ()
    action_indices: tuple[int, ...] = ()
    include_state: bool | None = None
    data_mix: str = ""
    data_root_dir: str = ""
    mixtures: str | None = None


@dataclass(frozen=True)
class ToyModel:
    """Sizes."""

    action_dim: int = 2
    robot_state_dim: int | None = None
    action_horizon: int = 8
    temporal_delta_k: int = 8
    cameras: tuple[str, ...] | None = None
    horizons: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.temporal_delta_k < 1:
            raise ValueError(f"model.temporal_delta_k={self.temporal_delta_k} must be at least 1")


@dataclass(frozen=True)
class ToyRecipe:
    """All settings."""

    data: ToyData = field(default_factory=ToyData)
    transform: ObservationConfig = field(default_factory=ObservationConfig)
    model: ToyModel = field(default_factory=ToyModel)
    training: TrainConfig = field(default_factory=TrainConfig)


SYSTEM = System(ToyRecipe, "nowhere:train", "out", "")


@pytest.fixture
def predicting_system(monkeypatch) -> None:
    """The system that a config is of which does not say it."""
    monkeypatch.setitem(SYSTEM_REGISTRY, "sagr", (SYSTEM, "train a toy"))
