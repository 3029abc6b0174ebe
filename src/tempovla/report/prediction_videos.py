"""Videos of a world model's predictions inside the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tempovla.report.fields import Reader, load_json
from tempovla.report.format_text import dotted
from tempovla.report.markup import Markup, element
from tempovla.report.videos import looping_video
from tempovla.storage.paths import inside

FOLDER = "predictions"
"""Of the videos, in the folder of a run."""
BUDGET_BYTES = 1_600_000
"""Of these videos; those of rollouts have what is left of the page's size."""


@dataclass(frozen=True)
class PredictionClip:
    """One video of a prediction; `path` may be absent on disk."""

    path: Path
    camera: str
    episode: int
    step: int
    horizon: int


def read_prediction_clips(run_dir: Path) -> list[PredictionClip]:
    """Read RUN_DIR/predictions/index.json; an absent file is an empty list.

    Raises:
        ValueError: naming the file, the entry and the remedy.
    """
    path = run_dir / FOLDER / "index.json"
    if not path.is_file():
        return []
    inside(run_dir, f"{FOLDER}/index.json", said_by="the run's", remedy="copy the folder again")
    return [_clip(Reader(path, f"[{i}]", entry), path.parent) for i, entry in enumerate(load_json(path, list))]


def _clip(data: Reader, folder: Path) -> PredictionClip:
    told, remedy = f"index.json: {data.key}.file", "name a video in the folder of index.json"
    path = inside(folder, data.get("file", str, required=True), said_by=told, remedy=remedy)
    episode, step, horizon = (data.get(key, int, required=True) for key in ("episode", "step", "horizon"))
    return PredictionClip(path, data.get("camera", str, required=True), episode, step, horizon)


def fitting(clips: Sequence[PredictionClip]) -> list[PredictionClip]:
    """Return the first of those that are on disk, as many as fit into `BUDGET_BYTES`."""
    kept, spent = [], 0
    for clip in clips:
        size = clip.path.stat().st_size if clip.path.is_file() else BUDGET_BYTES + 1
        if spent + size <= BUDGET_BYTES:
            kept.append(clip)
            spent += size
    return kept


def size_of(clips: Sequence[PredictionClip]) -> int:
    """Return the bytes of the videos that are shown."""
    return sum(clip.path.stat().st_size for clip in fitting(clips))


def videos_part(clips: Sequence[PredictionClip]) -> list[Markup]:
    """Return the videos below a heading; nothing where there are none."""
    if not clips:
        return []
    kept = fitting(clips)
    note = (
        "Each video first shows what the model saw, then what came beside what the model imagined, and the absolute "
        "difference of the two, which is black where they agree."
    )
    if len(kept) < len(clips):
        note += f" {len(kept)} of {len(clips)} videos are shown; the others are not on disk, or too large for the page."
    films = element("div", *map(_film, kept), class_="grid wide")
    return [element("h3", "Videos"), element("p", note, class_="note"), films]


def _film(clip: PredictionClip) -> Markup:
    where = f"episode {clip.episode}, from control step {clip.step}"
    video = looping_video(clip.path, f"prediction of {clip.camera}, {where}")
    facts = dotted([where, f"{clip.horizon} control step{'s' * (clip.horizon != 1)} ahead"])
    caption = element("figcaption", element("b", clip.camera), element("span", facts))
    return element("figure", element("div", video, class_="screen"), caption, class_="film")
