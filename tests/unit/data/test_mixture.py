"""Which control steps of a mixture are samples."""

from __future__ import annotations

import numpy as np
import pytest
from tests import recordings

from tempovla.data.lerobot import open_dataset
from tempovla.data.loader import LoaderConfig, SampleLoader
from tempovla.data.mixture import Mixture
from tempovla.timeline import Window

LENGTHS = (12, 7, 9)


@pytest.fixture
def source(tmp_path):
    recordings.record(tmp_path / "dataset", LENGTHS)
    return open_dataset(tmp_path / "dataset")


def every_fifth(length: int) -> list[int]:
    return list(range(length - 1, -1, -5))[::-1]


def located(mixture: Mixture) -> list[tuple[int, int]]:
    episode, step = mixture.locate(0, np.arange(mixture.lengths[0]))
    assert step.dtype == np.int64
    return list(zip(episode.tolist(), step.tolist(), strict=True))


def test_every_step_is_a_sample_unless_ends_names_some(source):
    assert located(Mixture([source])) == [(i, step) for i, length in enumerate(LENGTHS) for step in range(length)]
    named = located(Mixture([source], ends=every_fifth))
    assert named == [(0, 1), (0, 6), (0, 11), (1, 1), (1, 6), (2, 3), (2, 8)]


def test_ends_go_with_a_choice_of_episodes(source):
    mixture = Mixture([source], episodes=[[2, 0]], ends=every_fifth)
    assert mixture.lengths == (5,)
    assert located(mixture) == [(0, 1), (0, 6), (0, 11), (2, 3), (2, 8)]


def test_ends_hold_for_each_source_and_weights_count_samples(source):
    mixture = Mixture([source, source], episodes=[[0], [1, 2]], ends=every_fifth)
    assert mixture.lengths == (3, 4)
    assert mixture.weights == (3.0, 4.0)
    episode, step = mixture.locate(1, np.array([3, 0]))
    assert (episode.tolist(), step.tolist()) == ([2, 1], [8, 1])


def test_an_episode_may_have_no_sample(source):
    mixture = Mixture([source], ends=lambda length: [length - 8] if length >= 8 else [])
    assert located(mixture) == [(0, 4), (2, 1)]


def test_an_epoch_of_batches_ends_where_it_is_said(source):
    recorded = {i: source.read(i, recordings.STATE, range(length))[0] for i, length in enumerate(LENGTHS)}
    wanted = [recorded[i][step] for i, length in enumerate(LENGTHS) for step in every_fifth(length)]
    for workers in (0, 1):
        mixture = Mixture([source], ends=every_fifth)
        loader = SampleLoader(mixture, [Window(recordings.STATE, (0,))], LoaderConfig(7, workers, 0), seed=0)
        assert loader.batches_per_epoch == 1
        seen = next(iter(loader)).context.now[recordings.STATE].value[:, 0].numpy()
        assert sorted(seen.tolist()) == sorted(np.stack(wanted).tolist())


def test_with_no_sample_at_all_the_mixture_is_refused(source):
    with pytest.raises(ValueError, match="no episode to sample from; record some"):
        Mixture([source], ends=lambda length: [])
