"""Demonstrations of scripted experts on Meta-World's arm as a LeRobot dataset."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tempovla.data.lerobot import LeRobotSource, open_dataset
from tempovla.data.writer import DatasetWriter, held_dataset, infer_features
from tempovla.env.collect import CollectConfig, collect_episodes
from tempovla.env.embodiment import METAWORLD_SAWYER
from tempovla.env.expert import ActionNoise
from tempovla.env.memory import MemoryConfig
from tempovla.env.metaworld import MetaWorldConfig
from tempovla.env.protocol import SimulatorConfig
from tempovla.storage.json_files import read_json, write_json
from tempovla.storage.lock import Lock
from tempovla.timeline.keys import ACTION_KEY, STATE_KEY

LOGGER = logging.getLogger(__name__)

MAX_STEPS = 200
"""Experts that take longer, as their disturbance had its way with them, are no example to follow."""

RECORD = Path("meta") / "collect.json"
"""What was asked for, beside the dataset's own metadata: what goes on in a folder must be the same."""


def collect_dataset(
    root: str | Path, tasks: Sequence[str], episodes: int, seed: int, *, workers: int = 2
) -> LeRobotSource:
    """Write `episodes` demonstrations of each task, or those that an interrupted run of the same call left out.

    Experts are disturbed while they act, and what is recorded is what they wanted to do: a policy that imitates them
    so learns to recover from its own errors (DART, Laskey et al., 2017).

    Raises:
        ValueError: for an unknown task, or if the folder holds something else, or another process writes there.
    """
    asked = {"tasks": list(tasks), "episodes": episodes, "seed": seed}
    return _collect(Path(root), asked, MetaWorldConfig(max_steps=MAX_STEPS), workers)


def collect_memory(
    root: str | Path, tasks: Sequence[str], episodes: int, seed: int, env_config: MemoryConfig, *, workers: int = 2
) -> LeRobotSource:
    """Like `collect_dataset`, of the memory benchmark; the dataset tells evaluations how long cues and delays are."""
    held = {"cue_steps": env_config.cue_steps, "delay_steps": env_config.delay_steps}
    asked = {"tasks": list(tasks), "episodes": episodes, "seed": seed} | held
    return _collect(Path(root), asked, env_config, workers, {"simulator": "memory"} | held)


def _collect(
    root: Path,
    asked: dict[str, Any],
    env_config: SimulatorConfig,
    workers: int,
    recording: Mapping[str, Any] | None = None,
) -> LeRobotSource:
    """What `collect_dataset` says, in any environment of Meta-World's arm.

    Args:
        root: the folder.
        asked: what must not change where an interrupted run is gone on with.
        env_config: where experts play.
        workers: simulation processes.
        recording: what the dataset says of how it was recorded.
    """
    with held_dataset(root) as lock:
        return _collect_held(lock, root, asked, env_config, workers, recording)


def _collect_held(
    lock: Lock,
    root: Path,
    asked: dict[str, Any],
    env_config: SimulatorConfig,
    workers: int,
    recording: Mapping[str, Any] | None,
) -> LeRobotSource:
    collect = CollectConfig(noise=ActionNoise(max_sigma=0.5, correlation=0.5), binary_gripper=True)
    tasks, episodes = asked["tasks"], asked["episodes"]
    done = episodes_done(root, asked)
    total = len(tasks) * episodes
    if done:
        recording = open_dataset(root).recording  # as `asked` is the same, so is this, unless nothing was said then
    writer: DatasetWriter | None = None
    for demonstration in collect_episodes(
        tasks,
        episodes,
        asked["seed"],
        workers=workers,
        env_config=env_config,
        config=collect,
        skip=done,
    ):
        if writer is None:
            body = METAWORLD_SAWYER
            names = {STATE_KEY: body.state_names, ACTION_KEY: body.action_names}
            features = infer_features(demonstration.steps, names)
            facts: dict[str, Any] = {"robot_type": body.name, "recording": recording}
            writer = DatasetWriter(root, features, body.rate_hz, **facts, resume=True, held=lock)
            write_json(root / RECORD, asked)
        writer.add_episode(demonstration.steps, demonstration.instruction)
        if len(writer) % episodes == 0 or len(writer) == total:
            LOGGER.info("%s: %d of %d demonstrations", demonstration.task, len(writer), total)
    if writer is not None:
        writer.close()
    return open_dataset(root)


def episodes_done(root: Path, asked: dict[str, Any]) -> int:
    """How many of the demonstrations asked for are in the folder already.

    Raises:
        ValueError: if it holds others.
    """
    if not (root / "meta" / "info.json").exists():
        return 0
    done = len(open_dataset(root))
    if not done:  # of a call that failed before its first episode
        return 0
    recorded = read_json(root / RECORD, remedy="choose another folder")
    for key, value in asked.items():
        if recorded.get(key) != value:
            raise ValueError(
                f"{root / RECORD}: {key} was {recorded.get(key)}, and is {value} now; choose another folder, or repeat "
                "the call that made it"
            )
    return done
