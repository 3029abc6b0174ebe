"""Checks of real samples of now and k steps later."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tempovla.data.open import open_source
from tempovla.data.temporal.config import TemporalDataConfig
from tempovla.data.temporal.dataset import TemporalDataset, TemporalPart
from tempovla.recipe.checks.findings import Findings
from tempovla.recipe.checks.temporal_depth import check_depth, readings_problem, readings_told
from tempovla.recipe.checks.temporal_plan import TemporalPlan
from tempovla.recipe.checks.temporal_sample import decode_problem, pictures_problem, sample_problem
from tempovla.recipe.datasets.targets import TargetCount, count_targets
from tempovla.timeline.arguments import with_noun
from tempovla.timeline.keys import ACTION_KEY, STATE_KEY
from tempovla.timeline.source import EpisodeSource

LARGEST_GAP = 2.0
"""Longest time between two samples of a stream, in periods of its rate."""
OF_METADATA = ("streams", "targets")
"""Checks of one dataset that can be opened, which need its metadata alone."""
OF_SAMPLES = ("timestamps", "samples", "decode")
"""Checks of one dataset that can be opened, which need its samples."""
IN_A_MIXTURE = "name the folder of all datasets with --data-root-dir"
"""What to do where a mixture's dataset is not there."""


def check_dataset(
    plan: TemporalPlan,
    name: str,
    path: Path,
    config: TemporalDataConfig,
    findings: Findings,
    *,
    max_trajectories: int,
    seed: int,
    remedy: str = IN_A_MIXTURE,
) -> None:
    """Check the samples of one dataset.

    Args:
        plan: what the model asks for.
        name: of the dataset.
        path: of the dataset.
        config: the steps that a sample of it holds.
        findings: to which the findings are added.
        max_trajectories: number of episodes whose timestamps and samples are looked at.
        seed: determines the choice of these.
        remedy: what to do where there is no such folder.
    """
    source = open_dataset(plan, name, path, findings, remedy)
    if source is None:
        findings.skip(_with_readings(plan, name, *OF_SAMPLES), "the dataset cannot be opened")
        return
    fits = check_metadata(plan, name, config, source, findings)
    generator = np.random.default_rng(seed)
    chosen = sorted(generator.permutation(len(source))[:max_trajectories].tolist())
    looked_at = f"{len(chosen)} of {with_noun(len(source), 'episode')}"
    measured = [key for key in plan.depths if key in source.streams]
    attempt(
        findings,
        f"timestamps.{name}",
        lambda: timestamps_problem(source, [*_cameras(source), *measured, ACTION_KEY], chosen),
        f"times increase without a gap in {looked_at}",
    )
    if not fits or plan.k not in config.observation_indices:
        reason = "its streams do not fit" if not fits else f"no sample of it has a target, see observes_k.{name}"
        findings.skip(_with_readings(plan, name, "samples", "decode"), reason)
        return
    _check_samples(plan, source, config, path, name, chosen, findings)
    if plan.depths:
        places = [(episode, step) for episode in chosen for step in steps_to_look_at(_length(source, episode), plan.k)]
        attempt(
            findings,
            f"readings.{name}",
            lambda: readings_problem(plan.depths, source, places),
            readings_told(plan.depths, places),
        )


def _with_readings(plan: TemporalPlan, name: str, *checks: str) -> list[str]:
    """Names of checks of one dataset, with that of its depth where the model reads some."""
    return [f"{check}.{name}" for check in (*checks, *(("readings",) if plan.depths else ()))]


def open_dataset(plan: TemporalPlan, name: str, path: Path, findings: Findings, remedy: str) -> EpisodeSource | None:
    """Return a dataset; None if it is not there, or cannot be opened.

    Args:
        plan: how it is opened.
        name: of the dataset.
        path: of the dataset.
        findings: to which the findings are added.
        remedy: what to do where there is no such folder.
    """
    missing = f"{path}: no such dataset; {remedy}"
    there = findings.require(f"path.{name}", None if path.exists() else missing, f"{path}")
    source = _opened(plan, path, f"opens.{name}", findings) if there else None
    if source is None:
        measured = ("depth", "calibration") if plan.depths else ()
        findings.skip([f"{check}.{name}" for check in (*OF_METADATA, *measured)], "the dataset cannot be opened")
    return source


