"""The strip that the results page shows has the panels of the frames that were asked for."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tempovla.recipe.evaluation.prediction_videos import PANEL_PX, frame_of
from tempovla.report.video import encode_mp4

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
HALF_PX = PANEL_PX // 2


@pytest.fixture
def strip(monkeypatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("film_strip")


def grey(level: int) -> np.ndarray:
    return np.full((8, 8, 3), level, np.uint8)


@pytest.fixture
def film(tmp_path) -> Path:
    """Three frames: truth of 0, 50 and 100, imagination of 200, difference of 250."""
    frames = np.stack([frame_of((grey(50 * index), grey(200), grey(250)), "now") for index in range(3)])
    encode_mp4(frames, tmp_path / "film.mp4", 10.0, scale=1)
    return tmp_path / "film.mp4"


def test_columns_are_frames_counted_from_the_end_and_rows_are_panels(strip, film, tmp_path):
    strip.main(["--film", str(film), "--before-end", "2,0", "--out", str(tmp_path / "strip.png")])
    with Image.open(tmp_path / "strip.png") as opened:
        picture = np.asarray(opened).astype(int)
    assert picture.shape == (3 * HALF_PX, 2 * HALF_PX, 3)
    middles = picture[HALF_PX // 2 :: HALF_PX, HALF_PX // 2 :: HALF_PX, 0]
    np.testing.assert_allclose(middles, [[0, 100], [200, 200], [250, 250]], atol=6)


@pytest.mark.parametrize("before_end", ["3", "-1", "x", "0,,1"])
def test_frames_that_the_film_does_not_have_are_refused(strip, film, tmp_path, before_end):
    wrong = next(number for number in before_end.split(",") if number != "0")
    with pytest.raises(ValueError, match=rf"'{wrong}' is no number from 0 to 2"):
        strip.main(["--film", str(film), "--before-end", before_end, "--out", str(tmp_path / "strip.png")])
    assert not (tmp_path / "strip.png").exists()


def test_a_film_that_is_not_there_is_refused(strip, tmp_path):
    with pytest.raises(ValueError, match=r"no\.mp4: no such file"):
        strip.main(["--film", str(tmp_path / "no.mp4"), "--out", str(tmp_path / "strip.png")])
