"""Videos of successes and failures, or of the best and the worst, for people and for the report."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tempovla.control.controller import Actor
from tempovla.env.protocol import Score, SimulatorConfig
from tempovla.recipe.evaluation.driving_films import (
    FASTER,
    QUALITY,
    DrivenEpisode,
    DrivingViewer,
    driving_frames,
    viewer_of,
)
from tempovla.recipe.evaluation.plan_pictures import PlanViewer, ViewedPlans
from tempovla.recipe.evaluation.plans import tells_plans
from tempovla.recipe.progress import CountProgress
from tempovla.report.rerun import write_rrd
from tempovla.report.video import SCALE, encode_mp4, side_by_side
from tempovla.rollout.replay import replay
from tempovla.rollout.runner import EpisodeResult
from tempovla.storage.json_files import write_json
from tempovla.timeline import Embodiment
from tempovla.timeline.arguments import with_noun
from tempovla.timeline.keys import ACTION_KEY, ENVIRONMENT_STATE_KEY, IMAGE_KEY_PREFIX, POINTS_KEY_PREFIX, STATE_KEY

LOGGER = logging.getLogger(__name__)

FILM_STRIDE = 2

FilmKind = Literal["policy", "wrong_instruction"]
"""Whether the policy had the instruction of the scene's own task."""


def choose_episodes(results: Sequence[EpisodeResult], score: Score = "success") -> list[EpisodeResult]:
    """Return the first success and the first failure of every task, where there are, in order; or the episodes of the
    highest and the lowest return.
    """
    if score == "return":
        ends: list[EpisodeResult] = []
        for task in dict.fromkeys(result.spec.task for result in results):
            own = [result for result in results if result.spec.task == task]
            ends += [extreme(own, key=lambda result: result.total_reward) for extreme in (max, min)]
        return [result for result in results if any(result is end for end in ends)]
    first: dict[tuple[str, bool], EpisodeResult] = {}
    for result in results:
        first.setdefault((result.spec.task, result.success), result)
    return [result for result in results if any(result is chosen for chosen in first.values())]


def film_episodes(
    results: Sequence[EpisodeResult],
    env_config: SimulatorConfig,
    folder: Path,
    actor: Actor,
    workers: int,
    kind: FilmKind = "policy",
    execution_horizon: int = 1,
) -> None:
    """Film one success and one failure of every task, or its highest and lowest return; `folder` then holds the videos
    and their index.json, with the plans of a policy that tells them.

    Args:
        results: of all episodes, with their actions.
        env_config: the simulator, with the cameras of the pictures.
        folder: of the videos.
        actor: the policy.
        workers: processes that simulate.
        kind: of instruction.
        execution_horizon: control steps from one decision of the policy to the next.

    Raises:
        NotWrittenError: if the disk does not take them.
    """
    score, viewer, unread = env_config.score, None, set(env_config.sensors)
    if tells_plans(actor):
        viewer = PlanViewer(actor, env_config)
        unread -= {"environment_state"} if any(w.key == ENVIRONMENT_STATE_KEY for w in actor.windows) else set()
    driving = viewer_of(actor, env_config, execution_horizon)
    unread -= {name for name in unread if driving is not None and _reads(actor, POINTS_KEY_PREFIX + name)}
    drawn: Any = replace(env_config, **dict.fromkeys(unread, False))
    chosen = choose_episodes(results, score)
    LOGGER.info("drawing %s in %s", with_noun(len(chosen), "video"), folder)
    with CountProgress("videos", len(chosen)) as progress:
        replayed = _counted(replay(chosen, drawn, workers), progress)
        write_films(replayed, folder, actor.embodiment, kind, score, viewer, driving)


def _counted(results: Iterable[EpisodeResult], progress: CountProgress) -> Iterator[EpisodeResult]:
    """The results; each counts when the next one is asked for, which is when its video is drawn."""
    for result in results:
        yield result
        progress.advance(now=f"{result.spec.task}, seed {result.spec.seed}")


def _reads(actor: Actor, key: str) -> bool:
    return any(window.key == key for window in actor.windows)


def write_films(
    results: Iterable[EpisodeResult],
    folder: Path,
    body: Embodiment,
    kind: FilmKind = "policy",
    score: Score = "success",
    viewer: PlanViewer | None = None,
    driving: DrivingViewer | None = None,
) -> None:
    """Write the videos of recorded episodes and their index.json, which is never there with the videos of others.

    Args:
        results: the episodes, with their recordings.
        folder: of the videos.
        body: that acted.
        kind: of instruction.
        score: what the episodes count by.
        viewer: of the plans of the policy that acted; None shows none.
        driving: of a policy that drives a car; None of any other.

    Raises:
        NotWrittenError: if the disk does not take them.
    """
    index = folder / "index.json"
    entries: list[dict[str, Any]] = []
    for result in results:
        if not entries:
            index.unlink(missing_ok=True)
        viewed = None if viewer is None else viewer.view(result)
        driven = None if driving is None else driving.view(result)
        entries.append(film(result, folder, body, kind, score, viewed, driven))
    write_json(index, entries)


def film(
    result: EpisodeResult,
    folder: Path,
    body: Embodiment,
    kind: FilmKind = "policy",
    score: Score = "success",
    viewed: ViewedPlans | None = None,
    driven: DrivenEpisode | None = None,
) -> dict[str, Any]:
    """Write the video of a recorded episode and, where the extra `viz` is installed, its rerun recording.

    Args:
        result: the episode.
        folder: of the video.
        body: that acted.
        kind: of instruction.
        score: what the episode counts by.
        viewed: what was planned in it; None where that is not known.
        driven: how a car was driven in it; None of any other body.

    Returns:
        Its entry in rollouts/index.json.
    """
    assert result.recording is not None
    cameras = {
        key: np.asarray(value)[::FILM_STRIDE]
        for key, value in sorted(result.recording.items())
        if key.startswith(IMAGE_KEY_PREFIX)
    }
    by_return = score == "return"
    outcome = f"return_{result.total_reward:.0f}" if by_return else "success" if result.success else "failure"
    name = f"{result.spec.task.replace('/', '_')}_{outcome}_{result.spec.seed}.mp4"
    if driven is not None:
        frames = driving_frames(result, driven)
        encode_mp4(frames, folder / name, body.rate_hz * FASTER, scale=1, quality=QUALITY)
    elif viewed is not None and viewed.paths:
        drawn = [viewed.drawn(key, pictures, FILM_STRIDE) for key, pictures in cameras.items()]
        encode_mp4(side_by_side(drawn, gap=SCALE), folder / name, body.rate_hz / FILM_STRIDE, scale=1)
    else:
        encode_mp4(side_by_side(list(cameras.values())), folder / name, body.rate_hz / FILM_STRIDE)
    if find_spec("rerun") is not None:
        names = {STATE_KEY: body.state_names, ACTION_KEY: body.action_names}
        write_rrd(result.recording, (folder / name).with_suffix(".rrd"), body.rate_hz, result.instruction, names)
    return {
        "task": result.spec.task,
        "instruction": result.instruction,
        "success": result.success,
        **({"return": result.total_reward} if by_return else {}),
        "seed": result.spec.seed,
        "steps": result.steps,
        **({"figures": dict(result.figures)} if result.figures else {}),
        "kind": kind,
        "file": name,
        **({} if viewed is None else {"plans": viewed.plans.to_json()}),
        **({} if driven is None else {"wide": True}),
    }
