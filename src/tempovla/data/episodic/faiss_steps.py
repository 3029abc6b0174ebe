"""An approximate index of all steps in faiss, beside the exact search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from tempovla.data.episodic.episode import Episode
from tempovla.data.episodic.step_search import best_steps, compare
from tempovla.storage.extras import install_command

Array = NDArray[np.float32]

MIN_STEPS = 4096
"""Fewer steps are searched exactly: that is as fast, and too few to fit an index to."""
PRINCIPAL_COMPONENTS = 64
TRAINED_ON = 40
"""Steps for each cell of the index by which it is fitted."""
PROBED_SHARE = 0.1
"""Cells that a search looks at, in all cells."""
GROWTH = 4
"""The index is fitted anew when there are so many times the steps that there were."""
CANDIDATES = 64
"""Steps for each episode that is asked for, compared exactly; four times as many as long as they are of too few."""
MAX_CANDIDATES = 8192


def faiss_module() -> Any:
    """Return the module `faiss`.

    Raises:
        ValueError: if it is not installed.
    """
    try:
        import faiss
    except ImportError:
        raise ValueError(
            f"index='faiss' needs 'faiss'; install it with: {install_command('faiss')}, or choose index='exact'"
        ) from None
    return faiss


@dataclass(frozen=True)
class FaissSteps:
    """Steps of some episodes in an inverted file: principal components, one byte each, in cells of which some are read.

    It is never changed: `following` returns another one, so readers in other threads need not wait. The number of a
    step is that of its episode, counted from the first that was ever finished, times the largest number of steps of an
    episode, plus its place in the episode.

    Attributes:
        index: the index of faiss.
        span: most steps of an episode.
        fitted_until: episodes that had been finished when the index was fitted.
        fitted_steps: steps that there were then.
    """

    index: Any
    span: int
    fitted_until: int
    fitted_steps: int

    @classmethod
    def following(cls, last: Self | None, episodes: Sequence[Episode], finished: int, span: int) -> Self | None:
        """Return the index of the stored episodes, given that of those before the newest one came.

        It is fitted again when all episodes that it was fitted to are gone, or when there are many more steps.

        Args:
            last: the index before; None if there was none.
            episodes: the stored ones, of which the last is new.
            finished: episodes that were ever finished, the new one included.
            span: most steps of an episode.
        """
        total = sum(len(one.keys) for one in episodes)
        first = finished - len(episodes)
        if last is None or first >= last.fitted_until or total > GROWTH * last.fitted_steps:
            return cls._fitted(episodes, finished, span) if total >= MIN_STEPS else None
        faiss = faiss_module()
        index = faiss.clone_index(last.index)
        index.remove_ids(faiss.IDSelectorRange(0, first * span))
        _add(index, episodes[-1], finished - 1, span)
        return cls(index, span, last.fitted_until, last.fitted_steps)

    @classmethod
    def _fitted(cls, episodes: Sequence[Episode], finished: int, span: int) -> Self:
        faiss = faiss_module()
        total, width = sum(len(one.keys) for one in episodes), episodes[0].keys.shape[1]
        cells = int(total**0.5)
        components = min(PRINCIPAL_COMPONENTS, width)
        # Distances of unit vectors order as cosines do, and principal components, which move the origin, keep them.
        index = faiss.index_factory(width, f"PCA{components},IVF{cells},SQ8", faiss.METRIC_L2)
        every = max(1, total // (TRAINED_ON * cells))
        index.train(np.concatenate([one.keys[::every] * one.inverse_norms[::every, None] for one in episodes]))
        faiss.extract_index_ivf(index).nprobe = max(1, int(PROBED_SHARE * cells))
        for number, episode in enumerate(episodes, finished - len(episodes)):
            _add(index, episode, number, span)
        return cls(index, span, finished, total)

    @property
    def nbytes(self) -> int:
        """Bytes of codes, numbers, cells and components."""
        inverted = faiss_module().extract_index_ivf(self.index)
        steps = self.index.ntotal * (inverted.code_size + 8)
        return steps + 4 * inverted.d * (inverted.nlist + self.index.d)

    def best_steps(
        self, episodes: Sequence[Episode], finished: int, queries: Array, k: int
    ) -> tuple[Array, NDArray[np.int64]]:
        """Do what `step_search.best_steps` does, among the steps that the index finds; similarities are exact.

        If these belong to fewer episodes than are wanted, the search is exact.
        """
        similarity = np.full((len(queries), len(episodes)), -np.inf, np.float32)
        steps = np.zeros(similarity.shape, np.int64)
        wanted, count, left = min(k, len(episodes)), CANDIDATES * k, np.arange(len(queries))
        while len(left) and count <= MAX_CANDIDATES:
            numbers = self.index.search(queries[left], count)[1]
            short = []
            for row, found in zip(left, numbers, strict=True):
                number, step = np.divmod(np.sort(found[found >= 0]), self.span)
                places, starts = np.unique(number - (finished - len(episodes)), return_index=True)
                if len(places) < wanted:
                    short.append(row)
                    continue
                for place, rows in zip(places, np.split(step, starts[1:]), strict=True):
                    similarity[row, place], steps[row, place] = compare(episodes[place], queries[row], rows)
            left, count = np.array(short, np.int64), 4 * count
        if len(left):
            similarity[left], steps[left] = best_steps(episodes, queries[left], k)
        return similarity, steps


def _add(index: Any, episode: Episode, number: int, span: int) -> None:
    unit = episode.keys * episode.inverse_norms[:, None]
    index.add_with_ids(unit, np.arange(len(unit), dtype=np.int64) + number * span)
