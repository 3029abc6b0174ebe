"""What a training asks of samples of now and k steps later."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class TemporalPlan:
    """What a config's model reads and predicts.

    Attributes:
        k: how many steps later the target is.
        action_horizon: number of actions T that the model predicts.
        action_dim: dimensions of an action; None where nothing says.
        state_dim: dimensions of the state; None if the model reads none.
        include_state: whether samples hold the state.
        observation_indices: steps that the config's own data section observes; None where the types of robots say.
        action_indices: steps of the actions that it reads; None where the types of robots say.
        decides_every_k: whether control decides at every k-th step, so that it sees the frame at t + k next.
        replans: whether control then goes on with its chunk unless the world departs from the prediction.
        unlearned: what control reads of a prediction that no loss trains, as a warning; None if there is no such thing.
        cameras: keys of the pictures that the model sees; None where any will do.
        image_size: side of the pictures that the model sees [px].
        horizons: further steps after now of which the model has a target.
        predicts: whether any loss or control looks at a later frame; otherwise a dataset needs no target.
        depths: keys of the streams of depth that the model reads, each with the calibration of its camera.
        needs_poses: whether it needs the poses of these cameras as well.
        open_options: of `open_source`, by which the config changes what a dataset holds.
    """

    k: int
    action_horizon: int
    action_dim: int | None = None
    state_dim: int | None = None
    include_state: bool = False
    observation_indices: tuple[int, ...] | None = None
    action_indices: tuple[int, ...] | None = None
    decides_every_k: bool = False
    replans: bool = False
    unlearned: str | None = None
    cameras: tuple[str, ...] | None = None
    image_size: int = 224
    horizons: tuple[int, ...] = ()
    predicts: bool = True
    depths: tuple[str, ...] = ()
    needs_poses: bool = False
    open_options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def later(self) -> tuple[int, ...]:
        """All steps after now that are observed."""
        return (self.k, *self.horizons)
