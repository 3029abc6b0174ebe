"""A moving picture of a policy that follows instructions, from the checkpoint of a demo.

    python benchmarks/arm_picture.py outputs/demo --out docs/images/arm.webp

The policy acts on the small pictures that it learned from. The episodes are then played again from its actions and
drawn larger, with all details of the scene, and with the instruction below.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from tempovla.control.load_actor import open_policy
from tempovla.env.metaworld import MetaWorldConfig
from tempovla.rollout.evaluate import EvaluationConfig, evaluation_specs, run_specs
from tempovla.rollout.replay import replay
from tempovla.rollout.runner import EpisodeResult

CAMERA = "corner2"
TASKS = ("button-press-topdown-v3", "drawer-open-v3", "window-open-v3", "door-open-v3")
SEEN = (0.02, 0.2, 0.98, 0.86)
"""Left, top, right and bottom of what is shown, as shares of the camera's picture."""
CAPTION_PX = 28
CHECKPOINT = "train/phase2_flow_matching/checkpoint_latest"


def act(checkpoint: Path, tasks: Sequence[str], size: int) -> list[EpisodeResult]:
    """Return an episode of each task that succeeds, with large pictures of `CAMERA`."""
    policy = open_policy(checkpoint, None, MetaWorldConfig())
    config = EvaluationConfig(episodes=3)
    results = run_specs(policy.actor(), evaluation_specs(tasks, config), MetaWorldConfig(), config)
    solved = [next(result for result in results if result.spec.task == task and result.success) for task in tasks]
    drawn = replace(MetaWorldConfig(), cameras=(CAMERA,), image_size=size, mesh_cell_m=0.0)
    return list(replay(solved, drawn, workers=2))


def panel(picture: np.ndarray, instruction: str) -> Image.Image:
    """Return what is seen of a picture, with the instruction below."""
    height, width = picture.shape[:2]
    left, top, right, bottom = (round(share * side) for share, side in zip(SEEN, (width, height) * 2, strict=True))
    seen = Image.fromarray(picture[top:bottom, left:right])
    image = Image.new("RGB", (seen.width, seen.height + CAPTION_PX), "white")
    image.paste(seen)
    middle = (seen.width / 2, seen.height + CAPTION_PX / 2)
    ImageDraw.Draw(image).text(middle, f"“{instruction}”", "black", ImageFont.load_default(15), anchor="mm")
    return image


def frames(results: Sequence[EpisodeResult], step: int, hold: int) -> list[Image.Image]:
    """Return the episodes side by side, each of which waits at its end for the longest, and `hold` frames more."""
    films = []
    for result in results:
        assert result.recording is not None
        assert result.final is not None
        (key,) = (key for key in result.recording if key.startswith("observation.images."))
        films.append([*result.recording[key][::step], result.final[key]])
    shown = []
    for time in range(max(map(len, films)) + hold):
        pictures = [film[min(time, len(film) - 1)] for film in films]
        panels = [panel(*one) for one in zip(pictures, (each.instruction for each in results), strict=True)]
        row = Image.new("RGB", (sum(one.width for one in panels) + 8 * (len(panels) - 1), panels[0].height), "white")
        for place, one in enumerate(panels):
            row.paste(one, (place * (one.width + 8), 0))
        shown.append(row)
    return shown


def main() -> None:
    """Write the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("demo", type=Path, help="folder of `tempovla demo`")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--size", type=int, default=288, help="side of each picture, in pixels")
    parser.add_argument("--step", type=int, default=3, help="control steps, of 80 a second, from frame to frame")
    args = parser.parse_args()
    shown = frames(act(args.demo / CHECKPOINT, TASKS, args.size), args.step, hold=12)
    options = {"save_all": True, "append_images": shown[1:], "duration": round(1000 * args.step / 40), "loop": 0}
    shown[0].save(args.out, quality=60, method=6, **options)
    print(f"{args.out}: {len(shown)} frames of {shown[0].size}, {args.out.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
