"""A policy that needs no training: its actions follow from what it is shown and told, row by row."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tempovla.control.controller import Controller
from tempovla.env.embodiment import METAWORLD_SAWYER
from tempovla.timeline import ActionChunk, Bundle, Context, Window
from tempovla.transform.pipeline import TransformPipeline

STATE, ACTION = "observation.state", "action"


@dataclass(frozen=True)
class ScriptedPolicy:
    """Swings that depend on the state seen, on the steps decided so far, and on the instruction's length.

    It remembers a decaying sum of the states, so that a row that is not reset, or sees another row, is found out.
    """

    horizon: int = 8
    history: tuple[int, ...] = (0,)

    def windows(self) -> tuple[Window, ...]:
        return Window(STATE, self.history), Window(ACTION, tuple(range(self.horizon)))

    def initial_state(self, batch_size: int) -> Tensor:
        return torch.zeros(batch_size, 4)

    def act(self, context: Context, state: Tensor) -> tuple[ActionChunk, Tensor]:
        track = context.track(STATE)
        seen = torch.where(track.valid[..., None], track.value, 0.0).sum(dim=1)
        memory = 0.5 * torch.where(context.first[:, None], 0.0, state) + seen
        words = torch.tensor([[len(task.instruction)] for task in context.task])
        phase = 3.0 * memory + words
        value = torch.sin(phase[:, None] + torch.arange(self.horizon)[:, None])
        return ActionChunk.of(value, range(self.horizon)), memory

    def controller(self) -> Controller:
        bundle = Bundle("scripted", {}, self.windows(), METAWORLD_SAWYER, {"steps": []}, {})
        return Controller(self, TransformPipeline([]), bundle)
