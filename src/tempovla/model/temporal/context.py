"""What a policy knows of the past: a temporal encoder, a history encoder, a memory and retrieval side by side.

Their state is explicit: it is passed in and returned.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn

from tempovla.model.layers.row_state import RowState
from tempovla.model.temporal.context_config import ContextConfig

if TYPE_CHECKING:
    from tempovla.model.temporal.core.encoder import TemporalEncoder
    from tempovla.model.temporal.history.encoder import HistoryEncoder
    from tempovla.model.temporal.history.state import HistoryState
    from tempovla.model.temporal.memory.explicit import ExplicitMemory
    from tempovla.model.temporal.retrieval.part import RetrievalPart


@dataclass(frozen=True)
class Frames:
    """What happened at the frames of a sequence.

    Attributes:
        features: (B, T, D); the values where `valid` is False are ignored.
        valid: (B, T) bool, whether there was a frame.
        actions: (B, T, stride * A), the actions executed between the previous frame and this one; 0 where not valid.
        action_valid: (B, T) bool, whether these actions are known.
        complete: whether it is known beforehand that every frame is valid, so that nothing needs to look.
    """

    features: Tensor
    valid: Tensor
    actions: Tensor
    action_valid: Tensor
    complete: bool = False

    @property
    def gaps(self) -> Tensor | None:
        """Return `valid`, or None where every frame is valid."""
        return None if self.complete or bool(self.valid.all()) else self.valid

    def part(self, start: int, stop: int) -> Frames:
        """Return the frames from `start` up to `stop`, which is not included."""
        features, valid, actions, done = (
            x[:, start:stop] for x in (self.features, self.valid, self.actions, self.action_valid)
        )
        return Frames(features, valid, actions, done, self.complete)


class ContextPart(Protocol):
    """One part of a context: a pure function of an explicit state."""

    def initial_state(self, batch: int) -> Any:
        """The state of `batch` rows that have seen nothing."""

    def run(self, frames: Frames, state: Any) -> tuple[Tensor, Any]:
        """Return the part's features (B, T, D) and the state after the last frame; invalid frames are skipped."""


class TemporalPart(nn.Module):
    """The sum of a temporal encoder's output for the newest frame and of what it has pooled over all frames so far."""

    def __init__(self, encoder: TemporalEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def initial_state(self, batch: int) -> Any:
        """Return the encoder's initial state."""
        return self.encoder.initial_state(batch)

    def run(self, frames: Frames, state: Any) -> tuple[Tensor, Any]:
        """Run the encoder; see `ContextPart.run`."""
        output, state = self.encoder.run(frames.features, state, frames.gaps)
        return output.hidden + output.aggregated, state


@dataclass(frozen=True)
class PendingHistory(RowState):
    """A history, and the newest frame, which waits for the actions that follow it.

    Attributes:
        history: the steps whose actions are known.
        features: (B, D) of the newest frame.
        waiting: (B,) bool, whether there is such a frame.
    """

    history: HistoryState
    features: Tensor
    waiting: Tensor


class HistoryPart(nn.Module):
    """The encoding of the last frames and of the actions that followed each of them."""

    def __init__(self, encoder: HistoryEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def initial_state(self, batch: int) -> PendingHistory:
        """Return a history without steps."""
        history = self.encoder.initial_state(batch)
        return PendingHistory(history, history.states[:, 0], torch.zeros_like(history.valid[:, 0]))

    def run(self, frames: Frames, state: PendingHistory) -> tuple[Tensor, PendingHistory]:
        """Run the encoder; see `ContextPart.run`. Invalid frames come first, as before an episode's start."""
        features = torch.where(frames.valid[..., None], frames.features, 0.0).to(state.features.dtype)
        before = torch.cat([state.features[:, None], features[:, :-1]], dim=1)
        done = frames.action_valid & torch.cat([state.waiting[:, None], frames.valid[:, :-1]], dim=1)
        encoding, history = self.encoder.sequence(before, frames.actions, state.history, done)
        return encoding, PendingHistory(history, features[:, -1], frames.valid[:, -1])


class MemoryPart(nn.Module):
    """A memory that takes in each frame, and is then read with it.

    Args:
        memory: a memory of any width.
        feature_dim: features D of the policy.
    """

    def __init__(self, memory: ExplicitMemory[Any, Any], feature_dim: int) -> None:
        super().__init__()
        width = memory.hidden_dim
        self.input_proj = nn.Sequential(nn.Linear(feature_dim, width), nn.LayerNorm(width))
        self.memory = memory
        self.output_proj = nn.Linear(width, feature_dim)

    def initial_state(self, batch: int) -> Any:
        """Return the memory's initial state."""
        return self.memory.initial_state(batch)

    def run(self, frames: Frames, state: Any) -> tuple[Tensor, Any]:
        """Write and read each frame; see `ContextPart.run`."""
        valid = frames.gaps
        features = frames.features if valid is None else torch.where(valid[..., None], frames.features, 0.0)
        recalled, state = self.memory(self.input_proj(features), state, valid)
        return self.output_proj(recalled), state


@dataclass(frozen=True)
class ContextState(RowState):
    """The states of the parts, in their order."""

    parts: tuple[Any, ...]


class ContextModule(nn.Module):
    """Computes what is added to the features of a frame because of the frames before it.

    Args:
        config: which parts there are, and how they are trained.
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
            from tempovla.model.temporal.core.encoder import TemporalEncoder

            self.parts["temporal"] = TemporalPart(TemporalEncoder(temporal))
        if history is not None:
            from tempovla.model.temporal.history.encoder import HistoryEncoder

            self.parts["history"] = HistoryPart(HistoryEncoder(history))
        if memory is not None:
            self.parts["memory"] = MemoryPart(memory, feature_dim)
        if config.retrieval is not None:
            from tempovla.model.temporal.retrieval.part import RetrievalPart

            self.parts["retrieval"] = RetrievalPart(config.retrieval, feature_dim, self.action_width)

    @property
    def reads_actions(self) -> bool:
        """Whether a part reads the actions executed between two frames."""
        return "history" in self.parts

    @property
    def retrieval(self) -> RetrievalPart | None:
        """The part that looks up earlier episodes, or None."""
        return dict(self.parts.items()).get("retrieval")

    def initial_state(self, batch: int) -> ContextState:
        """The state of `batch` rows that have seen nothing."""
        return ContextState(tuple(part.initial_state(batch) for part in self.parts.values()))

    def run(self, frames: Frames, state: ContextState) -> tuple[Tensor, ContextState]:
        """Continue with a sequence of frames.

        Args:
            frames: T frames; invalid ones come before the first valid one of a row.
            state: the result of `initial_state` or of the previous call.

        Returns:
            The sum of the parts' features (B, T, D), and the state after the last frame.
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
        """Return the sum of the parts' features (B, T, D) at the frames of a training window.

        The window starts from empty states. The first `burn_in` frames are read without gradients. After them,
        gradients are cut every `bptt_length` frames.
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
