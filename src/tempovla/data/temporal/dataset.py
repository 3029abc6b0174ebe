"""Samples of now and k steps later, from one dataset or a weighted mixture, as a torch `Dataset`."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset, get_worker_info

from tempovla.data.errors import DatasetError, OutOfRangeError, unknown_stream
from tempovla.data.loader import collate
from tempovla.data.mixture import Mixture
from tempovla.data.sampler import MixtureSampler, SampleBatch
from tempovla.data.temporal.config import TemporalDataConfig
from tempovla.data.temporal.view import TemporalView
from tempovla.timeline.arguments import whole_number
from tempovla.timeline.keys import ACTION_KEY, STATE_KEY
from tempovla.timeline.noise import mix_seed
from tempovla.timeline.sample import TimelineSample
from tempovla.timeline.source import EpisodeSource
from tempovla.transform.normalize import NormalizationConfig, Normalize
from tempovla.transform.scaling import NormalizationMode

LOGGER = logging.getLogger(__name__)
HAND_CAMERAS = ("wrist", "eye_in_hand")
"""What the names of cameras on the hand hold; they come after the others."""


@dataclass(frozen=True)
class TemporalPart:
    """One dataset.

    Attributes:
        source: its episodes.
        config: the steps that a sample of it holds.
        weight: how often it is drawn from, relative to the others.
        cameras: keys of its pictures in the order of the lists; None takes all, those on the hand last.
        episodes: the episodes to use; None uses all.
        name: what samples call it if there are several; if it is empty, the name of its folder.
    """

    source: EpisodeSource
    config: TemporalDataConfig
    weight: float = 1.0
    cameras: tuple[str, ...] | None = None
    episodes: tuple[int, ...] | None = None
    name: str = ""

    @property
    def key(self) -> str:
        """What samples call it."""
        return self.name or Path(self.source.name).name

    @property
    def ordered_cameras(self) -> tuple[str, ...]:
        """Keys of its pictures.

        Raises:
            DatasetError: if there is no such camera, or none at all.
        """
        known = [key for key, stream in self.source.streams.items() if stream.kind == "image"]
        for key in self.cameras or ():
            if key not in known:
                raise unknown_stream(key, known, self.source.name)
        if not known:
            raise DatasetError(f"{self.source.name}: has no camera; a sample of now and later needs pictures")
        return tuple(sorted(known, key=is_on_hand)) if self.cameras is None else self.cameras


def is_on_hand(camera: str) -> bool:
    """Return whether a camera's name says that it is on the robot's hand."""
    return any(name in camera for name in HAND_CAMERAS)


class TemporalDataset(Dataset[dict[str, Any]]):
    """One dict a sample, with the keys of `data.temporal.view`; batches are lists of dicts (`collate_fn=list`).

    Samples are drawn by weight; each dataset is gone through in a new random order every epoch. Which sample an index
    gives, and its seed, depends on the seed, the epoch and the index alone. What cannot be read is an error: no other
    sample takes its place.

    Args:
        parts: one or more datasets.
        k: how many steps later the target is; None takes that of the datasets' configs.
        seed: of the order and of all randomness.
        size: side of the pictures [px].
        include_state: whether samples hold the state.
        include_past: whether samples hold what was observed k steps before now, and the actions since.
        include_later_actions: whether samples hold the actions from t + k on.
        normalization: how actions and states are normalised, each dataset by its own statistics; a gripper keeps its
            values. None leaves the numbers as they were recorded.
        allow_without_target: whether datasets may take part whose config does not observe the step k. Their samples
            have no target, which a warning says.
        preload_bytes: datasets up to this size are held in memory with their pictures decoded [bytes].

    Raises:
        ValueError: if there is no k or several, or a dataset has no step k and that is not allowed.
        DatasetError: if a dataset lacks a stream, or its statistics cannot be used.
    """

    def __init__(
        self,
        parts: Sequence[TemporalPart],
        *,
        k: int | None = None,
        seed: int = 0,
        size: int = 224,
        include_state: bool = False,
        include_past: bool = False,
        include_later_actions: bool = False,
        normalization: NormalizationMode | None = "min_max",
        allow_without_target: bool = False,
        preload_bytes: int = 0,
    ) -> None:
        self.parts = tuple(parts)
        if not self.parts:
            raise ValueError("a dataset of no parts has no samples; give at least one")
        names = [part.key for part in self.parts]
        doubled = [name for place, name in enumerate(names) if name in names[:place]]
        if doubled:
            raise ValueError(f"two datasets are called {doubled[0]!r}; give each part a name of its own")
        self.k = common_k(self.parts) if k is None else whole_number("k", k, 1)
        self.seed = whole_number("seed", seed, 0)
        options = {"include_state": include_state, "include_past": include_past}
        options |= {"include_later_actions": include_later_actions}
        self.views = tuple(
            TemporalView(part.config, part.ordered_cameras, self.k, size, **options) for part in self.parts
        )
        self._refuse_without_target(allow_without_target)
        self._normalize = [
            None if normalization is None else _normalization(part, normalization, include_state) for part in self.parts
        ]
        share = preload_bytes // len(self.parts)
        self._mixtures = [
            self._mixture(number, part.episodes).preloaded(self._keys(number), share)
            for number, part in enumerate(self.parts)
        ]
        self._lengths = [mixture.lengths[0] for mixture in self._mixtures]
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()  # workers that persist see it change
        self._plan: tuple[int, SampleBatch] | None = None
        self._is_in_worker = False

    def _refuse_without_target(self, allowed: bool) -> None:
        without = [part.source.name for part, view in zip(self.parts, self.views, strict=True) if not view.has_target]
        if not without:
            return
        told = f"{', '.join(without)}: no observation {self.k} steps after now, so no sample of it has a target"
        if not allowed:
            raise ValueError(
                f"{told}; add {self.k} to observation_indices of its type of robot, leave it out of the mixture, or "
                "give allow_without_target=True"
            )
        LOGGER.warning("%s; valid_tk is 0 in all of them", told)

    def _keys(self, number: int) -> list[str]:
        return [window.key for window in self.views[number].windows]

    def _mixture(self, number: int, episodes: Collection[int] | None) -> Mixture:
        """One dataset alone, whose streams are checked."""
        mixture = Mixture([self.parts[number].source], episodes=None if episodes is None else [episodes])
        mixture.require(self._keys(number))
        return mixture

    @property
    def epoch(self) -> int:
        """The current epoch."""
        return int(self._epoch)

    def set_epoch(self, epoch: int) -> None:
        """Go to another epoch, before the loader is iterated over; workers that persist see it, too."""
        self._epoch.fill_(whole_number("epoch", epoch, 0))

    def __len__(self) -> int:
        """Samples of one epoch: as many as the datasets have steps."""
        return sum(self._lengths)

    def __getitem__(self, index: int) -> dict[str, Any]:
        plan, place = self._planned(), range(len(self))[index]
        number = int(plan.source[place])
        batch = SampleBatch(np.zeros(1, np.int64), plan.index[place : place + 1], plan.seed[place : place + 1])
        return self._row(number, self._own_mixtures()[number], batch)

    def locate(self, index: int) -> tuple[int, int, int]:
        """Return the dataset's place among the parts, the episode and the step of a sample of this epoch."""
        plan, place = self._planned(), range(len(self))[index]
        number = int(plan.source[place])
        episode, step = self._mixtures[number].locate(0, plan.index[place : place + 1])
        return number, int(episode[0]), int(step[0])

    def at(self, number: int, episode: int, step: int, seed: int = 0) -> dict[str, Any]:
        """Return the sample whose now is one step of one episode of one dataset.

        Raises:
            OutOfRangeError: if there is no such step.
        """
        part = self.parts[number]
        length = part.source.episode(episode).length
        if not 0 <= step < length:
            raise OutOfRangeError(f"{part.source.name}: no step {step} in episode {episode}; it has {length}")
        batch = SampleBatch(np.zeros(1, np.int64), np.array([step]), torch.tensor([seed]))
        return self._row(number, Mixture([part.source], episodes=[[episode]]), batch)

    def _row(self, number: int, mixture: Mixture, batch: SampleBatch) -> dict[str, Any]:
        sample = collate(mixture, self.views[number].windows, batch)
        normalize = self._normalize[number]
        if normalize is not None:
            context, future = normalize.forward(sample.context, sample.future)
            sample = TimelineSample(context, future, sample.seed)
        (row,) = self.views[number].rows(sample)
        return row | {"dataset": self.parts[number].key if len(self.parts) > 1 else ""}

    def _planned(self) -> SampleBatch:
        """All samples of the current epoch in order."""
        epoch = self.epoch
        if self._plan is None or self._plan[0] != epoch:
            weights = [part.weight for part in self.parts]
            mixed = int(mix_seed(torch.tensor(self.seed), epoch)) & ((1 << 62) - 1)
            self._plan = epoch, next(iter(MixtureSampler(self._lengths, weights, len(self), seed=mixed)))
        return self._plan[1]

    def _own_mixtures(self) -> Sequence[Mixture]:
        """The datasets; in a worker process with files that it opened itself."""
        info = get_worker_info()
        if info is not None and not self._is_in_worker:
            self._mixtures = [mixture.for_worker(info.num_workers) for mixture in self._mixtures]
            self._is_in_worker = True
        return self._mixtures


