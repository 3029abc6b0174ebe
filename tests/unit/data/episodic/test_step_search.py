"""Pruned search finds what a comparison with every step finds, to the last bit; bounds hold."""

from __future__ import annotations

import numpy as np
import pytest

from tempovla.data.episodic import step_search
from tempovla.data.episodic.episode import Episode
from tempovla.data.episodic.step_bounds import StepBounds
from tempovla.data.episodic.step_search import best_steps


def smooth(random, steps, width):
    phase = np.linspace(0, 3, steps)[:, None] + random.uniform(0, 6, size=8)
    return np.sin(phase) @ random.normal(size=(8, width)) + 0.02 * random.normal(size=(steps, width))


def noise(random, steps, width):
    return random.normal(size=(steps, width))


def repeated(random, steps, width):
    """One of 6 rows of small whole numbers, the same in all episodes, or zeros: many exact ties."""
    palette = np.random.default_rng(7).integers(-1, 2, size=(7, width)) * (np.arange(7) > 0)[:, None]
    return palette[random.choice(7, size=3)[random.integers(0, 3, size=steps)]]


def episode(keys):
    keys = np.ascontiguousarray(keys, np.float32)
    ones = np.ones(len(keys), np.float32)
    return Episode.of({"obs": keys, "action": ones[:, None], "reward": ones.copy(), "done": ones > 1}, keys)


def store(kind, seed, count=20, width=48):
    random = np.random.default_rng(seed)
    episodes = [episode(kind(random, int(random.integers(1, 150)), width)) for _ in range(count)]
    return [*episodes, episode(episodes[3].keys.copy()), episode(episodes[0].keys[::-1])]


def queries(episodes, seed):
    """Seen steps, steps nearly seen, noise, and zeros; of length 1 (or 0)."""
    random = np.random.default_rng(seed)
    seen = np.stack([one.keys[len(one.keys) // 2] for one in episodes[:8]])
    near = seen + 0.1 * random.normal(size=seen.shape)
    asked = np.concatenate([seen, near, random.normal(size=(8, seen.shape[1])), 0 * seen[:1]]).astype(np.float32)
    length = np.linalg.norm(asked, axis=1, keepdims=True)
    return np.divide(asked, length, out=np.zeros_like(asked), where=length > 0)


def exhaustive(episodes, asked):
    every = [np.vecdot(one.keys, asked[:, None]) * one.inverse_norms for one in episodes]
    return np.stack([one.max(axis=1) for one in every], axis=1), np.stack([one.argmax(axis=1) for one in every], axis=1)


def best(similarity, steps, k):
    order = np.argsort(-similarity, axis=1, kind="stable")[:, :k]
    return order, np.take_along_axis(similarity, order, 1), np.take_along_axis(steps, order, 1)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("kind", [smooth, noise, repeated])
@pytest.mark.parametrize("seed", range(4))
def test_pruned_search_is_the_exhaustive_one_ties_included(kind, seed, threads, monkeypatch):
    monkeypatch.setattr(step_search, "BYTES_FOR_THREADS", 0)
    monkeypatch.setattr(step_search.torch, "get_num_threads", lambda: threads)
    episodes = store(kind, seed)
    asked = queries(episodes, seed)
    for k in (1, 5, 30):
        for found, expected in zip(
            best(*best_steps(episodes, asked, k), k), best(*exhaustive(episodes, asked), k), strict=True
        ):
            np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("kind", [smooth, repeated])
def test_no_step_is_more_alike_than_its_bound(kind):
    episodes = [one for one in store(kind, 0) if one.bounds is not None]
    assert episodes
    asked = queries(episodes, 1)
    for one in episodes:
        every = np.vecdot(one.keys, asked[:, None]) * one.inverse_norms
        assert (one.bounds.upper(asked) >= every).all()


def test_few_steps_of_smooth_episodes_are_compared(monkeypatch):
    random = np.random.default_rng(0)
    episodes = [episode(smooth(random, 200, 64)) for _ in range(30)]
    rows = []
    compare = step_search.compare
    monkeypatch.setattr(step_search, "compare", lambda one, query, at=None: rows.append(at) or compare(one, query, at))
    best_steps(episodes, queries(episodes, 0)[:1], 1)
    assert sum(len(at) for at in rows) < 0.1 * 200 * 30


def test_noise_and_lone_steps_have_no_bounds_and_others_take_little_memory():
    random = np.random.default_rng(0)
    for keys in (noise(random, 500, 256), smooth(random, 1, 256), smooth(random, 5, 4)):
        assert episode(keys).bounds is None
    for steps, width in ((1000, 768), (20, 64), (7, 512)):
        one = episode(smooth(random, steps, width))
        assert isinstance(one.bounds, StepBounds)
        assert one.bounds.nbytes <= 0.15 * one.keys.nbytes
