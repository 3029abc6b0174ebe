"""Batches of windows for training, in an order that resumes exactly."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset, get_worker_info

from tempovla.data.errors import DatasetError
from tempovla.data.identity import DataIdentity, data_record
from tempovla.data.mixture import Mixture
from tempovla.data.sampler import MixtureSampler, SampleBatch
from tempovla.data.window import embodiment_of, read_past_words, read_rows, read_words
from tempovla.timeline.keys import WORDS_KEY, newest_known
from tempovla.timeline.sample import Context, TimelineSample, join_contexts, join_tracks, map_tracks
from tempovla.timeline.source import EpisodeSource
from tempovla.timeline.task import Task
from tempovla.timeline.track import Track
from tempovla.timeline.window import Window


@dataclass(frozen=True)
class LoaderConfig:
    """How batches are made.

    Attributes:
        batch_size: samples a batch and rank.
        num_workers: worker processes; 0 reads in the process itself, which is faster for preloaded data.
        preload_bytes: datasets whose windows fit in this are kept in memory [bytes].
    """

    batch_size: int = 64
    num_workers: int = 0
    preload_bytes: int = 2 << 30


class BatchMaker(Protocol):
    """Makes batches of samples that are chosen by their indices."""

    def make(self, batch: SampleBatch) -> TimelineSample:
        """Return the batch."""

    def for_worker(self, workers: int) -> BatchMaker:
        """Return one that makes the same batches in one of several worker processes."""


class ResumableLoader:
    """Batches in a sampler's order, from a position that can be saved and taken up again; a `BatchStream`.

    Args:
        maker: makes the batches.
        sampler: chooses their samples.
        num_workers: worker processes; 0 makes them in the process itself.
        samples_per_epoch: samples of one epoch, over all ranks.
        batches_per_epoch: batches of one epoch and rank.
        identities: returns the identity of each dataset.
    """

    def __init__(
        self,
        maker: BatchMaker,
        sampler: MixtureSampler,
        *,
        num_workers: int,
        samples_per_epoch: int,
        batches_per_epoch: int,
        identities: Callable[[], Sequence[DataIdentity]] = list,
    ) -> None:
        self._batches = _Batches(maker)
        self._sampler = sampler
        self._num_workers = num_workers
        self._state = sampler.state_dict()
        self.samples_per_epoch = samples_per_epoch
        self.batches_per_epoch = batches_per_epoch
        self._identities = identities

    def data_identity(self) -> list[dict[str, Any]]:
        """Return the identity of the datasets, as plain JSON values; see `training.stream.KnowsItsData`."""
        return data_record(self._identities())

    def take_up_changed(self, state: Mapping[str, Any]) -> None:
        """Go on from the position of a loader of other data, at the next epoch of each dataset."""
        self._sampler.take_up_changed(dict(state))
        self._state = self._sampler.state_dict()

    def state_dict(self) -> dict[str, Any]:
        """Return the position after the batches yielded so far; batches in the making do not count."""
        return self._state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on with the batch after the last one that the saved loader yielded; takes effect at the next `iter`."""
        self._sampler.load_state_dict(dict(state))
        self._state = self._sampler.state_dict()

    def __iter__(self) -> Iterator[TimelineSample]:
        self._sampler.load_state_dict(self._state)
        drawn: deque[dict[str, Any]] = deque()

        def order() -> Iterator[SampleBatch]:
            for batch in self._sampler:
                drawn.append(self._sampler.state_dict())
                yield batch

        if self._num_workers == 0:
            samples: Iterator[TimelineSample] = (self._batches.maker.make(batch) for batch in order())
        else:
            samples = self._from_workers(order())
        for sample in samples:
            self._state = drawn.popleft()
            yield sample

    def _from_workers(self, order: Iterator[SampleBatch]) -> Iterator[TimelineSample]:
        results = DataLoader(
            self._batches,
            sampler=_Once(order),
            batch_size=None,
            num_workers=self._num_workers,
            collate_fn=_as_it_is,
            worker_init_fn=_start_worker,
        )
        for result in results:
            if isinstance(result, DatasetError):
                raise result
            yield result


class SampleLoader(ResumableLoader):
    """Yields batches as `TimelineSample`s without end, or for some epochs.

    Args:
        mixture: where samples come from.
        windows: windows of each sample, one a stream.
        config: batch size, workers, memory.
        seed: of the run; order, mixture and every sample's own seed follow from it.
        rank: which share of each global batch to yield.
        world_size: number of shares.
        epochs: stop after so many; never, by default.

    Raises:
        UnknownStreamError: if a source has no such stream.
        DatasetError: if actions are not finite, or an episode is damaged.
    """

    def __init__(
        self,
        mixture: Mixture,
        windows: Sequence[Window],
        config: LoaderConfig,
        *,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        epochs: int | None = None,
    ) -> None:
        keys = [window.key for window in windows]
        if len(set(keys)) != len(keys):
            raise ValueError(f"windows {keys} have two windows on one stream; join its offsets into one window")
        keys = [key for key in keys if key != WORDS_KEY]
        lacking = {w.key for w in windows if w.optional and any(w.key not in s.streams for s in mixture.sources)}
        keys = [key for key in keys if key not in lacking]
        mixture.require(keys)
        sampler = MixtureSampler(
            mixture.lengths,
            mixture.weights,
            config.batch_size,
            seed=seed,
            rank=rank,
            world_size=world_size,
            epochs=epochs,
        )
        samples = sum(mixture.lengths)
        super().__init__(
            _Windows(mixture.preloaded(keys, config.preload_bytes), tuple(windows)),
            sampler,
            num_workers=config.num_workers,
            samples_per_epoch=samples,
            batches_per_epoch=math.ceil(samples / (config.batch_size * world_size)),
            identities=lambda: mixture.identities(keys),
        )


