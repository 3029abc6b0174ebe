"""Videos of a world model's predictions: what was seen, what was imagined, and how far the two are apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from tempovla.recipe.evaluation.predictions import Predictor, Starts
from tempovla.report.video import encode_mp4
from tempovla.storage.json_files import write_json
from tempovla.storage.lock import FolderLock
from tempovla.timeline import Context, Prediction

FILMED_STARTS = 4
"""Starts of which there are videos."""
SHOWN_CONTEXT = 8
"""Observations before the present one that a video shows at the most."""
FRAMES_PER_SECOND = 6.0
"""Slow enough to compare each frame, at whatever rate the robot is controlled."""
PANEL_PX, BAND_PX, GAP_PX, LETTER_PX = 256, 30, 8, 19
"""Side of a picture, height of a line of words, space between pictures, and height of letters."""
PANELS = ("truth", "imagination", "difference")
BACKGROUND, EMPTY, INK = (16, 18, 22), (44, 48, 56), (236, 238, 241)
"""Colours behind everything, of a panel without a picture, and of words."""

Picture = NDArray[np.uint8]


def film_predictions(predictor: Predictor, starts: Starts, folder: Path) -> int:
    """Write videos of some starts, one for each camera that is decoded, and their index.json.

    Args:
        predictor: makes the predictions.
        starts: those to choose from; the whole horizon of a chosen one lies in its episode.
        folder: for the videos.

    Returns:
        The number of videos; 0 for a model that decodes no camera, which writes nothing.

    Raises:
        ValueError: if somebody else writes there now.
        NotWrittenError: if the disk does not take them.
    """
    lengths = np.array([predictor.source.episode(int(episode)).length for episode in starts.episodes])
    whole = np.flatnonzero(starts.steps + starts.horizon < lengths)
    chosen = whole[np.unique(np.linspace(0, len(whole) - 1, FILMED_STARTS + 2).round().astype(int)[1:-1])]
    episodes, steps = starts.episodes[chosen], starts.steps[chosen]
    context, predictions = predictor.predict(episodes, steps)
    pictures = {key: each for key, each in predictions.items() if each.kind == "picture"}
    if not pictures:
        return 0
    with FolderLock(folder, "films predictions", remedy="let it end, or give another folder"):
        (folder / "index.json").unlink(missing_ok=True)
        entries: list[dict[str, Any]] = []
        for key, prediction in pictures.items():
            for row, (episode, step) in enumerate(zip(episodes.tolist(), steps.tolist(), strict=True)):
                name = f"{key.rpartition('.')[2]}_episode_{episode:04d}_step_{step:05d}.mp4"
                frames = prediction_frames(context, key, prediction, row, starts.stride)
                encode_mp4(frames, folder / name, FRAMES_PER_SECOND, scale=1)
                facts = {"camera": key, "episode": episode, "step": step, "horizon": starts.horizon}
                entries.append({"file": name, **facts})
        write_json(folder / "index.json", entries)
    return len(entries)


def prediction_frames(context: Context, key: str, prediction: Prediction, row: int, stride: int) -> Picture:
    """Return the frames (T, H, W, 3) of one start: first what was seen, then the truth beside what was imagined.

    Args:
        context: what was seen, prepared for the policy.
        key: of the camera.
        prediction: of its pictures.
        row: of the start.
        stride: control steps from one imagined step to the next.
    """
    seen, frames = context.track(key), []
    known = [i for i, valid in enumerate(seen.valid[row].tolist()) if valid][-SHOWN_CONTEXT - 1 :]
    for index in known:
        ago = -int(seen.offset[index])
        when = f"seen, {ago} control {_steps(ago)} before" if ago else "seen, the last before the prediction"
        frames.append(frame_of((_bytes(seen.value[row, index].float() / 255.0), None, None), when))
    last = prediction.value.shape[1] * stride
    for index, valid in enumerate(prediction.valid[row].tolist()):
        value, target = prediction.value[row, index], prediction.target[row, index]
        apart = (value - target).abs()
        panels = tuple(_bytes(x) for x in (target, value, apart)) if valid else (None, _bytes(value), None)
        ahead = (index + 1) * stride
        frames.append(frame_of(panels, f"imagined, {ahead} of {last} control {_steps(last)} ahead"))
    return np.stack(frames)


def frame_of(panels: tuple[Picture | None, ...], when: str) -> Picture:
    """Return one frame (H, W, 3): pictures (S, S, 3) under their names, and a line of words below them."""
    width = len(panels) * PANEL_PX + (len(panels) - 1) * GAP_PX
    sheet = Image.new("RGB", (width, PANEL_PX + 2 * BAND_PX), BACKGROUND)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(LETTER_PX)
    for index, (name, panel) in enumerate(zip(PANELS, panels, strict=True)):
        left = index * (PANEL_PX + GAP_PX)
        place = Image.new("RGB", (PANEL_PX, PANEL_PX), EMPTY)
        if panel is not None:
            place = Image.fromarray(panel).resize((PANEL_PX, PANEL_PX), Image.Resampling.NEAREST)
        sheet.paste(place, (left, BAND_PX))
        draw.text((left + PANEL_PX / 2, BAND_PX / 2), name, INK, font, "mm")
    draw.text((width / 2, PANEL_PX + 1.5 * BAND_PX), when, INK, font, "mm")
    return np.asarray(sheet)


def _bytes(picture: Tensor) -> Picture:
    """A picture (3, S, S) from 0 to 1 as (S, S, 3) bytes."""
    return (picture.float().clamp(0.0, 1.0) * 255.0).round().byte().permute(1, 2, 0).cpu().numpy()


def _steps(count: int) -> str:
    return "step" if count == 1 else "steps"
