"""The order of training samples: shuffled every epoch, shared among ranks, resumable exactly."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tempovla.storage.json_files import shown
from tempovla.timeline.noise import mix_seed, row_uniform

MOST_DRAWN = 2**48
"""More samples than any run draws; sums of so many stay whole numbers."""


@dataclass(frozen=True)
class SampleBatch:
    """Which samples make a batch.

    Attributes:
        source: (B,) which source of the mixture.
        index: (B,) which sample of it.
        seed: (B,) int64 seeds, a function of the run's seed, the source, its epoch and the sample.
    """

    source: NDArray[np.int64]
    index: NDArray[np.int64]
    seed: Tensor


class MixtureSampler:
    """Draws batches without end (or for some epochs), the same on every machine for one seed.

    The k-th sample of the run comes from the source that the k-th draw of the weights names. Each source is gone
    through in a new random order every epoch, and nothing is dropped: a batch may span two epochs. The ranks share
    each global batch of ``world_size * batch_size`` samples, so that their batches joined are those of one process.

    Args:
        lengths: number of samples of each source.
        weights: relative frequency of each source.
        batch_size: samples a batch and rank.
        seed: of the run.
        rank: which share to draw.
        world_size: number of shares.
        epochs: stop after as many samples as the sources have, times this; never, by default.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        weights: Sequence[float],
        batch_size: int,
        *,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        epochs: int | None = None,
    ) -> None:
        self._lengths = tuple(lengths)
        self._weights = tuple(float(weight) for weight in weights)
        self._bounds = np.cumsum(np.asarray(weights, dtype=np.float64) / sum(weights))[:-1]
        self._batch_size, self._rank, self._world_size = batch_size, rank, world_size
        self._seed = seed
        self._end = None if epochs is None else epochs * sum(lengths)
        self._drawn = np.zeros(len(lengths), dtype=np.int64)
        self._orders: dict[int, tuple[int, NDArray[np.int64]]] = {}

    def state_dict(self) -> dict[str, Any]:
        """Return how many samples all ranks together have drawn from each source."""
        weights = list(self._weights)
        return {"drawn": self._drawn.tolist(), "lengths": list(self._lengths), "weights": weights, "seed": self._seed}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where another sampler was, with any number of ranks and any batch size.

        Raises:
            ValueError: if that one had other data or another seed, so that its order cannot be continued.
        """
        mine = self.state_dict()
        for name in ("lengths", "weights", "seed"):
            if state.get(name, mine[name]) != mine[name]:  # checkpoints of before mixtures say nothing of weights
                raise ValueError(
                    f"sampler: {name} is {mine[name]}, but {state[name]} in the checkpoint; resume with what it had"
                )
        self._drawn = _drawn_of(state["drawn"], len(self._lengths))

    def take_up_changed(self, state: dict[str, Any]) -> None:
        """Go on where a sampler of other data was: each source begins the epoch after the one that it was in.

        Raises:
            ValueError: if that one had another number of sources or another seed.
        """
        if len(state["lengths"]) != len(self._lengths) or state["seed"] != self._seed:
            raise ValueError(
                f"sampler: {len(self._lengths)} datasets and seed {self._seed}, but {len(state['lengths'])} and "
                f"{state['seed']} in the checkpoint; resume with as many and the same, or start a new run"
            )
        drawn = _drawn_of(state["drawn"], len(self._lengths))
        if tuple(state["lengths"]) == self._lengths:
            self._drawn = drawn
            return
        epochs = [-(-count // length) for count, length in zip(drawn.tolist(), state["lengths"], strict=True)]
        self._drawn = np.array(epochs, dtype=np.int64) * np.array(self._lengths, dtype=np.int64)

    def __iter__(self) -> Iterator[SampleBatch]:
        while True:
            position = int(self._drawn.sum())
            count = self._batch_size * self._world_size
            if self._end is not None:
                count = min(count, self._end - position)
            share = slice(self._rank * self._batch_size, (self._rank + 1) * self._batch_size)
            if count <= share.start:
                return
            source, turn = self._draw_sources(position, count)
            yield self._batch(source[share], turn[share])

    def _draw_sources(self, position: int, count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Sources (count,) of the next samples, and for each how many of its source came before it."""
        if len(self._lengths) == 1:
            source = np.zeros(count, dtype=np.int64)
        else:
            key = mix_seed(torch.full((count,), self._seed), torch.arange(position, position + count))
            source = np.searchsorted(self._bounds, row_uniform(key).double().numpy(), side="right")
        turn = np.empty(count, dtype=np.int64)
        for i in np.unique(source):
            here = source == i
            turn[here] = self._drawn[i] + np.arange(here.sum())
            self._drawn[i] += here.sum()
        return source, turn

    def _batch(self, source: NDArray[np.int64], turn: NDArray[np.int64]) -> SampleBatch:
        length = np.array(self._lengths, dtype=np.int64)[source]
        epoch, within = turn // length, turn % length
        index = np.empty_like(turn)
        for i, number in {*zip(source.tolist(), epoch.tolist(), strict=True)}:
            here = (source == i) & (epoch == number)
            index[here] = self._order(i, number)[within[here]]
        seed = mix_seed(torch.full((len(turn),), self._seed), torch.from_numpy(source))
        seed = mix_seed(mix_seed(seed, torch.from_numpy(epoch)), torch.from_numpy(index))
        return SampleBatch(source, index, seed)

    def _order(self, source: int, epoch: int) -> NDArray[np.int64]:
        kept = self._orders.get(source)
        if kept is None or kept[0] != epoch:
            generator = np.random.default_rng((self._seed, source, epoch))
            kept = self._orders[source] = epoch, generator.permutation(self._lengths[source])
        return kept[1]


def _drawn_of(drawn: Any, sources: int) -> NDArray[np.int64]:
    """(sources,) samples drawn of each source, as a state says.

    Raises:
        ValueError: if they are not as many counts.
    """
    counts = drawn if isinstance(drawn, list) else []
    if len(counts) != sources or not all(type(count) is int and 0 <= count < MOST_DRAWN for count in counts):
        raise ValueError(
            f"sampler: drawn is {shown(drawn)}; it must be a list of {sources} counts of samples from 0 on; resume "
            "from another checkpoint of the run"
        )
    return np.array(counts, dtype=np.int64)