def common_k(parts: Sequence[TemporalPart]) -> int:
    """Return the k of several datasets' configs.

    Raises:
        ValueError: if they have none, or not the same.
    """
    found = {part.config.k: part.source.name for part in parts if part.config.k is not None}
    if not found:
        raise ValueError(
            f"{', '.join(part.source.name for part in parts)}: no observation after now; add k to observation_indices "
            "of the type of robot, e.g. [0, 8]"
        )
    if len(found) > 1:
        told = " and ".join(f"k = {k} ({name})" for k, name in found.items())
        raise ValueError(f"the datasets have {told}; give one k, which all of them observe")
    return next(iter(found))


def _normalization(part: TemporalPart, mode: NormalizationMode, include_state: bool) -> Normalize:
    streams = part.source.streams
    keep = (streams[ACTION_KEY].shape[0] - 1,) if part.config.has_gripper and ACTION_KEY in streams else ()
    wanted = {ACTION_KEY: NormalizationConfig(mode, keep=keep)}
    if include_state:
        wanted[STATE_KEY] = NormalizationConfig(mode)
    for key in wanted:
        if key not in streams:
            raise unknown_stream(key, streams, part.source.name)
    return Normalize.fit(part.source.statistics, wanted, {key: streams[key].names for key in wanted})
