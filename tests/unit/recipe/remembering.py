"""Policies whose use of the past is known, and episodes of which it is known what they need."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tempovla.data.memory import MemoryEpisode, MemorySource
from tempovla.model.temporal.context import Frames
from tempovla.model.temporal.context_config import ContextConfig
from tempovla.model.vla.context_policy import ContextPolicy
from tempovla.model.vla.features import Features
from tempovla.recipe.diagnosis.frames import Demonstrations
from tempovla.timeline import ActionChunk, Embodiment
from tempovla.timeline.source import StreamInfo
from tempovla.transform.pipeline import TransformPipeline

STATE, ACTION = "observation.state", "action"
STRIDE, SIZE = 2, 2


@dataclass(frozen=True)
class ToyBodyConfig:
    """What a context asks of a policy's config; both fields are the policy's own."""

    action_dim: int = SIZE
    context: ContextConfig | None = field(default=None)


class SeesState(nn.Module):
    """Features are what is seen, and room for what the past says; `decide` makes the action of both."""

    horizon, feature_dim = 3, 2 * SIZE

    def __init__(self, decide: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.config, self.decide = ToyBodyConfig(), decide
        self.anchor = nn.Parameter(torch.zeros(()))

    @property
    def device(self) -> torch.device:
        return self.anchor.device

    def observation_keys(self) -> tuple[str, ...]:
        return (STATE,)

    def features(self, context: Any) -> Features:
        seen = context.now[STATE].at(0)[0]
        tokens = torch.cat([seen, torch.zeros_like(seen)], dim=1)[:, None]
        return Features(tokens, torch.ones_like(tokens[..., 0], dtype=torch.bool))

    def actions_of(self, features: Features, context: Any, seed: Tensor) -> ActionChunk:
        token = features.tokens[:, 0]
        action = self.decide(token[:, :SIZE], token[:, SIZE:])
        return ActionChunk.of(action[:, None].expand(-1, self.horizon, -1), range(self.horizon))


class ToyContext(nn.Module):
    """Says `say(frames, remembered)` and remembers the features of the first frame, and whether there was one."""

    reads_actions, action_width = True, STRIDE * SIZE

    def __init__(self, config: ContextConfig, say: Callable[[Frames, Tensor], Tensor]) -> None:
        super().__init__()
        self.config, self.say = config, say

    def initial_state(self, batch: int) -> tuple[Tensor, Tensor]:
        return torch.zeros(batch, SIZE), torch.zeros(batch, dtype=torch.bool)

    def run(self, frames: Frames, state: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        first, seen = state
        said = []
        for step in range(frames.valid.shape[1]):
            frame = frames.part(step, step + 1)
            new = frame.valid[:, 0] & ~seen
            first = torch.where(new[:, None], frame.features[:, 0, :SIZE], first)
            seen = seen | new
            words = self.say(frame, first)
            said.append(torch.cat([torch.zeros_like(words), words], dim=1))
        return torch.stack(said, dim=1), (first, seen)


def remembers(
    say: Callable[[Frames, Tensor], Tensor], decide: Callable[[Tensor, Tensor], Tensor] = lambda seen, past: past
) -> ContextPolicy:
    """A policy that sees every second step, whose past says `say` and that does `decide` of what it sees and that."""
    config = ContextConfig(temporal={"encoder_type": "gru", "hidden_dim": 4}, stride=STRIDE, sequence_length=3)
    policy = ContextPolicy(SeesState(decide), config)
    policy.context = ToyContext(config, say)
    return policy.eval()


def copies() -> ContextPolicy:
    """Does again what was done last."""
    return remembers(lambda frame, first: frame.actions[:, 0, -SIZE:])


def needs_the_first_frame() -> ContextPolicy:
    """Does what the first frame showed."""
    return remembers(lambda frame, first: first)


def ignores_the_past() -> ContextPolicy:
    """Does what it sees."""
    return remembers(lambda frame, first: torch.zeros_like(first), lambda seen, past: seen)


def episodes(
    action: Callable[[np.ndarray, np.random.Generator], np.ndarray], lengths: tuple[int, ...] = (13, 16, 11, 14, 16, 12)
) -> MemorySource:
    """States at random; `action` makes actions (T, 2) of states (T, 2)."""
    random = np.random.default_rng(5)
    streams = {key: StreamInfo(kind, (SIZE,), "float32", 10.0) for key, kind in ((STATE, "state"), (ACTION, "action"))}
    parts = []
    for index, length in enumerate(lengths):
        state = random.normal(size=(length, SIZE)).astype(np.float32)
        values = {STATE: state, ACTION: action(state, random).astype(np.float32)}
        parts.append(MemoryEpisode(f"task {index % 2}", length, values))
    return MemorySource("toy", Embodiment("toy", SIZE, SIZE, 10.0), streams, parts)


def demonstrations(source: Any, policy: Any, transform: Any = None, stride: int = STRIDE) -> Demonstrations:
    """All episodes, as the policy would step through them."""
    chosen = tuple(range(len(source)))
    return Demonstrations(source, chosen, policy.windows(), transform or TransformPipeline([]), stride, seed=3)
