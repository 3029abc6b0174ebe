"""Steps that are asked for are whole numbers, whatever the source."""

from pathlib import Path

import numpy as np
import pytest
from tests.libero_recordings import record as record_libero
from tests.recordings import ACTION, FRONT, record

from tempovla.data.open import open_source
from tempovla.data.window import step_numbers


@pytest.mark.parametrize("steps", [[0, 1], (0, 1), range(2), np.arange(2), np.arange(2, dtype=np.uint8)])
def test_whole_numbers_are_steps(steps: object) -> None:
    assert step_numbers(steps).tolist() == [0, 1]  # type: ignore[arg-type]
    assert step_numbers([]).dtype == np.int64


@pytest.mark.parametrize(
    "steps", [[0.5], ["0"], [0.0], [float("nan")], [10**30], [2**63], [True], [[0, 1]], [[0], [0, 1]], 0, None]
)
def test_what_is_no_whole_number_is_refused(steps: object) -> None:
    with pytest.raises(ValueError, match="must be a list of whole numbers; give control steps"):
        step_numbers(steps)  # type: ignore[arg-type]


@pytest.mark.parametrize("episode", [0.5, "0", True, None])
def test_an_episode_that_is_no_whole_number_is_refused(tmp_path: Path, episode: object) -> None:
    record(tmp_path, (3, 2))
    with pytest.raises(ValueError, match="must be a whole number; episodes are counted from 0"):
        open_source(tmp_path).read(episode, ACTION, [0])  # type: ignore[arg-type]
    assert open_source(tmp_path).read(np.int64(1), ACTION, [0]).value.shape == (1, 2)


def test_all_sources_refuse_it(tmp_path: Path) -> None:
    record(tmp_path / "lerobot", (3, 2))
    record_libero(tmp_path / "libero", (3, 2))
    whole = [open_source(tmp_path / name) for name in ("lerobot", "libero")]
    for source in (*whole, open_source(tmp_path / "lerobot", max_len_data=2)):
        for key in {ACTION, FRONT} & set(source.streams):
            with pytest.raises(ValueError, match=r"steps \[0\.5\] must be a list of whole numbers"):
                source.read(0, key, [0.5])  # type: ignore[list-item]
