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
    with pytest.raises(ValueError, match="are no whole numbers one after the other; give control steps"):
        step_numbers(steps)  # type: ignore[arg-type]


def test_all_sources_refuse_it(tmp_path: Path) -> None:
    record(tmp_path / "lerobot", (3, 2))
    record_libero(tmp_path / "libero", (3, 2))
    whole = [open_source(tmp_path / name) for name in ("lerobot", "libero")]
    for source in (*whole, open_source(tmp_path / "lerobot", max_len_data=2)):
        for key in {ACTION, FRONT} & set(source.streams):
            with pytest.raises(ValueError, match=r"steps \[0\.5\] are no whole numbers"):
                source.read(0, key, [0.5])  # type: ignore[list-item]