def check_metadata(
    plan: TemporalPlan, name: str, config: TemporalDataConfig, source: EpisodeSource, findings: Findings
) -> bool:
    """Check what the metadata of one dataset say; return whether its streams fit the model.

    Args:
        plan: what the model asks for.
        name: of the dataset.
        config: the steps that a sample of it holds.
        source: the dataset.
        findings: to which the findings are added.
    """
    fits = findings.require(f"streams.{name}", _streams_problem(plan, source), _streams_told(plan, source))
    _count_targets(plan, config, source, name, findings)
    return check_depth(plan, name, source, findings) and fits


def _opened(plan: TemporalPlan, path: Path, id: str, findings: Findings) -> EpisodeSource | None:
    try:
        source = open_source(path, **plan.open_options)
    except (ValueError, OSError) as problem:
        findings.require(id, str(problem), "")
        return None
    findings.require(id, None, f"{with_noun(len(source), 'episode')} at {source.rate_hz:g} Hz")
    return source


def attempt(findings: Findings, id: str, look: Callable[[], str | None], holds: str) -> None:
    """Add what a look at the data finds; data that cannot be read are a problem as well."""
    try:
        problem = look()
    except (ValueError, OSError) as error:
        problem = str(error)
    findings.require(id, problem, holds)


def _cameras(source: EpisodeSource) -> list[str]:
    return [key for key, stream in source.streams.items() if stream.kind == "image"]


def _streams_problem(plan: TemporalPlan, source: EpisodeSource) -> str | None:
    """Return what the dataset lacks, or has in another size than the model."""
    known = _cameras(source)
    if not known:
        return f"{source.name}: has no camera; a sample of now and later needs pictures"
    found, remedies = [], []
    missing = [camera for camera in plan.cameras or () if camera not in known]
    if missing:
        found.append(f"has no camera {missing[0]!r}")
        remedies.append(f"model.cameras to some of {known}")
    wanted = {ACTION_KEY: plan.action_dim} | ({STATE_KEY: plan.state_dim} if plan.include_state else {})
    for key, size in wanted.items():
        if key not in source.streams:
            return f"{source.name}: has no stream {key!r}; it has {', '.join(sorted(source.streams))}"
        shape = source.streams[key].shape
        if size is not None and shape != (size,):
            setting = "robot_state_dim" if key == STATE_KEY else "action_dim"
            found.append(f"stream {key!r} has shape {list(shape)}, but the model's {setting} is {size}")
            remedies.append(f"model.{setting}={shape[0] if shape else 1}")
    return f"{source.name}: {', '.join(found)}; set {' and '.join(remedies)}" if found else None


def _streams_told(plan: TemporalPlan, source: EpisodeSource) -> str:
    keys = (ACTION_KEY, *((STATE_KEY,) if plan.include_state else ()))
    sizes = [f"{key} of {math.prod(source.streams[key].shape)}" for key in keys if key in source.streams]
    return f"{with_noun(len(_cameras(source)), 'camera')}, {', '.join(sizes)} dimensions"


def _count_targets(
    plan: TemporalPlan, config: TemporalDataConfig, source: EpisodeSource, name: str, findings: Findings
) -> None:
    """Count the steps of a dataset, and those with a target."""
    counted = {steps: count_targets(source, steps) for steps in plan.later if steps in config.observation_indices}
    found = counted.get(plan.k, TargetCount(plan.k, len(source), count_targets(source, plan.k).steps, 0, len(source)))
    findings.figures[name] = {
        "episodes": found.episodes,
        "steps": found.steps,
        "valid_tk": found.targets,
        "valid_tk_ratio": found.share,
        "episodes_without_target": found.too_short,
    }
    further = {steps: counted[steps] for steps in plan.horizons if steps in counted}
    if further:
        findings.figures[name]["valid_by_horizon"] = {str(steps): each.targets for steps, each in further.items()}
    if not plan.predicts:
        findings.skip([f"targets.{name}"], "the model looks at no later frame")
        return
    none = [each for each in (found, *further.values()) if not each.targets]
    problem = (
        f"{none[0]}; record longer episodes, or lower {'k' if none[0] is found else 'model.horizons'}" if none else None
    )
    if problem is not None and plan.k not in counted:
        problem = f"{found}; see observes_k.{name}"
    told = [str(found), *(f"{each.share:.1%} {steps} steps later" for steps, each in further.items())]
    if found.too_short:
        verb = "is" if found.too_short == 1 else "are"
        told[-1] += f"; {found.too_short} of {with_noun(found.episodes, 'episode')} {verb} too short for any"
    findings.require(f"targets.{name}", problem, ", ".join(told))


