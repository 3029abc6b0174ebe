"""World models as a recipe: learning from rewards, in a simulator or from a recording."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tempovla.data.memory import preload
from tempovla.model.vla.world_model_config import WorldModelConfig
from tempovla.model.vla.world_model_policy import WorldModelPolicy
from tempovla.recipe.datasets.dataset import load_dataset
from tempovla.recipe.datasets.dataset_mixture import DatasetMixture
from tempovla.recipe.datasets.fits import check_fits
from tempovla.recipe.datasets.streams import Streams, stream_keys
from tempovla.recipe.systems.job import Imitation
from tempovla.recipe.systems.world_model_config import OnlineConfig, WorldModelRecipe
from tempovla.timeline import EpisodeSource
from tempovla.timeline.keys import ACTION_KEY, REWARD_KEY, TERMINATED_KEY
from tempovla.training.result import FitResult


def train_world_model(
    recipe: WorldModelRecipe,
    out_dir: str | Path,
    *,
    resume: str | Path | None = None,
    source: EpisodeSource | None = None,
) -> FitResult:
    """Train a policy that acts by a world model, in `out_dir`.

    Args:
        recipe: the experiment.
        out_dir: folder of the run.
        resume: checkpoint of this run to go on from.
        source: the dataset, if it is loaded already.

    Raises:
        ValueError: if there is neither a simulator nor a dataset, their observations, actions or rewards do not fit the
            model, or a checkpoint is missing or of another model.
    """
    if recipe.online.env:
        from tempovla.recipe.systems.world_model_online import learn_online

        check_task_given(recipe.online)
        return learn_online(recipe, out_dir, resume)
    if source is None and not recipe.data.data_directory:
        raise ValueError(
            "online.env and data.data_directory are both missing; name a simulator to learn in, such as --env dmc "
            "--task cartpole-swingup, or a dataset with rewards"
        )
    source = load_dataset(recipe, decode=False) if source is None else source
    outcomes = outcomes_of(source, recipe.model)
    check_fits(recipe.model, source)
    check_repeats(source, recipe.model.action_repeat)
    source = preload(source, [*stream_keys(Streams.of(recipe.model)), *outcomes], recipe.data.preload_bytes)
    data = DatasetMixture.of_one(source, recipe.model)
    training = recipe.training.settled(recipe.model)
    imitation = Imitation("world-model", lambda: WorldModelPolicy(recipe.model))
    return imitation.train(recipe, data, out_dir, training=training, resume=resume)


def check_task_given(online: OnlineConfig) -> None:
    """Refuse a simulator without a task.

    Raises:
        ValueError: naming some of its tasks, or that there is no such simulator.
    """
    if online.task or "task" in online.settings:
        return
    from tempovla.env.registry import simulator_class

    known = simulator_class(online.env)().task_names()
    some = ", ".join(known[:3]) + (f" or another of its {len(known)} tasks" if len(known) > 3 else "")
    raise ValueError(f"online.task is missing; give --task, for {online.env} such as {some}")


def outcomes_of(source: EpisodeSource, model: WorldModelConfig) -> list[str]:
    """Return the keys of the outcomes that the model learns from.

    Raises:
        ValueError: naming the stream, if it is missing, or is known to hold numbers that are not finite.
    """
    wanted = [REWARD_KEY, *([TERMINATED_KEY] if model.predicts_end else [])]
    missing = next((key for key in wanted if key not in source.streams), None)
    if missing is not None:
        part = {"tdmpc": "tdmpc.dynamics", "dreamer": "dreamer.rssm"}[model.algorithm]
        without = f"set model.{part}.predicts_end=false, " if missing == TERMINATED_KEY else ""
        raise ValueError(
            f"{source.name}: has no stream {missing!r}, from which a world model learns; {without}record it in a "
            "simulator again (tempovla collect), or learn in one (--env)"
        )
    for key in wanted:
        mean = source.statistics.get(key, {}).get("mean", 0.0)
        if not np.isfinite(np.asarray(mean, dtype=float)).all():
            raise ValueError(
                f"{source.name}: {key!r} holds numbers that are not finite; repair them, or remove their episodes"
            )
    return wanted


def check_repeats(source: EpisodeSource, repeat: int) -> None:
    """Refuse a dataset in which no action was done for as many control steps as the model does each.

    In an episode that is shorter, its one action may have been done until its end.

    Raises:
        ValueError: naming the dataset and the number of steps.
    """
    if repeat == 1:
        return
    for episode in range(len(source)):
        length = source.episode(episode).length
        steps = min(repeat, length)
        if steps < 2:  # a single step tells nothing of repeats
            continue
        chunks = length // steps
        actions = np.asarray(source.read(episode, ACTION_KEY, range(chunks * steps)).value)
        actions = actions.reshape(chunks, steps, -1)
        if (actions == actions[:, :1]).all(axis=(1, 2)).any():
            return
    raise ValueError(
        f"{source.name}: none of its actions was done for {repeat} control steps, as model.action_repeat={repeat} "
        "says; use action_repeat=1, or record a policy that repeats its actions"
    )
