"""Frames of a film of `tempovla eval offline --videos`: truth, imagination and difference in three rows.

    python benchmarks/film_strip.py --film outputs/imagines/predictions/0_episode_0003_step_00098.mp4 \
        --before-end 14,11,7,3,0 --out strip.webp

The columns are frames of the film, counted from its end, which is the prediction that looks farthest ahead.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np
from PIL import Image

from commands import exit_code_of
from tempovla.recipe.evaluation.prediction_videos import BAND_PX, GAP_PX, PANEL_PX, PANELS


def frames_of(film: Path) -> list[np.ndarray]:
    """All frames (H, W, 3) uint8 of a film."""
    with av.open(str(film)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def column(frame: np.ndarray) -> np.ndarray:
    """The panels of a frame without their words, (H, S, 3), one below the other."""
    lefts = [index * (PANEL_PX + GAP_PX) for index in range(len(PANELS))]
    return np.concatenate([frame[BAND_PX : BAND_PX + PANEL_PX, left : left + PANEL_PX] for left in lefts])


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the picture.

    Raises:
        ValueError: in one line, if there is no such film or frame.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--film", required=True, type=Path, help="of one camera and one start")
    parser.add_argument("--before-end", default="14,11,7,3,0", help="frames before the last one, separated by commas")
    parser.add_argument("--out", required=True, help="picture to write")
    options = parser.parse_args(arguments)
    if not options.film.is_file():
        raise ValueError(f"--film={options.film}: no such file; give one that `tempovla eval offline --videos` wrote")
    frames = frames_of(options.film)
    numbers = options.before_end.split(",")
    if wrong := [number for number in numbers if not number.strip().isdigit() or int(number) >= len(frames)]:
        raise ValueError(f"--before-end={options.before_end}: {wrong[0]!r} is no number from 0 to {len(frames) - 1}")
    picture = np.concatenate([column(frames[-1 - int(number)]) for number in numbers], axis=1)
    Image.fromarray(picture).resize((picture.shape[1] // 2, picture.shape[0] // 2)).save(options.out, quality=80)


if __name__ == "__main__":
    sys.exit(exit_code_of(main))
