"""Small lawful components, to break one law at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor, nn

from tempovla.timeline import (
    ActionChunk,
    Context,
    Embodiment,
    EpisodeInfo,
    LossTerm,
    Reading,
    Statistics,
    StreamInfo,
    TimelineSample,
    Track,
    Window,
)
from tempovla.timeline.clock import latest_at
from tempovla.timeline.noise import mix_seed, row_normal

STATE, ACTION, FRONT = "observation.state", "action", "observation.images.front"
STATE_DIM, ACTION_DIM, HORIZON = 3, 2, 4


@dataclass(frozen=True)
class ToyState:
    memory: Tensor
    decision: Tensor

    def reset(self, rows: Tensor) -> ToyState:
        return ToyState(self.memory.masked_fill(rows[:, None], 0.0), self.decision.masked_fill(rows, 0))


class ToyPolicy(nn.Module):
    """Remembers a decaying sum of what it saw; noise comes from the state when acting, from the seed when learning."""

    windows_wanted = (Window(STATE, (-1, 0, 1)), Window(ACTION, tuple(range(HORIZON))))
    shapes: Mapping[str, tuple[int, ...]] = {STATE: (STATE_DIM,), ACTION: (ACTION_DIM,)}
    action_terms = ("action",)

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.encoder = nn.Linear(2 * STATE_DIM, 8)
            self.head = nn.Linear(8, HORIZON * ACTION_DIM)

    def windows(self) -> tuple[Window, ...]:
        return self.windows_wanted

    def initial_state(self, batch_size: int) -> ToyState:
        return ToyState(torch.zeros(batch_size, 8), torch.zeros(batch_size, dtype=torch.int64))

    def observe(self, context: Context) -> Tensor:
        track = context.track(STATE)
        return torch.tanh(self.encoder(torch.where(track.valid[..., None], track.value, 0.0).flatten(1)))

    def forward(self, sample: TimelineSample) -> dict[str, LossTerm]:
        action = sample.future[ACTION]
        code = self.observe(sample.context)
        noisy = code + 0.1 * row_normal(sample.seed, (8,))
        predicted = self.head(noisy).unflatten(1, (HORIZON, ACTION_DIM))
        return {"action": LossTerm(predicted, action.value, action.valid)}

    def start(self, context: Context, state: ToyState) -> ToyState:
        return state.reset(context.first)

    def act(self, context: Context, state: ToyState) -> tuple[ActionChunk, ToyState]:
        state = self.start(context, state)
        memory = 0.5 * state.memory + self.observe(context)
        noise = 0.1 * row_normal(mix_seed(torch.zeros_like(state.decision), state.decision), (8,))
        value = self.head(memory + noise).unflatten(1, (HORIZON, ACTION_DIM))
        return ActionChunk(**vars(Track.of(value, range(HORIZON)))), ToyState(memory, state.decision + 1)

    def after_step(self, train_step: int) -> None:
        pass


class ToyMemory(nn.Module):
    """A decaying sum."""

    def initial_state(self, batch: int) -> ToyState:
        return ToyState(torch.zeros(batch, 5), torch.zeros(batch, dtype=torch.int64))

    def step(self, x: Tensor, state: ToyState) -> tuple[Tensor, ToyState]:
        memory = 0.5 * state.memory + x
        return memory, ToyState(memory, state.decision + 1)

    def forward(self, x: Tensor, state: ToyState) -> tuple[Tensor, ToyState]:
        outputs = []
        for index in range(x.shape[1]):
            output, state = self.step(x[:, index], state)
            outputs.append(output)
        return torch.stack(outputs, dim=1), state


class ToySource:
    """Three episodes in memory: state and action at the control rate, a picture at half of it, with a gap."""

    name = "toy"
    rate_hz = 10.0
    embodiment = Embodiment("toy", STATE_DIM, ACTION_DIM, rate_hz)
    statistics: Statistics = MappingProxyType({})
    recording: Mapping[str, object] = MappingProxyType({})
    lengths = (7, 1, 12)

    @property
    def streams(self) -> Mapping[str, StreamInfo]:
        return {
            STATE: StreamInfo("state", (STATE_DIM,), "float32", self.rate_hz),
            ACTION: StreamInfo("action", (ACTION_DIM,), "float32", self.rate_hz),
            FRONT: StreamInfo("image", (16, 16, 3), "uint8", self.rate_hz / 2),
        }

    def __len__(self) -> int:
        return len(self.lengths)

    def episode(self, episode: int) -> EpisodeInfo:
        return EpisodeInfo(self.lengths[episode], "open the drawer")

    def instructions(self, episode: int) -> Sequence[str]:
        length = self.lengths[episode]
        return ("open the drawer",) * min(length, 4) + ("pull it out",) * (length - 4)

    def timestamps(self, episode: int, key: str) -> np.ndarray:
        ticks = np.arange(self.lengths[episode]) / self.rate_hz
        if key != FRONT:
            return ticks
        halved = ticks[::2]
        return np.delete(halved, 3) if len(halved) > 3 else halved  # a lost frame

    def values(self, episode: int, key: str) -> np.ndarray:
        info = self.streams[key]
        random = np.random.default_rng([episode, len(key)])
        size = (len(self.timestamps(episode, key)), *info.shape)
        return (
            random.integers(0, 256, size, np.uint8) if info.kind == "image" else random.normal(size=size).astype("f4")
        )

    def read(self, episode: int, key: str, steps: Sequence[int]) -> Reading:
        asked = np.asarray(steps)
        inside = np.clip(asked, 0, self.lengths[episode] - 1)
        tolerance_s = 1.0 / self.streams[key].rate_hz
        index, fresh = latest_at(self.timestamps(episode, key), inside / self.rate_hz, tolerance_s)
        return Reading(self.values(episode, key)[index], fresh & (asked == inside))
