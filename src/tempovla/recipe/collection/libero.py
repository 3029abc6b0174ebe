"""Demonstrations of LIBERO's scripted expert, as LIBERO's own HDF5 files and as a LeRobot dataset."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tempovla.data.lerobot import open_dataset
from tempovla.data.libero_layout import EE_STATE_KEY
from tempovla.data.libero_writer import LiberoEpisodeExtras, LiberoHdf5Writer
from tempovla.data.outcomes import outcomes_lacking, without
from tempovla.data.writer import DatasetWriter
from tempovla.env.collect import Demonstration, collect_episodes
from tempovla.env.defaults import sensors_on
from tempovla.env.expert import ActionNoise
from tempovla.env.libero import CONTROL_RATE_HZ, LiberoConfig
from tempovla.env.libero_suites import problem_file
from tempovla.recipe.collection.collect import Collection, expert_results
from tempovla.recipe.progress import CountProgress
from tempovla.rollout.metrics import SuccessRate
from tempovla.storage.json_files import read_json, write_json
from tempovla.storage.lock import FolderLock
from tempovla.timeline.bodies import LIBERO_PANDA
from tempovla.timeline.keys import SUCCESS_KEY, TERMINATED_KEY

HDF5, LEROBOT, RECORD = "hdf5", "lerobot", "collect.json"
SIMULATOR = "libero"


def asked_for(collection: Collection) -> dict[str, Any]:
    """Return the request that a continued run must repeat, as plain JSON values."""
    config, experts = _config(collection), collection.behaviour
    return {
        "suite": config.suite,
        "tasks": list(collection.tasks),
        "episodes_per_task": collection.episodes,
        "seed": collection.seed,
        "image_size": config.image_size,
        "rendering": config.rendering,
        "noise": 0.0 if experts.noise is None else experts.noise.max_sigma,
        "noise_correlation": (experts.noise or config.experts().noise or ActionNoise()).correlation,
        "init_states": experts.init_states,
        "joint_noise_rad": config.joint_noise_rad,
        **({} if collection.pictures == "video" else {"pictures": collection.pictures}),
        **sensors_on(config),
    }


def _config(collection: Collection) -> LiberoConfig:
    assert isinstance(collection.env_config, LiberoConfig)
    return collection.env_config


def collect_libero(folder: str | Path, collection: Collection, *, workers: int = 2) -> dict[str, Any]:
    """Write the demonstrations into `folder`, or those that an interrupted run of the same call left out.

    `hdf5/` holds a file a task as LIBERO has them, `lerobot/` a LeRobot v3.0 dataset of the same episodes, and
    `collect.json` the request and the expert's results.

    Returns:
        The value of `expert_results`.

    Raises:
        ValueError: for an unknown suite or task, or if the folder holds something else or another process writes there.
    """
    folder = Path(folder)
    with FolderLock(folder, "collects demonstrations", remedy="let it end, or choose another folder"):
        return _collect_held(folder, collection, workers)


def _collect_held(folder: Path, collection: Collection, workers: int) -> dict[str, Any]:
    record = _opened_record(folder, collection)
    recording = collection.env_config.recording(SIMULATOR)
    with LiberoHdf5Writer(folder / HDF5, recording=recording, resume=True) as hdf5, ExitStack() as stack:
        _collect_missing(folder, collection, workers, record, hdf5, stack)
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
    collection: Collection,
    workers: int,
    record: dict[str, Any],
    hdf5: LiberoHdf5Writer,
    stack: ExitStack,
) -> None:
    """Write the episodes that are missing in one of the formats; the stack closes the LeRobot dataset."""
    tasks, per_task, config = collection.tasks, collection.episodes, _config(collection)
    lerobot_done = len(open_dataset(folder / LEROBOT)) if (folder / LEROBOT / "meta" / "info.json").exists() else 0
    hdf5_done = [hdf5.episodes_written(task) for task in tasks]
    skip = min(lerobot_done, _leading(hdf5_done, per_task))
    lacking = outcomes_lacking(folder / LEROBOT)
    lerobot: DatasetWriter | None = None
    episodes = collect_episodes(
        tasks,
        per_task,
        collection.seed,
        workers=workers,
        env_config=config,
        config=collection.behaviour,
        skip=skip,
    )
    with CountProgress("demonstrations", len(tasks) * per_task, done=skip) as progress:
        for index, demonstration in enumerate(episodes, start=skip):
            task, episode = demonstration.task, index % per_task
            steps = without(demonstration.steps, lacking)
            lerobot = lerobot or stack.enter_context(_lerobot_writer(folder / LEROBOT, steps, collection))
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
                lerobot.calibrate(demonstration.cameras)
                lerobot.add_episode(steps, demonstration.instruction)
            progress.advance(now=task)


def _opened_record(folder: Path, collection: Collection) -> dict[str, Any]:
    """What `collect.json` says, or its beginning.

    Raises:
        ValueError: if the folder holds demonstrations of another request.
    """
    path = folder / RECORD
    if not _holds_demonstrations(folder):  # nothing yet, or what a call left that failed before its first episode
        return {"asked": asked_for(collection), "episodes": {task: {} for task in collection.tasks}}
    if not path.exists():
        raise ValueError(f"{path}: no such file, but there are demonstrations; choose another folder")
    record = read_json(path, remedy="choose another folder")
    for key, value in asked_for(collection).items():
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


def _lerobot_writer(folder: Path, steps: dict[str, NDArray[Any]], collection: Collection) -> DatasetWriter:
    return DatasetWriter(
        folder,
        collection.features(steps),
        LIBERO_PANDA.rate_hz,
        robot_type=LIBERO_PANDA.name,
        recording=collection.env_config.recording(SIMULATOR),
        resume=True,
    )


def _hdf5_episode(suite: str, demonstration: Demonstration) -> tuple[dict[str, Any], LiberoEpisodeExtras]:
    steps = without(demonstration.steps, frozenset({SUCCESS_KEY, TERMINATED_KEY}))  # LIBERO's files have neither
    steps |= {EE_STATE_KEY: demonstration.simulator["ee_states"].astype(np.float32)}
    extras = LiberoEpisodeExtras(
        states=demonstration.simulator["states"],
        executed=demonstration.executed,
        bddl_file=problem_file(suite, demonstration.task),
        env_kwargs={"robots": ["Panda"], "control_freq": CONTROL_RATE_HZ},
        cameras=demonstration.cameras,
        **demonstration.environment,
    )
    return steps, extras
