"""A policy that does what it is told on the line of `tests.toy_simulator`."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from tempovla.control.controller import Controller
from tempovla.timeline import ActionChunk, Bundle, Context, Embodiment, Window
from tempovla.timeline.keys import ACTION_KEY, STATE_KEY
from tempovla.transform.pipeline import TransformPipeline

BODY = Embodiment("hand", 1, 2, 10.0, ("place [m]",), ("way", "grip"))
WAYS = {"wait": 0.0, "go left": -1.0, "go right": 1.0}


@dataclass(frozen=True)
class Listener:
    """Does what it is told, for as many steps as it decides at once; keeps what it was told."""

    horizon: int = 1
    history: tuple[int, ...] = (0,)
    told: list[list[str]] = field(default_factory=list)

    def windows(self) -> tuple[Window, ...]:
        return Window(STATE_KEY, self.history), Window(ACTION_KEY, tuple(range(self.horizon)))

    def initial_state(self, batch_size: int) -> Tensor:
        return torch.zeros(batch_size, 1)

    def act(self, context: Context, state: Tensor) -> tuple[ActionChunk, Tensor]:
        words = [task.instruction for task in context.task]
        self.told.append(words)
        way = torch.tensor([[[WAYS[told], 0.0]] for told in words]).repeat(1, self.horizon, 1)
        return ActionChunk.of(way, range(self.horizon)), state

    def controller(self) -> Controller:
        bundle = Bundle("listener", {}, self.windows(), BODY, {"steps": []}, {})
        return Controller(self, TransformPipeline([]), bundle)
