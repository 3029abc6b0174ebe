"""Demonstrations of LIBERO's scripted expert, as LIBERO's own HDF5 files and as a LeRobot dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any, Literal

import numpy as np

from tempovla.data.lerobot import open_dataset
from tempovla.data.libero_layout import EE_STATE_KEY
from tempovla.data.libero_writer import LiberoEpisodeExtras, LiberoHdf5Writer
from tempovla.data.writer import DatasetWriter, infer_features
from tempovla.env.collect import CollectConfig, Demonstration, attempt_episodes, collect_episodes
from tempovla.env.expert import ActionNoise
from tempovla.env.libero import CONTROL_RATE_HZ, LiberoConfig
from tempovla.env.libero_expert import check_expert
from tempovla.env.libero_suites import problem_file, task_names
from tempovla.recipe.progress import CountProgress
from tempovla.recipe.results import pool, summarize
from tempovla.rollout.metrics import SuccessRate
from tempovla.storage.json_files import read_json, write_json
from tempovla.storage.lock import FolderLock
from tempovla.timeline.bodies import LIBERO_PANDA
from tempovla.timeline.keys import ACTION_KEY, STATE_KEY

HDF5, LEROBOT, RECORD = "hdf5", "lerobot", "collect.json"
MAX_STEPS = 200
"""Experts that take longer, as their disturbance had its way with them, are no example to follow."""


@dataclass(frozen=True)
class LiberoCollectConfig:
    """What demonstrations are asked for.

    Attributes:
        suite: whose tasks; there is an expert for libero_object.
        tasks: the tasks; none are all of the suite.
        episodes_per_task: successful episodes of each.
        seed: same seed, same demonstrations.
        image_size: height and width of each camera's image, in pixels.
        rendering: "exact" or "fast"; see `LiberoConfig`. Evaluate with the same.
        noise: the largest standard deviation of the disturbance of what is executed, in units of the action; 0 for
            none. What is recorded is always what the expert wanted (DART, Laskey et al., 2017).
        noise_correlation: of the disturbance, from one control step to the next.
        init_states: "random" placements, so that the benchmark's initial states stay unseen until the evaluation, or
            "benchmark".
        joint_noise_rad: standard deviation of the arm's joints at the beginning of random placements, by default that
            of the benchmark's states: LIBERO's own sampler moves objects alone.
    """

    suite: str = "libero_object"
    tasks: tuple[str, ...] = ()
    episodes_per_task: int = 50
    seed: int = 0
    image_size: int = 128
    rendering: Literal["exact", "fast"] = "exact"
    noise: float = 0.3
    noise_correlation: float = 0.8
    init_states: Literal["random", "benchmark"] = "random"
    joint_noise_rad: float = 0.02

    def __post_init__(self) -> None:
        check_expert(self.suite)
        self.environment()
        if self.episodes_per_task < 1:
            raise ValueError(f"episodes_per_task={self.episodes_per_task} must be at least 1")
        if self.noise < 0:
            raise ValueError(f"noise={self.noise} must not be negative; 0 is none")
        if not 0 <= self.noise_correlation < 1:
            raise ValueError(f"noise_correlation={self.noise_correlation} must be at least 0 and less than 1")
        if self.init_states not in ("random", "benchmark"):
            raise ValueError(f"init_states={self.init_states!r}; choose random or benchmark")

    def task_names(self) -> tuple[str, ...]:
        """The tasks, in order."""
        return self.tasks or task_names(self.suite)

    def environment(self) -> LiberoConfig:
        """The environments that experts play in."""
        return LiberoConfig(
            suite=self.suite,
            image_size=self.image_size,
            rendering=self.rendering,
            joint_noise_rad=self.joint_noise_rad,
            max_steps=MAX_STEPS,
        )

    def behaviour(self) -> CollectConfig:
        """How experts demonstrate."""
        noise = ActionNoise(max_sigma=self.noise, correlation=self.noise_correlation) if self.noise else None
        return CollectConfig(noise=noise, steps_after_success=10, init_states=self.init_states)

    def recording(self) -> dict[str, Any]:
        """How the pictures are made, for whoever evaluates."""
        return {
            "simulator": "libero",
            "suite": self.suite,
            "rendering": self.rendering,
            "image_size": self.image_size,
        }

    def to_json(self) -> dict[str, Any]:
        """All of it, as plain JSON values."""
        return self.__dict__ | {"tasks": list(self.task_names())}


def collect_libero(folder: str | Path, config: LiberoCollectConfig, *, workers: int = 2) -> dict[str, Any]:
    """Write the demonstrations into `folder`, or those that an interrupted run of the same call left out.

    `hdf5/` holds a file a task as LIBERO has them, `lerobot/` a LeRobot v3.0 dataset of the same episodes, and
    `collect.json` what was asked for and how the expert fared.

    Returns:
        What `expert_results` says.

    Raises:
        ValueError: for an unknown suite or task, or if the folder holds something else or another process writes there.
    """
    folder = Path(folder)
    with FolderLock(folder, "collects demonstrations", remedy="let it end, or choose another folder"):
        return _collect_held(folder, config, workers)


def _collect_held(folder: Path, config: LiberoCollectConfig, workers: int) -> dict[str, Any]:
    record = _opened_record(folder, config)
    with LiberoHdf5Writer(folder / HDF5, recording=config.recording(), resume=True) as hdf5, ExitStack() as stack:
        _collect_missing(folder, config, workers, record, hdf5, stack)
    episodes = record["episodes"].items()
    record["expert"] = expert_results(
        {
            task: SuccessRate(len(done), sum(episode["attempts"] for episode in done.values()))
            for task, done in episodes
        },
        {task: [episode["steps"] for episode in done.values()] for task, done in episodes},
    )
    write_json(folder / RECORD, record)
    return record["expert"]


def _collect_missing(
    folder: Path,
    config: LiberoCollectConfig,
    workers: int,
    record: dict[str, Any],
    hdf5: LiberoHdf5Writer,
    stack: ExitStack,
) -> None:
    """Write the episodes that are missing in one of the formats; the stack closes the LeRobot dataset."""
    tasks, per_task = config.task_names(), config.episodes_per_task
    lerobot_done = len(open_dataset(folder / LEROBOT)) if (folder / LEROBOT / "meta" / "info.json").exists() else 0
    hdf5_done = [hdf5.episodes_written(task) for task in tasks]
    skip = min(lerobot_done, _leading(hdf5_done, per_task))
    lerobot: DatasetWriter | None = None
    episodes = collect_episodes(
        tasks,
        per_task,
        config.seed,
        workers=workers,
        env_config=config.environment(),
        config=config.behaviour(),
        skip=skip,
    )
    with CountProgress("demonstrations", len(tasks) * per_task, done=skip) as progress:
        for index, demonstration in enumerate(episodes, start=skip):
            task, episode = demonstration.task, index % per_task
            lerobot = lerobot or stack.enter_context(_lerobot_writer(folder / LEROBOT, demonstration, config))
            record["episodes"][task][str(episode)] = {
                "seed": demonstration.seed,
                "init_state": demonstration.init_state,
                "attempts": demonstration.attempts,
                "steps": len(demonstration.executed),
            }
            write_json(folder / RECORD, record)
            # A kill between the two formats leaves an episode in one of them; the next run adds it to the other.
            if hdf5.episodes_written(task) <= episode:
                hdf5.add_episode(task, demonstration.instruction, *_hdf5_episode(config.suite, demonstration))
            if len(lerobot) <= index:
                lerobot.add_episode(demonstration.steps, demonstration.instruction)
            progress.advance(now=task)


def measure_expert(config: LiberoCollectConfig, *, workers: int = 2) -> dict[str, Any]:
    """Let the expert play every episode once, without drawing or keeping anything; what `expert_results` says.

    Raises:
        ValueError: for an unknown suite or task.
    """
    tasks, per_task = config.task_names(), config.episodes_per_task
    outcomes: dict[str, list[bool]] = {task: [] for task in tasks}
    steps: dict[str, list[int]] = {task: [] for task in tasks}
    attempts = attempt_episodes(
        tasks, per_task, config.seed, workers=workers, env_config=config.environment(), config=config.behaviour()
    )
    with CountProgress("attempts", len(tasks) * per_task) as progress:
        for attempt in attempts:
            outcomes[attempt.task].append(attempt.success)
            if attempt.success:
                steps[attempt.task].append(attempt.steps)
            progress.advance(now=attempt.task)
    return expert_results({task: SuccessRate.of(successes) for task, successes in outcomes.items()}, steps)


def expert_results(rates: Mapping[str, SuccessRate], steps: Mapping[str, Sequence[int]]) -> dict[str, Any]:
    """Success of the expert's attempts and the mean length of its successful episodes, by task and together."""
    blocks = {
        task: summarize(rate) | {"mean_steps": round(mean(steps[task]), 1) if steps[task] else None}
        for task, rate in rates.items()
    }
    every = [length for lengths in steps.values() for length in lengths]
    together = summarize(pool(list(rates.values()))) | {"mean_steps": round(mean(every), 1) if every else None}
    return {"tasks": blocks, "mean": together}


