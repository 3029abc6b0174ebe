"""The index of faiss: what it finds, that it follows the memory, and what is told without it."""

from __future__ import annotations

import sys
import threading

import numpy as np
import pytest

from tempovla.data.episodic import EpisodicMemory, faiss_steps

LENGTH, WIDTH = 60, 24


@pytest.fixture
def early(monkeypatch):
    """Fit an index to few steps, that a test need not record thousands."""
    pytest.importorskip("faiss", reason="faiss-cpu is not installed: pip install -e '.[faiss]'")
    monkeypatch.setattr(faiss_steps, "MIN_STEPS", 300)


def memories(episodes, **options):
    both = [EpisodicMemory(WIDTH, 1, 10, LENGTH, index=index, **options) for index in ("exact", "faiss")]
    for memory in both:
        for number in range(episodes):
            record(memory, number)
    return both


def record(memory, number):
    random = np.random.default_rng(number)
    phase = np.linspace(0, 3, LENGTH)[:, None] + random.uniform(0, 6, size=6)
    for step, obs in enumerate(np.sin(phase) @ random.normal(size=(6, WIDTH))):
        memory.add_transition(obs, np.array([step]), number, step == LENGTH - 1)


def found(memory, query, k=3):
    return [(int(one.episode.reward[0]), one.step, one.similarity) for one in memory.retrieve_similar(query, k, "step")]


@pytest.mark.parametrize("episodes", [3, 5, 10, 27])
def test_a_seen_step_is_found_while_episodes_come_and_go(early, episodes):
    exact, approximate = memories(episodes)
    assert (approximate._now.steps is None) == (episodes * LENGTH < 300)
    for number in range(max(0, episodes - 10), episodes):
        episode = exact._now.episodes[number - max(0, episodes - 10)]
        assert found(approximate, episode.obs[31])[0] == found(exact, episode.obs[31])[0]


def test_most_of_the_best_are_found_and_their_similarities_are_exact(early):
    exact, approximate = memories(25)
    queries = np.stack([episode.obs[7] for episode in exact._now.episodes])
    queries += 0.2 * np.random.default_rng(0).normal(size=queries.shape).astype(np.float32)
    same = 0
    for query in queries:
        truth, here = found(exact, query), found(approximate, query)
        assert len(here) == 3
        assert [one[2] for one in here] == sorted((one[2] for one in here), reverse=True)
        same += len(set(truth) & set(here))
    assert same >= 27


def test_as_many_episodes_as_asked_for_are_found(early):
    _, approximate = memories(12)
    assert len(found(approximate, np.ones(WIDTH), k=10)) == 10
    assert len(found(approximate, np.ones(WIDTH), k=99)) == 10


def test_the_index_holds_exactly_the_stored_steps(early):
    _, approximate = memories(12)
    before = approximate._now.steps
    record(approximate, 12)
    assert (before.index.ntotal, approximate._now.steps.index.ntotal) == (10 * LENGTH, 10 * LENGTH)
    assert before.index is not approximate._now.steps.index
    approximate.clear()
    assert approximate._now.steps is None


def test_a_loaded_memory_has_an_index_if_asked(early, tmp_path):
    exact, _ = memories(10)
    exact.save(tmp_path / "memory")
    loaded = EpisodicMemory.load(tmp_path / "memory", index="faiss")
    assert loaded._now.steps.index.ntotal == 10 * LENGTH
    query = exact._now.episodes[4].obs[20]
    assert found(loaded, query)[0] == found(exact, query)[0]


def test_readers_go_on_while_another_thread_writes(early):
    _, memory = memories(10)
    failed, stop = [], threading.Event()

    def check():
        while not stop.is_set():
            for number, step, _ in found(memory, np.ones(WIDTH), 5):
                if not 0 <= step < LENGTH or number < 0:
                    failed.append((number, step))

    readers = [threading.Thread(target=check) for _ in range(3)]
    for reader in readers:
        reader.start()
    for number in range(10, 40):
        record(memory, number)
    stop.set()
    for reader in readers:
        reader.join()
    assert not failed
    assert found(memory, memory._now.episodes[-1].obs[5])[0][:2] == (39, 5)


def test_without_faiss_one_line_tells_the_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ValueError, match=r"needs 'faiss'; install it with: pip install .*\[faiss\].*, or"):
        EpisodicMemory(6, 2, index="faiss")


def test_an_unknown_index_is_refused():
    with pytest.raises(ValueError, match="index='flat' is unknown; choose 'exact' or 'faiss'"):
        EpisodicMemory(6, 2, index="flat")
