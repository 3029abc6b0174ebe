"""Demonstrations of a simulator's scripted experts as a LeRobot dataset."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean
from typing import Any, Literal, get_args

from numpy.typing import NDArray

from tempovla.data.layout import Feature
from tempovla.data.lerobot import LeRobotSource, open_dataset
from tempovla.data.outcomes import outcomes_lacking, without
from tempovla.data.writer import DatasetWriter, held_dataset, infer_features
from tempovla.env.collect import CollectConfig, attempt_episodes, collect_episodes
from tempovla.env.defaults import InitStates, sensors_on
from tempovla.env.expert import ActionNoise
from tempovla.env.protocol import SimulatorConfig
from tempovla.env.registry import simulator_name
from tempovla.recipe.progress import CountProgress
from tempovla.recipe.results import pool, summarize
from tempovla.rollout.metrics import SuccessRate
from tempovla.storage.json_files import read_json, write_json
from tempovla.storage.lock import Lock
from tempovla.timeline.keys import ACTION_KEY, STATE_KEY

LOGGER = logging.getLogger(__name__)

Pictures = Literal["video", "image"]

RECORD = Path("meta") / "collect.json"
"""The request, beside the dataset's own metadata; a run that goes on in a folder must have the same one."""


@dataclass(frozen=True)
class Collection:
    """The demonstrations to collect.

    Attributes:
        env_config: the simulator, such as the `for_experts()` of its config.
        tasks: names of its tasks.
        episodes: demonstrations of each task.
        seed: the same seed gives the same demonstrations.
        experts: how experts demonstrate; None takes the simulator's own way.
        pictures: whether pictures are kept as a "video", which is small and loses details, or each as an "image",
            exactly as it is seen.
        scenes: demonstrations in all, of the tasks in turn, where a simulator's are scenes; None takes `episodes` of
            each task.
    """

    env_config: SimulatorConfig
    tasks: Sequence[str]
    episodes: int
    seed: int = 0
    experts: CollectConfig | None = None
    pictures: Pictures = "video"
    scenes: int | None = None

    def __post_init__(self) -> None:
        if self.scenes is not None and self.scenes < 1:
            raise ValueError(f"scenes={self.scenes} must be at least 1")
        if self.episodes < 1:
            raise ValueError(f"episodes={self.episodes} must be at least 1")
        if self.pictures not in get_args(Pictures):
            raise ValueError(f"pictures={self.pictures!r}; choose video or image")
        self.behaviour  # noqa: B018  a simulator without experts says so before anything is written

    @property
    def behaviour(self) -> CollectConfig:
        """How experts demonstrate."""
        return self.experts or self.env_config.experts()

    def features(self, steps: Mapping[str, NDArray[Any]]) -> dict[str, Feature]:
        """Return the columns of a dataset of demonstrations such as this one."""
        body = self.env_config.embodiment
        names = {STATE_KEY: body.state_names, ACTION_KEY: body.action_names}
        kept = infer_features(steps, names)
        if self.pictures == "video":
            return kept
        return {key: replace(one, dtype="image") if one.dtype == "video" else one for key, one in kept.items()}

    def asked(self) -> dict[str, Any]:
        """Return the request that a continued run must repeat."""
        own, usual = self.behaviour, self.env_config.experts()
        config, default = self.env_config, type(self.env_config)()
        settings = {name: getattr(config, name) for name in config.recorded}
        for name in config.varied:  # requests of before there was the field say nothing of it
            if settings[name] == getattr(default, name):
                del settings[name]
        settings |= sensors_on(config)
        noise = 0.0 if own.noise is None else own.noise.max_sigma
        changed: dict[str, Any] = {"noise": noise} if own.noise != usual.noise else {}
        changed |= {"pictures": self.pictures} if self.pictures != "video" else {}
        changed |= {"init_states": own.init_states} if own.init_states != usual.init_states else {}
        return {"tasks": list(self.tasks), "episodes": self.episodes, "seed": self.seed} | settings | changed


