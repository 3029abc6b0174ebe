"""Films of `tempovla eval --videos` as one moving picture, one after the other.

    python benchmarks/moving_picture.py outputs/driving/rollouts/*_success_*.mp4 --frames 40 --out driving.webp

All films must have one size, as those of one evaluation do.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import av
from av.error import FFmpegError
from PIL import Image

from commands import exit_code_of


def frames_of(film: Path, first: int, count: int) -> list[Image.Image]:
    """At most `count` frames of a film from number `first` on.

    Raises:
        ValueError: in one line, if there is no such film, or if it ends before.
    """
    try:
        with av.open(str(film)) as container:
            frames = [frame.to_image() for frame in container.decode(video=0)][first : first + count]
    except (OSError, FFmpegError) as error:
        raise ValueError(f"{film}: {error.strerror}; give films that `tempovla eval --videos` wrote") from error
    if not frames:
        raise ValueError(f"--first={first}: {film} has fewer frames; give a smaller number")
    return frames


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("films", nargs="+", type=Path, help="of one size")
    parser.add_argument("--first", type=int, default=0, help="number of the first frame of each film that is shown")
    parser.add_argument("--frames", type=int, default=40, help="how many of each are shown")
    parser.add_argument("--rate", type=float, default=4.0, help="frames a second")
    parser.add_argument("--quality", type=int, default=55, help="of WebP, from 0 to 100")
    parser.add_argument("--out", required=True, type=Path, help="file to write")
    options = parser.parse_args(arguments)
    frames = [frame for film in options.films for frame in frames_of(film, options.first, options.frames)]
    kinds = {"save_all": True, "append_images": frames[1:], "duration": round(1000 / options.rate), "loop": 0}
    frames[0].save(options.out, "WEBP", quality=options.quality, method=4, **kinds)


if __name__ == "__main__":
    sys.exit(exit_code_of(main))
