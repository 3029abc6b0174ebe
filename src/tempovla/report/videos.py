"""Rollout videos inside the page, within its size."""

from __future__ import annotations

from base64 import b64encode
from collections import defaultdict
from collections.abc import Mapping
from itertools import zip_longest
from pathlib import Path

from tempovla.report.format_text import dotted, quoted
from tempovla.report.markup import Markup, element, join
from tempovla.report.plan_charts import plan_charts, plans_note
from tempovla.report.run import CLIP_KINDS, Clip
from tempovla.timeline.arguments import with_noun

VIDEO_BUDGET_BYTES = 5_600_000
"""Of the encoded videos; base64 makes them a third larger, and the page stays under 8 MB."""


def films_section(clips: list[Clip], labels: Mapping[str, str], taken_bytes: int = 0) -> Markup:
    """Return a grid of videos, policy first, each with its instruction, its task's label and how it ended.

    Args:
        clips: the videos.
        labels: of tasks, by name.
        taken_bytes: what other videos take of the page.
    """
    heading = element("h2", "Rollouts")
    if not clips:
        words = "No rollout videos: the run holds no rollouts/index.json, or it is empty."
        return element("section", heading, element("p", words, class_="missing"))
    present = [clip for clip in clips if clip.path.is_file()]
    shown = choose(present, VIDEO_BUDGET_BYTES - taken_bytes)
    absent = [clip.path.name for clip in clips if not clip.path.is_file()]
    notes = ["The clips show every task and both outcomes. Judge the policy by the rates above."]
    if any(clip.total_reward is not None for clip in clips):
        notes = ["The clips show the highest and the lowest return of every task. Judge the policy by the means above."]
    if len(shown) < len(present):
        notes.append(f"{len(shown)} of {len(present)} clips are shown, so that the page stays small.")
    if absent:
        notes.append(f"{len(absent)} of {len(clips)} indexed clips are not on disk, such as {absent[0]}.")
    told, mistold = ([clip for clip in shown if clip.kind == kind] for kind in CLIP_KINDS)
    groups = [
        _group("With its own instruction", "failed", told, labels),
        _group("With a wrong instruction", "left the scene's own task undone", mistold, labels),
    ]
    heading = element("h2", "Rollouts", element("button", "Pause all", type="button", id="pause", hidden=True))
    legend = plans_note() if any(clip.plans is not None for clip in shown) else []
    return element("section", heading, element("p", " ".join(notes), class_="note"), *legend, *groups, class_="films")


def choose(clips: list[Clip], budget_bytes: int) -> list[Clip]:
    """Return as many clips as fit, taken in turn from every task, kind and outcome so that none is left out, in their
    original order.
    """
    piles: dict[tuple[str, str, bool], list[Clip]] = defaultdict(list)
    for clip in clips:
        piles[clip.task, clip.kind, clip.success].append(clip)
    kept, spent = set(), 0
    for turn in zip_longest(*piles.values()):
        for clip in filter(None, turn):
            size = clip.path.stat().st_size
            if spent + size <= budget_bytes:
                kept.add(clip.path)
                spent += size
    return [clip for clip in clips if clip.path in kept]


def _group(title: str, failing: str, clips: list[Clip], labels: Mapping[str, str]) -> Markup | None:
    if not clips:
        return None
    failed = sum(not clip.success for clip in clips)
    told = f"{len(clips)} clip{'s' * (len(clips) != 1)}"
    if any(clip.total_reward is None for clip in clips):
        told += f", of which {failed} {failing}"
    films = [(clip.plans, _film(clip, labels.get(clip.task, clip.task))) for clip in clips]
    rows = [element("div", film, plan_charts(plans), class_="planned") for plans, film in films if plans is not None]
    alone = [film for plans, film in films if plans is None]
    style = "grid wide" if any(clip.is_wide for clip in clips) else "grid"
    grid = element("div", *alone, class_=style) if alone else None
    return join(element("h3", title, element("span", told)), *rows, grid)


def _film(clip: Clip, label: str) -> Markup:
    if clip.kind == "policy":
        ending = "Done" if clip.success else "Failed"
    else:
        ending = "Did the scene's task" if clip.success else "Scene's task undone"
    if clip.total_reward is not None:
        ending = f"Return {clip.total_reward:.1f}"
    words = quoted(clip.instruction) if clip.instruction else "no instruction recorded"
    facts = [
        "" if clip.seed is None else f"seed {clip.seed}",
        "" if clip.steps is None else with_noun(clip.steps, "step"),
    ]
    video = looping_video(clip.path, f"{words}: {ending.lower()}")
    task = element("span", label, title=None if label == clip.task else clip.task)
    caption = element("figcaption", element("b", words), task, element("span", dotted(facts)))
    outcome = "" if clip.total_reward is not None else " success" if clip.success else " failure"
    style = clip.kind.replace("_", "-") + outcome
    screen = element("div", video, element("span", ending, class_="badge"), class_="screen")
    return element("figure", screen, caption, class_=f"film {style}")


def looping_video(path: Path, label: str) -> Markup:
    """Return a video that plays again and again, and that lies in the page itself.

    Args:
        path: of the mp4.
        label: what it shows, for those who cannot see it.
    """
    return element(
        "video", src=data_uri(path), aria_label=label, muted=True, loop=True, playsinline=True, preload="auto"
    )


def data_uri(path: Path) -> str:
    """Return a video as an address that holds it."""
    return "data:video/mp4;base64," + b64encode(path.read_bytes()).decode("ascii")