def experts_of(
    env_config: SimulatorConfig, noise: float | None = None, init_states: InitStates | None = None
) -> CollectConfig:
    """Return how a simulator's experts demonstrate.

    Args:
        env_config: the simulator.
        noise: the largest standard deviation of the disturbance of what is executed, in units of the action; 0 is
            none, and None the simulator's own.
        init_states: "random" placements, drawn from the seed, or the "benchmark"'s own; None is the simulator's own.

    Raises:
        ValueError: if there are no experts, or the noise is negative.
    """
    usual = env_config.experts()
    if init_states is not None:
        usual = replace(usual, init_states=init_states)
    if noise is None:
        return usual
    return replace(usual, noise=replace(usual.noise or ActionNoise(), max_sigma=noise) if noise else None)


def collect_dataset(root: str | Path, collection: Collection, *, workers: int = 2) -> LeRobotSource:
    """Write the demonstrations, or those that an interrupted run of the same call left out.

    Experts are disturbed while they act, but their undisturbed actions are recorded: a policy that imitates them
    so learns to recover from its own errors (DART, Laskey et al., 2017).

    Raises:
        ValueError: for an unknown task, or if the folder holds something else, or another process writes there.
    """
    with held_dataset(Path(root)) as lock:
        return _collect_held(lock, Path(root), collection, workers)


def _collect_held(lock: Lock, root: Path, collection: Collection, workers: int) -> LeRobotSource:
    asked, config = collection.asked(), collection.env_config
    recording: Mapping[str, Any] = config.recording(simulator_name(config))
    done = episodes_done(root, asked)
    total = len(collection.tasks) * collection.episodes
    if done:
        recording = open_dataset(root).recording  # as `asked` is the same, so is this, unless nothing was said then
    lacking = outcomes_lacking(root)
    writer: DatasetWriter | None = None
    for demonstration in collect_episodes(
        collection.tasks,
        collection.episodes,
        collection.seed,
        workers=workers,
        env_config=config,
        config=collection.behaviour,
        skip=done,
    ):
        steps = without(demonstration.steps, lacking)
        if writer is None:
            body, features = config.embodiment, collection.features(steps)
            facts: dict[str, Any] = {"robot_type": body.name, "recording": recording}
            writer = DatasetWriter(root, features, body.rate_hz, **facts, resume=True, held=lock)
            write_json(root / RECORD, asked)
        writer.calibrate(demonstration.cameras)
        writer.add_episode(steps, demonstration.instruction)
        if len(writer) % collection.episodes == 0 or len(writer) == total:
            LOGGER.info("%s: %d of %d demonstrations", demonstration.task, len(writer), total)
    if writer is not None:
        writer.close()
    return open_dataset(root)


def episodes_done(root: Path, asked: dict[str, Any]) -> int:
    """Return how many of the requested demonstrations are in the folder already.

    Raises:
        ValueError: if it holds others.
    """
    if not (root / "meta" / "info.json").exists():
        return 0
    done = len(open_dataset(root))
    if not done:  # of a call that failed before its first episode
        return 0
    recorded = read_json(root / RECORD, remedy="choose another folder")
    for key in {**asked, **recorded}:
        before, now = (_shown(settings, key) for settings in (recorded, asked))
        if before != now:
            raise ValueError(
                f"{root / RECORD}: {key} was {before}, and is {now} now; choose another folder, or repeat the call "
                "that made it"
            )
    return done


def _shown(settings: Mapping[str, Any], key: str) -> Any:
    return settings.get(key, "the simulator's own")


def measure_experts(collection: Collection, *, workers: int = 2) -> dict[str, Any]:
    """Let the experts play every episode once, without drawing or saving it; return `expert_results`.

    Raises:
        ValueError: for an unknown task.
    """
    tasks, per_task = collection.tasks, collection.episodes
    outcomes: dict[str, list[bool]] = {task: [] for task in tasks}
    steps: dict[str, list[int]] = {task: [] for task in tasks}
    attempts = attempt_episodes(
        tasks,
        per_task,
        collection.seed,
        workers=workers,
        env_config=collection.env_config,
        config=collection.behaviour,
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
