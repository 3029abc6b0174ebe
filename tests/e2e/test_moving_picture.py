"""The moving picture of a results page has the frames that were asked for."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageSequence

from tempovla.report.video import encode_mp4

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def moving(monkeypatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("moving_picture")


def film(path: Path, levels: list[int]) -> str:
    encode_mp4(np.stack([np.full((32, 48, 3), level, np.uint8) for level in levels]), path, 4.0, scale=1)
    return str(path)


def test_it_shows_a_part_of_each_film_in_order(moving, tmp_path):
    films = [film(tmp_path / "a.mp4", [0, 60, 120, 180]), film(tmp_path / "b.mp4", [250, 200, 150])]
    moving.main([*films, "--first", "1", "--frames", "2", "--out", str(tmp_path / "out.webp")])
    with Image.open(tmp_path / "out.webp") as opened:
        levels = [np.asarray(frame.convert("L")).mean() for frame in ImageSequence.Iterator(opened)]
        assert opened.size == (48, 32)
    np.testing.assert_allclose(levels, [60, 120, 200, 150], atol=6)


def test_a_file_that_is_no_film_and_frames_that_it_does_not_have_are_refused(moving, tmp_path):
    (tmp_path / "no.mp4").write_text("no film")
    out = ["--out", str(tmp_path / "out.webp")]
    with pytest.raises(ValueError, match=r"no\.mp4: .*; give films that `tempovla eval --videos` wrote"):
        moving.main([str(tmp_path / "no.mp4"), *out])
    with pytest.raises(ValueError, match=r"--first=5: .*b\.mp4 has fewer frames; give a smaller number"):
        moving.main([film(tmp_path / "b.mp4", [250, 200]), "--first", "5", *out])
    assert not (tmp_path / "out.webp").exists()