def timestamps_problem(source: EpisodeSource, keys: list[str], episodes: list[int]) -> str | None:
    """Return where times do not increase, or have a gap; None if they are sound."""
    for episode in episodes:
        for key in keys:
            times = source.timestamps(episode, key)
            steps = np.diff(times)
            period = 1.0 / source.streams[key].rate_hz
            where = f"{source.name}: episode {episode}, {key!r}"
            if not np.isfinite(times).all():
                return f"{where}: a timestamp is not finite; record it again, or remove the episode"
            if (steps <= 0).any():
                place = int(np.argmax(steps <= 0))
                return (
                    f"{where}: timestamp {times[place + 1]:g} s follows {times[place]:g} s at step {place + 1}; times "
                    "must increase"
                )
            if len(steps) and steps.max() > LARGEST_GAP * period:
                place = int(np.argmax(steps))
                return (
                    f"{where}: a gap of {steps[place]:.3g} s before step {place + 1}, at {1 / period:g} Hz; frame "
                    f"t + k is then another time away than k steps"
                )
    return None


def _check_samples(
    plan: TemporalPlan,
    source: EpisodeSource,
    config: TemporalDataConfig,
    path: Path,
    name: str,
    episodes: list[int],
    findings: Findings,
) -> None:
    """Fetch samples with a target and without one, and compare them with what the files hold."""
    part = TemporalPart(source, config, cameras=plan.cameras)
    try:
        samples = TemporalDataset(
            [part], k=plan.k, size=plan.image_size, include_state=plan.include_state, normalization=None
        )
    except (ValueError, OSError) as problem:
        findings.require(f"samples.{name}", str(problem), "")
        findings.skip([f"decode.{name}"], "there are no samples")
        return
    places = [(episode, step) for episode in episodes for step in steps_to_look_at(_length(source, episode), plan.k)]
    fetched: dict[tuple[int, int], dict[str, Any]] = {}

    def look() -> str | None:
        for episode, step in places:
            row = samples.at(0, episode, step)
            if pictures_problem(row, samples.views[0]) is None:
                fetched[episode, step] = row
            problem = sample_problem(row, samples.views[0], source, episode, step)
            if problem is not None:
                return f"{source.name}: episode {episode}, step {step}: {problem}"
        return None

    def decode() -> str | None:
        again = open_source(path, **plan.open_options)
        for (episode, step), row in fetched.items():
            problem = decode_problem(row, samples.views[0], again, episode, step)
            if problem is not None:
                return f"{source.name}: episode {episode}, step {step}: {problem}"
        return None

    aimed = sum(step + plan.k < _length(source, episode) for episode, step in places)
    told = f"{with_noun(len(places), 'sample')} from {with_noun(len(episodes), 'episode')}"
    told += f": {aimed} with a target, and {len(places) - aimed} rightly without one"
    attempt(findings, f"samples.{name}", look, told)
    aimed = sum(step + plan.k < _length(source, episode) for episode, step in fetched)
    told = f"image_t of {with_noun(len(fetched), 'sample')} is the frame at t; "
    told += f"image_tk of the {aimed} with a target is that at t + {plan.k}"
    attempt(findings, f"decode.{name}", decode, told)


def _length(source: EpisodeSource, episode: int) -> int:
    return source.episode(episode).length


def steps_to_look_at(length: int, k: int) -> list[int]:
    """Return the middle one of the steps with a target, the last of them, the first one without and the last one."""
    valid = max(length - k, 0)
    inside = [valid // 2, valid - 1] if valid else []
    return sorted({*inside, *([valid] if valid < length else []), length - 1})