@dataclass(frozen=True)
class _Windows:
    """Makes batches of windows."""

    mixture: Mixture
    windows: tuple[Window, ...]

    def make(self, batch: SampleBatch) -> TimelineSample:
        return collate(self.mixture, self.windows, batch)

    def for_worker(self, workers: int) -> _Windows:
        return replace(self, mixture=self.mixture.for_worker(workers))


class _Batches(Dataset[TimelineSample | DatasetError]):
    """What a worker process asks for batches."""

    def __init__(self, maker: BatchMaker) -> None:
        self.maker = maker

    def __getitem__(self, batch: SampleBatch) -> TimelineSample | DatasetError:
        try:
            return self.maker.make(batch)
        except DatasetError as error:  # DataLoader would wrap it in the worker's traceback
            return error


class _Once:
    """An iterable over an iterator, which is what DataLoader takes for a sampler."""

    def __init__(self, items: Iterator[SampleBatch]) -> None:
        self._items = items

    def __iter__(self) -> Iterator[SampleBatch]:
        return self._items


def _as_it_is(sample: Any) -> Any:
    return sample


def _start_worker(_: int) -> None:
    info = get_worker_info()
    assert info is not None
    info.dataset.maker = info.dataset.maker.for_worker(info.num_workers)  # type: ignore[attr-defined]


def collate(mixture: Mixture, windows: Sequence[Window], batch: SampleBatch) -> TimelineSample:
    """Read the windows of a batch of samples and join them, with their validity."""
    groups = [np.flatnonzero(batch.source == source) for source in range(len(mixture.sources))]
    parts = [_read(mixture, source, windows, batch.index[rows]) for source, rows in enumerate(groups) if len(rows)]
    if len(parts) == 1:
        context, future = parts[0]
    else:
        back = np.argsort(np.concatenate(groups)).tolist()
        context = join_contexts([context for context, _ in parts]).rows(back)
        future = map_tracks(
            join_tracks([future for _, future in parts]), lambda _, track: track.rows(torch.tensor(back))
        )
    return TimelineSample(context, future, batch.seed)


def _read(
    mixture: Mixture, number: int, windows: Sequence[Window], index: NDArray[np.int64]
) -> tuple[Context, dict[str, Track]]:
    """Context and future of samples `index` (B,) of one source."""
    name, view = mixture.views[number] if mixture.views else ("", None)
    episodes, steps = mixture.locate(number, index)
    context, future = read_windows(
        mixture.sources[number], mixture.windows(number, windows), episodes, steps, dataset=name
    )
    return (context, future) if view is None else view.forward(context, future)  # type: ignore[return-value]


def read_windows(
    source: EpisodeSource,
    windows: Sequence[Window],
    episodes: NDArray[np.int64],
    steps: NDArray[np.int64],
    *,
    dataset: str = "",
) -> tuple[Context, dict[str, Track]]:
    """Return the context and the future around control steps (B,) of episodes (B,) of one source.

    Args:
        source: where to read.
        windows: one a stream; those that are optional are left out where the source lacks their stream.
        episodes: of the rows.
        steps: the present of the rows.
        dataset: name of the dataset in each row's task.
    """
    tasks = _tasks(source, read_words(source, episodes, steps), episodes, dataset)
    past: dict[str, Track] = {}
    now: dict[str, Track] = {}
    future: dict[str, Track] = {}
    for window in windows:
        if window.key == WORDS_KEY:
            words, there = map(torch.from_numpy, read_past_words(source, episodes, steps[:, None] + window.offsets))
            past[WORDS_KEY] = Track.of(words, window.offsets, there)
            continue
        if window.optional and window.key not in source.streams:
            continue
        reading = read_rows(source, window.key, episodes, steps[:, None] + np.array(window.offsets))
        value, valid = (torch.from_numpy(array) for array in reading)
        kind = source.streams[window.key].kind
        track = Track.of_points if kind == "points" else Track.of
        newest = -1 if kind == "action" else newest_known(window.key)
        for group, part in zip((past, now, future), _split(window.offsets, newest), strict=True):
            if part.stop > part.start:
                group[window.key] = track(value[:, part], window.offsets[part], valid[:, part])
    return Context(past, now, tasks, torch.from_numpy(steps == 0)), future


def _tasks(source: EpisodeSource, told: Sequence[str], episodes: NDArray[np.int64], dataset: str) -> tuple[Task, ...]:
    """The task of each row: rows of the same words and body share one."""
    bodies = {episode: embodiment_of(source, episode) for episode in np.unique(episodes).tolist()}
    keys = [(words, id(bodies[episode])) for words, episode in zip(told, episodes.tolist(), strict=True)]
    tasks = {key: Task(key[0], bodies[episode], dataset) for key, episode in zip(keys, episodes.tolist(), strict=True)}
    return tuple(tasks[key] for key in keys)


def _split(offsets: Sequence[int], newest: int) -> tuple[slice, slice, slice]:
    """Where past, now and future lie in increasing offsets, of which those up to `newest` are known now."""
    before = sum(offset < 0 for offset in offsets)
    until = sum(offset <= newest for offset in offsets)
    return slice(0, before), slice(before, until), slice(until, len(offsets))
