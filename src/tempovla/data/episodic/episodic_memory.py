"""A store of whole episodes that finds those most like a query. It has no weights and no gradients."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from tempovla.data.episodic import episode_file
from tempovla.data.episodic.episode import Episode, OpenEpisode
from tempovla.data.episodic.faiss_steps import FaissSteps, faiss_module
from tempovla.data.episodic.step_search import best_steps

Array = NDArray[np.float32]
Vector = Array | Tensor
Index = Literal["exact", "faiss"]
Encoder = Callable[[Array], Array]
"""Observations (T, obs_dim) to features (T, hidden_dim), by which they are compared."""


@dataclass(frozen=True)
class Retrieved:
    """An episode that a search found.

    Attributes:
        episode: its arrays, which are read-only and stay as they are when the memory drops the episode.
        similarity: to the query, -1 to 1.
        step: the most similar step if steps were compared, otherwise None.
    """

    episode: Episode
    similarity: float
    step: int | None


@dataclass(frozen=True)
class _Snapshot:
    """What a reader sees: the finished episodes, oldest first, and how much of the open one is recorded.

    It also has the number of episodes ever finished, and the index of their steps, if there is one.
    """

    episodes: tuple[Episode, ...]
    open: OpenEpisode
    length: int
    finished: int = 0
    steps: FaissSteps | None = None


class EpisodicMemory:
    """Keeps the last episodes.

    Finished episodes are immutable, and every change replaces the last snapshot by a new one: readers in other threads
    see one or the other, without waiting. Writers wait for each other.

    Capacity is exact: at most `max_episodes` finished episodes (another one drops the oldest) and the one that is
    being recorded, each of at most `max_episode_length` steps. A longer episode is stored in several: it is closed at
    the limit, its last `done` False, and what follows begins another.

    Args:
        obs_dim: features of an observation.
        action_dim: features of an action.
        max_episodes: finished episodes that are kept.
        max_episode_length: steps of an episode.
        hidden_dim: features that `encoder` gives.
        encoder: returns features to compare instead of the observations; they are stored beside these.
        index: search for the most similar steps: "exact", or "faiss", which compares fewer and may miss some.

    Raises:
        ValueError: if a size is below 1, `index` is unknown, or faiss is asked for and not installed.
    """

    def __init__(
        self,
        obs_dim: int,
        action_dim: int,
        max_episodes: int = 100,
        max_episode_length: int = 1000,
        hidden_dim: int = 512,
        encoder: Encoder | None = None,
        index: Index = "exact",
    ) -> None:
        if index not in ("exact", "faiss"):
            raise ValueError(f"index={index!r} is unknown; choose 'exact' or 'faiss'")
        if index == "faiss":
            faiss_module()
        self.sizes = episode_file.Sizes(obs_dim, action_dim, max_episodes, max_episode_length, hidden_dim)
        self.encoder, self.index = encoder, index
        self._writing, self._saving = threading.Lock(), threading.Lock()
        self._now = _Snapshot((), self._new_episode(), 0)

    def __len__(self) -> int:
        """Return the number of finished episodes."""
        return len(self._now.episodes)

    @property
    def num_steps(self) -> int:
        """Number of steps of all episodes, including the one that is being recorded."""
        now = self._now
        return sum(len(episode.reward) for episode in now.episodes) + now.length

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays and indexes. The episode that is being recorded counts with all the room it may need."""
        now = self._now
        indexed = now.steps.nbytes if now.steps else 0
        return sum(episode.nbytes for episode in now.episodes) + now.open.nbytes + indexed

    def add_transition(self, obs: Vector, action: Vector, reward: float, done: bool) -> None:
        """Record a step: the observation (obs_dim,), the action taken then (action_dim,), and their result.

        Raises:
            ValueError: if shapes do not fit or an observation is not finite.
        """
        observed = _vector("obs", obs, self.sizes.obs_dim)
        acted = _vector("action", action, self.sizes.action_dim)
        with self._writing:
            now = self._now
            now.open.put(now.length, observed, acted, float(reward), bool(done))
            now = replace(now, length=now.length + 1)
            self._now = self._closed(now) if done or now.length == self.sizes.max_episode_length else now

    def end_episode(self) -> None:
        """Finish the episode that is being recorded, as after a time limit. Nothing happens if it has no step."""
        with self._writing:
            self._now = self._closed(self._now) if self._now.length else self._now

    def clear(self) -> None:
        """Forget everything."""
        with self._writing:
            self._now = _Snapshot((), self._new_episode(), 0)

    def retrieve_similar(
        self, query: Vector, k: int = 5, match: Literal["episode", "step"] = "episode"
    ) -> list[Retrieved] | list[list[Retrieved]]:
        """Return the finished episodes that are most like a query, exactly unless steps are compared through faiss.

        Args:
            query: (obs_dim,), or (B, obs_dim) for several; given to the encoder, if there is one, like observations.
            k: the largest number of episodes to return.
            match: an episode's similarity is the mean of the cosine similarities of its steps to the query ("episode",
                from one cached vector an episode), or that of its most similar step ("step").

        Returns:
            Most similar first, of equals the older one; a list of such for several queries.

        Raises:
            ValueError: if the query's shape does not fit, it is not finite, `k` is below 1 or `match` is unknown.
        """
        if k < 1:
            raise ValueError(f"k={k} must be at least 1")
        if match not in ("episode", "step"):
            raise ValueError(f"match={match!r} is unknown; choose 'episode' or 'step'")
        rows = _finite("query", query)
        if rows.ndim not in (1, 2) or rows.shape[-1] != self.sizes.obs_dim:
            raise ValueError(f"query has shape {rows.shape}; give ({self.sizes.obs_dim},) or (B, {self.sizes.obs_dim})")
        now = self._now
        episodes = now.episodes
        if not episodes:
            nothing: list[list[Retrieved]] = [[] for _ in rows]
            return [] if rows.ndim == 1 else nothing
        asked = self._encode(rows.reshape(-1, self.sizes.obs_dim))
        length = np.linalg.norm(asked, axis=1, keepdims=True)
        asked = np.divide(asked, length, out=np.zeros_like(asked), where=length > 0)
        if match == "episode":
            # No matrix product: for pieces this small its threads wait for each other longer than they compute.
            similarity = np.vecdot(np.stack([episode.direction for episode in episodes]), asked[:, None])
            steps = np.zeros(similarity.shape, np.int64)
        elif now.steps is None:
            similarity, steps = best_steps(episodes, asked, k)
        else:
            similarity, steps = now.steps.best_steps(episodes, now.finished, asked, k)
        found = [
            [
                Retrieved(episodes[index], float(row[index]), int(at[index]) if match == "step" else None)
                for index in np.argsort(-row, kind="stable")[:k]
            ]
            for row, at in zip(similarity, steps, strict=True)
        ]
        return found[0] if rows.ndim == 1 else found

    def get_all_transitions(self) -> dict[str, NDArray]:
        """Return copies of all steps, oldest episode first, the one that is being recorded included.

        Returns:
            `obs` (N, obs_dim), `action` (N, action_dim) and `reward` (N,) float32, `done` (N,) bool, and `episode` and
            `step` (N,) int64: the episode's place among the stored ones, and the step's in it.
        """
        now = self._now
        parts = [episode.transitions() for episode in now.episodes] + [now.open.transitions(now.length)]
        lengths = [len(part["reward"]) for part in parts]
        data = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        data["episode"] = np.repeat(np.arange(len(parts)), lengths)
        data["step"] = np.concatenate([np.arange(length) for length in lengths])
        return data

    def save(self, path: str | Path) -> None:
        """Write all episodes to one file: safetensors, with the sizes as JSON in its header.

        The file appears whole or not at all: until the new one is on the disk, an older one stays as it is.
        """
        now = self._now
        with self._saving:
            parts = [episode.transitions() for episode in now.episodes]
            episode_file.write(Path(path), self.sizes, parts, now.open.transitions(now.length))

    @classmethod
    def load(cls, path: str | Path, encoder: Encoder | None = None, index: Index = "exact") -> Self:
        """Return the memory that was saved in a file; the encoder is not in there, nor is an index: it is built anew.

        Raises:
            ValueError: if there is no such file or something else is in it.
        """
        sizes, parts, open_part = episode_file.read(Path(path))
        memory = cls(**vars(sizes), encoder=encoder, index=index)
        finished = tuple(Episode.of(part, memory._encode(part["obs"])) for part in parts)
        steps = memory._indexed(None, finished, len(finished))
        memory._now = _Snapshot(finished, memory._new_episode(), 0, len(finished), steps)
        for obs, action, reward, done in zip(*open_part.values(), strict=True):
            memory.add_transition(obs, action, reward, done)
        return memory

    def _new_episode(self) -> OpenEpisode:
        return OpenEpisode.empty(self.sizes.max_episode_length, self.sizes.obs_dim, self.sizes.action_dim)

    def _closed(self, now: _Snapshot) -> _Snapshot:
        part = now.open.finished(now.length)
        newest = Episode.of(part, self._encode(part["obs"]))
        episodes = (*now.episodes, newest)[-self.sizes.max_episodes :]
        finished = now.finished + 1
        steps = self._indexed(now.steps, episodes, finished)
        return _Snapshot(episodes, self._new_episode(), 0, finished, steps)

    def _indexed(self, last: FaissSteps | None, episodes: tuple[Episode, ...], finished: int) -> FaissSteps | None:
        if self.index == "exact" or not episodes:
            return None
        return FaissSteps.following(last, episodes, finished, self.sizes.max_episode_length)

    def _encode(self, obs: Array) -> Array:
        if self.encoder is None:
            return obs
        keys = np.ascontiguousarray(self.encoder(obs), dtype=np.float32)
        if keys.shape != (len(obs), self.sizes.hidden_dim):
            raise ValueError(
                f"the encoder gives {keys.shape} for {len(obs)} observations, not "
                f"({len(obs)}, {self.sizes.hidden_dim}); set hidden_dim to what it gives"
            )
        if not np.isfinite(keys).all():
            raise ValueError("the encoder gives NaN or infinity; give one whose features are finite numbers")
        return keys


def _finite(name: str, value: Vector) -> Array:
    array = np.asarray(value.detach().cpu().float() if isinstance(value, Tensor) else value, dtype=np.float32)
    if not np.isfinite(array).all():
        raise ValueError(f"{name} holds NaN or infinity; give finite numbers")
    return array


def _vector(name: str, value: Vector, size: int) -> Array:
    array = _finite(name, value)
    if array.shape != (size,):
        raise ValueError(f"{name} has shape {array.shape}, not ({size},); give one step at a time")
    return array
