"""Law 3 over every source and window."""

import pytest
from tests.contract.registry import SOURCES

from tempovla.timeline import EpisodeSource, laws


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_windows_of_neighbouring_steps_agree(name, tmp_path):
    case = SOURCES[name]
    source = case.build(tmp_path)
    assert isinstance(source, EpisodeSource)
    for window in case.windows:
        laws.check_shift(source, window, episodes=range(len(source)))
