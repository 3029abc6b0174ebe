"""Law 3 over every source and window, read directly and through the batches of the loader."""

import numpy as np
import pytest
import torch
from tests.contract.registry import SOURCES

from tempovla.data.loader import collate
from tempovla.data.mixture import Mixture
from tempovla.data.sampler import SampleBatch
from tempovla.timeline import EpisodeSource, Track, laws
from tempovla.timeline.track import concatenate


@pytest.fixture(scope="module", params=sorted(SOURCES))
def case(request):
    return SOURCES[request.param]


@pytest.fixture(scope="module")
def source(case, tmp_path_factory):
    return case.build(tmp_path_factory.mktemp("source") / "data")


def test_windows_of_neighbouring_steps_agree(case, source):
    assert isinstance(source, EpisodeSource)
    for window in case.windows:
        laws.check_shift(source, window, episodes=range(len(source)))


def test_windows_of_batches_agree(case, source):
    mixture = Mixture([source])
    starts = np.cumsum([0, *(source.episode(episode).length for episode in range(len(source)))])
    for window in case.windows:

        def read_window(episode: int, step: int, window=window) -> Track:
            index = np.array([starts[episode] + step])
            sample = collate(mixture, [window], SampleBatch(np.zeros(1, dtype=np.int64), index, torch.tensor([0])))
            groups = (sample.context.past, sample.context.now, sample.future)
            parts = [group[window.key] for group in groups if window.key in group]
            whole = parts[0]
            for part in parts[1:]:
                whole = concatenate(whole, part)
            return whole

        laws.check_shift(source, window, read_window=read_window, episodes=range(len(source)))


def test_every_step_is_told_its_own_words(case, source):
    mixture = Mixture([source])
    starts = np.cumsum([0, *(source.episode(episode).length for episode in range(len(source)))])

    def read_words(episode: int, step: int) -> str:
        index = np.array([starts[episode] + step])
        batch = SampleBatch(np.zeros(1, dtype=np.int64), index, torch.tensor([0]))
        return collate(mixture, case.windows[:1], batch).context.task[0].instruction

    laws.check_instructions(source, read_words=read_words, episodes=range(len(source)))
