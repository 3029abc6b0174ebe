"""The most similar step of every episode that can be among the best ones, exactly."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray

from tempovla.model.temporal.episode import Episode

Array = NDArray[np.float32]

QUERIES_AT_ONCE = 16
"""Bounds of so many queries are held at a time."""
BYTES_FOR_THREADS = 2**24
"""Keys to read from which on threads pay."""
GATHERED_SHARE = 0.25
"""Steps of an episode, in all of them, above which reading all is no slower than gathering some."""


def best_steps(episodes: Sequence[Episode], queries: Array, k: int) -> tuple[Array, NDArray[np.int64]]:
    """Each episode's greatest cosine similarity to a query, and the first step that has it.

    Episodes that cannot be among the `k` best of a query, nor tie with one, are not looked at.

    Args:
        episodes: E finished ones.
        queries: (B, K) of length 1 (or 0).
        k: how many are asked for.

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
    """Greatest similarity to a query (K,) among some rows of an episode, in ascending order, and its first row.

    A row's similarity is the same number to the last bit, whichever rows it is computed with.
    """
    if rows is None or len(rows) > GATHERED_SHARE * len(episode.keys):
        every = np.vecdot(episode.keys, query) * episode.inverse_norms
        return every.max(), int(every.argmax())
    every = np.vecdot(episode.keys[rows], query) * episode.inverse_norms[rows]
    return every.max(), int(rows[every.argmax()])


def _search(episodes: Sequence[Episode], queries: Array, k: int, similarity: Array, steps: NDArray[np.int64]) -> None:
    uppers = [None if one.bounds is None else one.bounds.upper(queries) for one in episodes]

    def scan(index: int) -> None:
        for row, query in enumerate(queries):
            similarity[row, index], steps[row, index] = compare(episodes[index], query)

    whole = [index for index, upper in enumerate(uppers) if upper is None]
    _each(scan, whole, sum(episodes[index].keys.nbytes for index in whole))
    if len(whole) == len(episodes):
        return
    highest = np.stack([np.full(len(queries), -np.inf) if one is None else one.max(axis=1) for one in uppers], axis=1)
    for row, query in enumerate(queries):
        _prune(episodes, query, k, [None if one is None else one[row] for one in uppers], highest[row],
               similarity[row], steps[row])  # fmt: skip


def _prune(
    episodes: Sequence[Episode],
    query: Array,
    k: int,
    uppers: Sequence[Array | None],
    highest: Array,
    similarity: Array,
    steps: NDArray[np.int64],
) -> None:
    """Look at the episodes of one query that have bounds, until no other one's bound reaches the k-th best."""
    order = np.argsort(-highest, kind="stable")[: np.isfinite(highest).sum()]

    def needed(index: int, least: np.float32) -> NDArray[np.int64]:
        upper = uppers[index]
        assert upper is not None
        return np.flatnonzero(upper >= least)

    def look(index: int, least: np.float32) -> None:
        rows = needed(index, least)
        if len(rows):
            similarity[index], steps[index] = compare(episodes[index], query, rows)

    # The most promising ones in turn, each of which raises the bar for the next.
    for index in order[: 2 * k]:
        if highest[index] < (least := _kth(similarity, k)):
            return
        look(index, least)
    least = _kth(similarity, k)
    left = [index for index in order[2 * k :] if highest[index] >= least]
    work = sum(min(1, len(needed(index, least)) / len(uppers[index])) * episodes[index].keys.nbytes for index in left)
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