def _opened_record(folder: Path, config: LiberoCollectConfig) -> dict[str, Any]:
    """What `collect.json` says, or its beginning.

    Raises:
        ValueError: if the folder holds demonstrations that were asked for in other words.
    """
    path = folder / RECORD
    if not _holds_demonstrations(folder):  # nothing yet, or what a call left that failed before its first episode
        return {"asked": config.to_json(), "episodes": {task: {} for task in config.task_names()}}
    if not path.exists():
        raise ValueError(f"{path}: no such file, but there are demonstrations; choose another folder")
    record = read_json(path, remedy="choose another folder")
    for key, value in config.to_json().items():
        if record["asked"].get(key) != value:
            raise ValueError(
                f"{path}: {key} was {record['asked'].get(key)}, and is {value} now; choose another folder, or repeat "
                "the call that made it"
            )
    return record


def _holds_demonstrations(folder: Path) -> bool:
    """Whether there is an episode, in either format."""
    if any((folder / HDF5).glob("*.hdf5")):
        return True
    return (folder / LEROBOT / "meta" / "info.json").exists() and len(open_dataset(folder / LEROBOT)) > 0


def _leading(done: Sequence[int], per_task: int) -> int:
    """How many episodes, task by task, are there without a gap."""
    full = next((index for index, count in enumerate(done) if count < per_task), len(done))
    return full * per_task + (done[full] if full < len(done) else 0)


def _lerobot_writer(folder: Path, demonstration: Demonstration, config: LiberoCollectConfig) -> DatasetWriter:
    names = {STATE_KEY: LIBERO_PANDA.state_names, ACTION_KEY: LIBERO_PANDA.action_names}
    features = infer_features(demonstration.steps, names)
    return DatasetWriter(
        folder,
        features,
        LIBERO_PANDA.rate_hz,
        robot_type=LIBERO_PANDA.name,
        recording=config.recording(),
        resume=True,
    )


def _hdf5_episode(suite: str, demonstration: Demonstration) -> tuple[dict[str, Any], LiberoEpisodeExtras]:
    steps = demonstration.steps | {EE_STATE_KEY: demonstration.simulator["ee_states"].astype(np.float32)}
    extras = LiberoEpisodeExtras(
        states=demonstration.simulator["states"],
        executed=demonstration.executed,
        bddl_file=problem_file(suite, demonstration.task),
        env_kwargs={"robots": ["Panda"], "control_freq": CONTROL_RATE_HZ},
        **demonstration.environment,
    )
    return steps, extras
