"""Exact search for the most similar step of every episode that can be among the best ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray

from tempovla.data.episodic.episode import Episode

Array = NDArray[np.float32]

QUERIES_AT_ONCE = 16
"""Bounds of so many queries are held at a time."""
BYTES_FOR_THREADS = 2**24
"""Keys to read from which on threads pay."""
GATHERED_SHARE = 0.25
"""Steps of an episode, in all of them, above which reading all is no slower than gathering some."""


def best_steps(episodes: Sequence[Episode], queries: Array, k: int) -> tuple[Array, NDArray[np.int64]]:
    """Return each episode's greatest cosine similarity to a query, and the first step that has it.

    Episodes that can neither be among the `k` best of a query nor tie with one are skipped.

    Args:
        episodes: E finished ones.
        queries: (B, K) of length 1 (or 0).
        k: the number of episodes that are wanted.

    Returns:
        Similarity (B, E), minus infinity where it was not needed, and steps (B, E).
    """
    similarity = np.full((len(queries), len(episodes)), -np.inf, np.float32)
    steps = np.zeros(similarity.shape, np.int64)
    for start in range(0, len(queries), QUERIES_AT_ONCE):
        part = slice(start, start + QUERIES_AT_ONCE)
        _search(episodes, queries[part], k, similarity[part], steps[part])
    return similarity, steps


def compare(episode: Episode, query: Array, rows: NDArray[np.int64] | None = None) -> tuple[np.float32, int]:
    """Return the greatest similarity to a query (K,) among some rows of an episode, and the first row that has it.

    The rows are in ascending order; None means all.

    A row's similarity is the same number to the last bit, whichever rows it is computed with.
    """
    if rows is None or len(rows) > GATHERED_SHARE * len(episode.keys):
        every = np.vecdot(episode.keys, query) * episode.inverse_norms
        return every.max(), int(every.argmax())
    every = np.vecdot(episode.keys[rows], query) * episode.inverse_norms[rows]
    return every.max(), int(rows[every.argmax()])


def _search(episodes: Sequence[Episode], queries: Array, k: int, similarity: Array, steps: NDArray[np.int64]) -> None:
    uppers = {index: one.bounds.upper(queries) for index, one in enumerate(episodes) if one.bounds is not None}

    def scan(index: int) -> None:
        for row, query in enumerate(queries):
            similarity[row, index], steps[row, index] = compare(episodes[index], query)

    whole = [index for index in range(len(episodes)) if index not in uppers]
    _each(scan, whole, sum(episodes[index].keys.nbytes for index in whole))
    highest = {index: upper.max(axis=1) for index, upper in uppers.items()}
    for row, query in enumerate(queries):
        # As a sort is stable, the older of equals comes first.
        promising = sorted(uppers, key=lambda index: -highest[index][row])
        _prune(episodes, query, k, {index: uppers[index][row] for index in promising}, similarity[row], steps[row])


def _prune(
    episodes: Sequence[Episode],
    query: Array,
    k: int,
    uppers: dict[int, Array],
    similarity: Array,
    steps: NDArray[np.int64],
) -> None:
    """Look at the episodes of one query that have bounds, the most promising first, where these reach the k-th best."""

    def look(index: int, least: np.float32) -> None:
        rows = np.flatnonzero(uppers[index] >= least)
        if len(rows):
            similarity[index], steps[index] = compare(episodes[index], query, rows)

    # The most promising step of the most promising episodes sets the bar; then these in turn raise it for the others.
    # What stays of an episode whose one step was below the bar is below it too, so it does not matter.
    first = list(uppers)[: 2 * k]
    for index in first:
        similarity[index], steps[index] = compare(episodes[index], query, np.array([uppers[index].argmax()]))
    for index in first:
        look(index, _kth(similarity, k))
    least = _kth(similarity, k)
    left = [index for index in list(uppers)[2 * k :] if uppers[index].max() >= least]
    work = sum(int(np.count_nonzero(uppers[index] >= least)) for index in left) * query.nbytes
    _each(lambda index: look(index, least), left, work)


def _kth(similarity: Array, k: int) -> np.float32:
    if k > len(similarity):
        return np.float32(-np.inf)
    return np.partition(similarity, len(similarity) - k)[len(similarity) - k]


def _each(call: Callable[[int], None], indices: Sequence[int], nbytes: float) -> None:
    """Call with every index, in as many threads as torch computes with where there is enough to read."""
    threads = torch.get_num_threads()
    if threads == 1 or nbytes < BYTES_FOR_THREADS:
        for index in indices:
            call(index)
        return

    def several(part: Sequence[int]) -> None:
        for index in part:
            call(index)

    # Threads of this call only: a pool that stays would not be there in a forked process.
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(several, [indices[start::threads] for start in range(threads)]))
