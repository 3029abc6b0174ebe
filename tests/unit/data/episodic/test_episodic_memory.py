"""The store of whole episodes: capacity, exact search, files, threads."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from tempovla.data.episodic import EpisodicMemory, episode_file


def record(memory, seed, length, done=True):
    """An episode of random steps; its reward is the seed."""
    random = np.random.default_rng(seed)
    obs = random.normal(size=(length, memory.sizes.obs_dim)).astype(np.float32)
    for step in range(length):
        action = np.full(memory.sizes.action_dim, step)
        memory.add_transition(obs=obs[step], action=action, reward=seed, done=done and step == length - 1)
    return obs


def small(**options):
    return EpisodicMemory(**{"obs_dim": 6, "action_dim": 2, "max_episodes": 4, "max_episode_length": 10} | options)


def cosine(query, obs):
    return obs @ query / np.linalg.norm(obs, axis=1) / np.linalg.norm(query)


def rewards(found):
    return [int(match.episode.reward[0]) for match in found]


def test_the_oldest_episode_goes_first_and_capacity_is_exact():
    memory = small(max_episodes=3)
    for seed in range(5):
        record(memory, seed, 10)
        assert len(memory) == min(seed + 1, 3)
    assert memory.num_steps == 30
    record(memory, 9, 4, done=False)
    assert len(memory) == 3
    data = memory.get_all_transitions()
    assert data["reward"].tolist() == [2.0] * 10 + [3.0] * 10 + [4.0] * 10 + [9.0] * 4
    assert data["episode"].tolist() == [0] * 10 + [1] * 10 + [2] * 10 + [3] * 4
    assert data["step"][-4:].tolist() == [0, 1, 2, 3]
    assert data["done"].sum() == 3


def test_an_episode_over_the_limit_goes_on_in_another():
    memory = small()
    obs = record(memory, 0, 23)
    assert len(memory) == 3
    data = memory.get_all_transitions()
    np.testing.assert_array_equal(data["obs"], obs)
    assert np.bincount(data["episode"]).tolist()[:3] == [10, 10, 3]
    assert np.flatnonzero(data["done"]).tolist() == [22]


def test_an_episode_that_was_cut_off_can_be_finished():
    memory = small()
    memory.end_episode()
    assert len(memory) == 0
    record(memory, 0, 3, done=False)
    memory.end_episode()
    assert (len(memory), memory.num_steps) == (1, 3)
    memory.clear()
    assert (len(memory), memory.num_steps) == (0, 0)


@pytest.mark.parametrize(("match", "reduce"), [("episode", np.mean), ("step", np.max)])
def test_search_is_that_of_a_loop_over_all_steps(match, reduce):
    memory = small(max_episodes=8, max_episode_length=20)
    episodes = [record(memory, seed, 5 + seed) for seed in range(8)]
    queries = np.random.default_rng(99).normal(size=(3, 6)).astype(np.float32)
    batch = memory.retrieve_similar(torch.from_numpy(queries), 3, match)
    for query, found in zip(queries, batch, strict=True):
        scores = [reduce(cosine(query, obs)) for obs in episodes]
        assert rewards(found) == np.argsort(scores)[::-1][:3].tolist()
        np.testing.assert_allclose([one.similarity for one in found], np.sort(scores)[::-1][:3], atol=1e-6)
        assert rewards(memory.retrieve_similar(query, 3, match)) == rewards(found)
        if match == "step":
            best = episodes[rewards(found)[0]]
            assert found[0].step == cosine(query, best).argmax()


def test_few_or_no_episodes_are_no_error():
    memory = small()
    assert memory.retrieve_similar(np.ones(6)) == []
    assert memory.retrieve_similar(np.ones((2, 6))) == [[], []]
    record(memory, 0, 2)
    record(memory, 1, 2, done=False)
    assert rewards(memory.retrieve_similar(np.ones(6), k=5)) == [0]
    assert memory.retrieve_similar(np.zeros(6))[0].similarity == 0.0


def test_an_encoder_says_what_is_alike():
    memory = small(hidden_dim=1, encoder=lambda obs: obs[:, :1])
    for sign in (1.0, -1.0):
        memory.add_transition(np.array([sign, 9, 9, 9, 9, 9]), np.zeros(2), sign, True)
    found = memory.retrieve_similar(np.array([-3.0, 1, 0, 0, 0, 0]), k=2)
    assert [one.similarity for one in found] == [1.0, -1.0]
    assert found[0].episode.reward.tolist() == [-1.0]
    with pytest.raises(ValueError, match=r"gives \(1, 6\) for 1 observations, not \(1, 3\); set hidden_dim"):
        record(small(hidden_dim=3, encoder=lambda obs: obs), 0, 1)
    with pytest.raises(ValueError, match="the encoder gives NaN or infinity"):
        record(small(hidden_dim=6, encoder=lambda obs: obs * np.nan), 0, 1)


def test_what_was_found_is_read_only_and_outlives_its_place():
    memory = small(max_episodes=1)
    obs = record(memory, 0, 10)
    found = memory.retrieve_similar(obs[0])[0].episode
    record(memory, 1, 10)
    np.testing.assert_array_equal(found.obs, obs)
    with pytest.raises(ValueError, match="read-only"):
        found.obs[0] = 0


def test_arrays_take_little_more_than_the_data():
    memory = small(max_episodes=5, max_episode_length=50, obs_dim=64)
    for seed in range(5):
        record(memory, seed, 50)
    raw = 5 * 50 * (64 * 4 + 2 * 4 + 4 + 1)
    finished = memory.nbytes - 50 * (64 * 4 + 2 * 4 + 4 + 1)
    assert raw < finished < 1.05 * raw


def test_arrays_and_bounds_of_smooth_episodes_stay_under_a_fifth_more_than_the_data():
    memory = small(max_episodes=5, max_episode_length=50, obs_dim=64)
    for step in range(250):
        memory.add_transition(np.sin(0.001 * step * np.arange(1, 65)), np.zeros(2), 0, step % 50 == 49)
    assert all(episode.bounds is not None for episode in memory._now.episodes)
    raw = 5 * 50 * (64 * 4 + 2 * 4 + 4 + 1)
    assert memory.nbytes - 50 * (64 * 4 + 2 * 4 + 4 + 1) < 1.2 * raw


def equal(a, b):
    left, right = a.get_all_transitions(), b.get_all_transitions()
    return left.keys() == right.keys() and all(np.array_equal(left[name], right[name]) for name in left)


def test_a_saved_memory_goes_on_as_before(tmp_path):
    memory = small()
    for seed in range(5):
        record(memory, seed, 3 + seed)
    record(memory, 5, 4, done=False)
    memory.save(tmp_path / "new" / "memory.safetensors")
    loaded = EpisodicMemory.load(tmp_path / "new" / "memory.safetensors")
    assert loaded.sizes == memory.sizes
    assert equal(memory, loaded)
    for one in (memory, loaded):
        record(one, 6, 2)
    assert equal(memory, loaded)
    assert len(loaded) == 4
    query = np.ones(6)
    assert rewards(memory.retrieve_similar(query)) == rewards(loaded.retrieve_similar(query))


def test_an_empty_memory_can_be_saved(tmp_path):
    small().save(tmp_path / "memory")
    assert EpisodicMemory.load(tmp_path / "memory").num_steps == 0


def test_a_save_that_breaks_half_way_leaves_the_old_file_whole(tmp_path, monkeypatch):
    path = tmp_path / "memory.safetensors"
    memory = small()
    record(memory, 0, 5)
    memory.save(path)
    old = path.read_bytes()

    def half(arrays, staged, metadata):
        staged.write_bytes(old[: len(old) // 2])
        raise OSError("No space left on device")

    record(memory, 1, 5)
    monkeypatch.setattr(episode_file, "save_file", half)
    with pytest.raises(OSError, match="No space left"):
        memory.save(path)
    assert path.read_bytes() == old
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    monkeypatch.undo()
    (tmp_path / f".{path.name}.writing").write_bytes(old[:50])  # as a killed process leaves it
    memory.save(path)
    assert equal(EpisodicMemory.load(path), memory)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_files_of_others_are_refused_in_one_line(tmp_path):
    path = tmp_path / "memory.safetensors"
    with pytest.raises(ValueError, match="there is no such file; give one"):
        EpisodicMemory.load(path)
    memory = small()
    record(memory, 0, 5)
    memory.save(path)
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(ValueError, match=r"no file of EpisodicMemory\.save") as told:
        EpisodicMemory.load(path)
    assert "\n" not in str(told.value)
    save_file({"0.obs": np.zeros(1)}, path, {episode_file.HEADER: "[" * 100_000})
    with pytest.raises(ValueError, match=r"\.save \(the header is not readable as JSON \(nested more than"):
        EpisodicMemory.load(path)
    sizes = episode_file.Sizes(7, 2, 4, 10, 512)
    episode_file.write(path, sizes, [], memory._now.episodes[0].transitions())
    with pytest.raises(ValueError, match=r"0\.obs is float32 \(5, 6\)"):
        EpisodicMemory.load(path)


def test_readers_see_whole_episodes_while_another_thread_writes():
    memory = small(max_episodes=6, max_episode_length=7)
    broken, stop = [], threading.Event()

    def check():
        while not stop.is_set():
            for found in memory.retrieve_similar(np.ones(6), k=6, match="step"):
                episode = found.episode
                if len(set(episode.reward)) != 1 or episode.action[:, 0].tolist() != list(range(len(episode.reward))):
                    broken.append(found)
            data = memory.get_all_transitions()
            for index in set(data["episode"].tolist()):
                rows = data["episode"] == index
                if len(set(data["reward"][rows])) != 1 or data["action"][rows, 0].tolist() != list(range(rows.sum())):
                    broken.append(data)

    readers = [threading.Thread(target=check) for _ in range(3)]
    for reader in readers:
        reader.start()
    for seed in range(150):
        record(memory, seed, 1 + seed % 7)
    stop.set()
    for reader in readers:
        reader.join()
    assert not broken
    assert memory.get_all_transitions()["reward"][-1] == 149


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: small(max_episodes=0), "max_episodes=0 must be a whole number of at least 1"),
        (lambda: small().add_transition(np.ones(5), np.ones(2), 0, False), r"obs has shape \(5,\), not \(6,\)"),
        (lambda: small().add_transition(np.full(6, np.nan), np.ones(2), 0, False), "obs holds NaN or infinity"),
        (lambda: small().retrieve_similar(np.ones(5)), r"query has shape \(5,\); give \(6,\) or \(B, 6\)"),
        (lambda: small().retrieve_similar(np.ones(6), k=0), "k=0 must be at least 1"),
        (lambda: small().retrieve_similar(np.ones(6), match="frame"), "match='frame' is unknown"),
    ],
)
def test_what_does_not_fit_is_told_in_one_line(call, message):
    with pytest.raises(ValueError, match=message):
        call()
