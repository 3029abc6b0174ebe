"""Grippers: conversion between the values of a robot and of a model for open and closed."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from tempovla.timeline import ActionChunk, Context, Track, Tracks
from tempovla.timeline.config import config_from_json
from tempovla.timeline.keys import ACTION_KEY
from tempovla.timeline.sample import map_tracks


@dataclass(frozen=True)
class RemapGripper:
    """The last action dimension becomes 1 where the robot's gripper opens and 0 where it closes, as Open X-Embodiment
    and OpenVLA have it; between and beyond, in proportion.

    Attributes:
        open_value: value that opens the robot's gripper; -1 in LIBERO and Meta-World.
        closed_value: value that closes it; 1 in LIBERO and Meta-World.
    """

    open_value: float
    closed_value: float

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not math.isfinite(value):
                raise ValueError(f"{name}={value} must be a finite number")
        if self.open_value == self.closed_value:
            raise ValueError(f"open_value and closed_value are both {self.open_value}; give two different values")

    def _remap(self, key: str, track: Track) -> Track:
        if key != ACTION_KEY:
            return track
        value = track.value.float()
        share = (value[..., -1:] - self.closed_value) / (self.open_value - self.closed_value)
        return track.with_value(torch.cat([value[..., :-1], share], dim=-1))

    def forward(self, context: Context, future: Tracks) -> tuple[Context, Tracks]:
        """Remap past, present and future actions (B, T, A)."""
        return context.map_tracks(self._remap), map_tracks(future, self._remap)

    def inverse(self, action: ActionChunk) -> ActionChunk:
        """Return actions (B, H, A) with the gripper as the robot takes it."""
        share: Tensor = action.value[..., -1:]
        gripper = self.closed_value + share * (self.open_value - self.closed_value)
        return ActionChunk(torch.cat([action.value[..., :-1], gripper], dim=-1), action.valid, action.offset)

    def to_json(self) -> dict[str, Any]:
        """Return the config."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> RemapGripper:
        """Read what `to_json` wrote."""
        return config_from_json(cls, data, "remap_gripper")
