"""What a policy knows of the past: temporal encoder, history encoder and memory side by side, their state explicit."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tempovla.model.layers.row_state import RowState
from tempovla.model.temporal.context_config import ContextConfig
from tempovla.model.temporal.context_parts import Frames, HistoryPart, MemoryPart, TemporalPart
from tempovla.model.temporal.history_encoder import HistoryEncoder
from tempovla.model.temporal.temporal_encoder import TemporalEncoder


@dataclass(frozen=True)
class ContextState(RowState):
    """All that the parts remember, in their order."""

    parts: tuple[Any, ...]


class ContextModule(nn.Module):
    """Adds to the features of a frame what its past says.

    Args:
        config: which parts, and how they are trained.
        feature_dim: features D of a frame.
        action_dim: dimensions A of an action.
    """

    def __init__(self, config: ContextConfig, feature_dim: int, action_dim: int) -> None:
        super().__init__()
        self.config = config
        self.action_width = config.stride * action_dim
        self.parts: Any = nn.ModuleDict()
        temporal, history = config.temporal_config(feature_dim), config.history_config(feature_dim, action_dim)
        memory = config.build_memory(feature_dim)
        if temporal is not None:
            self.parts["temporal"] = TemporalPart(TemporalEncoder(temporal))
        if history is not None:
            self.parts["history"] = HistoryPart(HistoryEncoder(history))
        if memory is not None:
            self.parts["memory"] = MemoryPart(memory, feature_dim)

    @property
    def reads_actions(self) -> bool:
        """Whether what was done between two frames is looked at."""
        return "history" in self.parts

    def initial_state(self, batch: int) -> ContextState:
        """The state of `batch` rows that have seen nothing."""
        return ContextState(tuple(part.initial_state(batch) for part in self.parts.values()))

    def run(self, frames: Frames, state: ContextState) -> tuple[Tensor, ContextState]:
        """Go on with a sequence.

        Args:
            frames: T of them; those that are not valid come before the first valid one of a row.
            state: of `initial_state`, or of the call before.

        Returns:
            What the parts say together, (B, T, D), and the state after the last frame.
        """
        total: Tensor | None = None
        after = []
        for part, before in zip(self.parts.values(), state.parts, strict=True):
            said, new = part.run(frames, before)
            total = said if total is None else total + said
            after.append(new)
        assert total is not None
        return total, dataclasses.replace(state, parts=tuple(after))

    def learn(self, frames: Frames) -> Tensor:
        """What the parts say at the frames of a training window, (B, T, D), from nothing.

        The first `burn_in` frames are read without gradients, those after are cut every `bptt_length`.
        """
        config, length = self.config, frames.valid.shape[1]
        state, pieces = self.initial_state(len(frames.valid)), []
        if config.burn_in:
            with torch.no_grad():
                said, state = self.run(frames.part(0, config.burn_in), state)
            pieces.append(said)
        size = config.bptt_length or config.sequence_length
        for start in range(config.burn_in, length, size):
            said, state = self.run(frames.part(start, min(start + size, length)), state.detach())
            pieces.append(said)
        return torch.cat(pieces, dim=1)
