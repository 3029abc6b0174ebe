"""A toy policy, and a toy stream of batches, for tests of training and of the contract."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from tempovla.timeline import ActionChunk, Bundle, Context, Embodiment, LossTerm, Task, TimelineSample, Track, Window
from tempovla.timeline.noise import mix_seed, row_normal, row_uniform

STATE, ACTION = "observation.state", "action"
STATE_DIM, ACTION_DIM, HORIZON = 3, 2, 4
EMBODIMENT = Embodiment("toy", STATE_DIM, ACTION_DIM, rate_hz=10.0)
WINDOWS = (Window(STATE, (-1, 0)), Window(ACTION, tuple(range(HORIZON))))


class LinearPolicy(nn.Module):
    """Actions as a linear function of a linear code of two states; dropout and noise make it draw random numbers."""

    def __init__(self, code_dim: int = 8, dropout: float = 0.0, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.encoder = nn.Linear(2 * STATE_DIM, code_dim)
            self.head = nn.Linear(code_dim, HORIZON * ACTION_DIM)
        self.dropout = nn.Dropout(dropout)
        self.register_buffer("slow_weight", self.encoder.weight.detach().clone())
        self.code_dim, self.dropout_rate = code_dim, dropout

    def windows(self) -> tuple[Window, ...]:
        return WINDOWS

    def initial_state(self, batch_size: int) -> None:
        return None

    def _code(self, context: Context) -> Tensor:
        return self.encoder(context.track(STATE).value.flatten(1))

    def _actions(self, code: Tensor) -> Tensor:
        return self.head(torch.tanh(self.dropout(code))).unflatten(1, (HORIZON, ACTION_DIM))

    def forward(self, sample: TimelineSample) -> dict[str, LossTerm]:
        action = sample.future[ACTION]
        code = self._code(sample.context)
        rows = sample.context.track(STATE).valid.all(dim=1)
        noisy = code + 0.01 * row_normal(sample.seed, (self.code_dim,))
        return {
            "action": LossTerm(self._actions(noisy), action.value, action.valid),
            "code_variance": LossTerm(code, None, rows, weight=0.5, kind="variance"),
            "code_covariance": LossTerm(code, None, rows, weight=0.1, kind="covariance"),
            "code_size": LossTerm(code, torch.zeros_like(code), rows, weight=0.0, kind="l1"),
        }

    def shard_units(self) -> list[nn.Module]:
        return [self.encoder]

    def act(self, context: Context, state: None) -> tuple[ActionChunk, None]:
        return ActionChunk(**vars(Track.of(self._actions(self._code(context)), range(HORIZON)))), None

    @torch.no_grad()
    def after_step(self, train_step: int) -> None:
        weight = self.encoder.weight
        self.slow_weight.lerp_(weight.full_tensor() if isinstance(weight, DTensor) else weight, 0.1)

    def bundle(self, weights: Mapping[str, Tensor]) -> Bundle:
        config = {"code_dim": self.code_dim, "dropout": self.dropout_rate}
        return Bundle("toy_linear", config, WINDOWS, EMBODIMENT, {"steps": []}, weights)


def toy_batch(index: Tensor) -> TimelineSample:
    """The batch of the samples with these indices (B,) int64; some of their values are invalid."""
    seed = mix_seed(torch.full_like(index, 7), index)
    state = row_normal(seed, (2, STATE_DIM), stream=1)
    target = (state.sum(1)[:, None, :ACTION_DIM] * torch.linspace(0.2, 1.0, HORIZON)[:, None]).sin()
    state_valid = row_uniform(seed, (2,), stream=2) > 0.1
    action_valid = row_uniform(seed, (HORIZON,), stream=3) > 0.3
    context = Context(
        past={STATE: Track.of(state[:, :1], (-1,), state_valid[:, :1])},
        now={STATE: Track.of(state[:, 1:], (0,), state_valid[:, 1:])},
        task=(Task("follow", EMBODIMENT),) * len(index),
        first=torch.zeros(len(index), dtype=torch.bool),
    )
    return TimelineSample(context, {ACTION: Track.of(target, range(HORIZON), action_valid)}, seed)


class ToyStream:
    """Shuffled batches over `samples_per_epoch` toy samples; of each batch a process gets every `ranks`-th row."""

    def __init__(self, samples: int = 24, batch_size: int = 4, seed: int = 0, rank: int = 0, ranks: int = 1) -> None:
        self.samples_per_epoch, self.batch_size, self.seed = samples, batch_size, seed
        self.rank, self.ranks = rank, ranks
        self.taken = 0

    @property
    def batches_per_epoch(self) -> int:
        return self.samples_per_epoch // self.batch_size

    def __iter__(self) -> Iterator[TimelineSample]:
        while True:
            epoch, batch = divmod(self.taken, self.batches_per_epoch)
            generator = torch.Generator().manual_seed(self.seed * 1000 + epoch)
            order = torch.randperm(self.samples_per_epoch, generator=generator)
            self.taken += 1
            yield toy_batch(order[batch * self.batch_size : (batch + 1) * self.batch_size][self.rank :: self.ranks])

    def state_dict(self) -> dict[str, Any]:
        return {"taken": self.taken}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.taken = state["taken"]
