"""StateVLA's data: the dataset, whether it fits the model, and batches of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tempovla.data.loader import LoaderConfig, SampleLoader
from tempovla.data.memory import preload
from tempovla.data.mixture import Mixture
from tempovla.data.open import open_source
from tempovla.data.split import split_episodes
from tempovla.model.vla.statevla_config import StateVLAConfig
from tempovla.recipe.statevla_config import StateVLARecipe
from tempovla.timeline import EpisodeSource, Window
from tempovla.timeline.keys import ACTION_KEY, STATE_KEY
from tempovla.train import distributed
from tempovla.train.config import TrainConfig
from tempovla.transform.pipeline import TransformPipeline


def load_dataset(recipe: StateVLARecipe) -> EpisodeSource:
    """The recipe's dataset; where they fit, frames are decoded once and held for both phases and their validation.

    Raises:
        ValueError: if there is no dataset, or it does not fit the model.
    """
    data = recipe.data
    if not data.data_directory:
        raise ValueError("data.data_directory is empty; give the root of a LeRobot dataset or a folder of HDF5 files")
    source = open_source(data.data_directory, data.demos_per_task, data.max_len_data)
    check_fits(recipe.model, source)
    return preload(source, (STATE_KEY, ACTION_KEY, *recipe.model.cameras), data.preload_bytes)


def check_fits(config: StateVLAConfig, source: EpisodeSource) -> None:
    """Refuse a dataset whose streams are not what the model reads.

    Raises:
        ValueError: naming the stream, both sizes and the remedy.
    """
    wanted = {STATE_KEY: ("robot_state_dim", config.robot_state_dim), ACTION_KEY: ("action_dim", config.action_dim)}
    for key, (name, size) in wanted.items():
        if key not in source.streams:
            raise ValueError(f"{source.name}: has no stream {key!r}, but {sorted(source.streams)}; StateVLA needs it")
        if source.streams[key].shape != (size,):
            actual = source.streams[key].shape
            raise ValueError(f"{source.name}: stream {key!r} has shape {actual}; set model.{name}={actual[0]}")
    cameras = sorted(key for key, stream in source.streams.items() if stream.kind == "image")
    for camera in config.cameras:
        if camera not in cameras:
            raise ValueError(f"{source.name}: has no camera {camera!r}; set model.cameras to some of {cameras}")
    if config.has_gripper:
        check_gripper(source)


def check_gripper(source: EpisodeSource) -> None:
    """Refuse a dataset whose last action dimension is no gripper in {-1, +1}: it could be learned, but not executed.

    Raises:
        ValueError: naming the range and the remedy.
    """
    statistics = source.statistics.get(ACTION_KEY, {})
    ends = {name: float(np.ravel(statistics[name])[-1]) for name in ("min", "max") if name in statistics}
    if any(abs(end) != 1.0 for end in ends.values()):
        raise ValueError(
            f"{source.name}: the last dimension of {ACTION_KEY!r} ranges over {ends}, so it is no gripper in "
            "{-1, +1}; set model.has_gripper=false"
        )


def split_source(source: EpisodeSource, recipe: StateVLARecipe) -> tuple[Mixture, Mixture | None]:
    """Training and validation episodes."""
    held_out = round(1.0 - recipe.data.train_split, 9)
    training, validation = split_episodes(len(source), held_out, recipe.training.seed)
    return Mixture([source], episodes=[training]), Mixture([source], episodes=[validation]) if validation else None


def build_loader(
    mixture: Mixture, windows: Sequence[Window], recipe: StateVLARecipe, training: TrainConfig
) -> SampleLoader:
    """Batches of windows for this process."""
    config = LoaderConfig(training.batch_size, recipe.data.num_workers, recipe.data.preload_bytes)
    rank, ranks = distributed.rank(), distributed.world_size()
    return SampleLoader(mixture, windows, config, seed=training.seed, rank=rank, world_size=ranks)


def build_batches(
    source: EpisodeSource,
    windows: Sequence[Window],
    recipe: StateVLARecipe,
    training: TrainConfig,
    transform: TransformPipeline,
) -> tuple[SampleLoader, FixedBatches | None]:
    """Training batches, and those of the validation where episodes are held out."""
    mixture, held_out = split_source(source, recipe)
    validation = None if held_out is None else FixedBatches(held_out, windows, recipe, training, transform)
    return build_loader(mixture, windows, recipe, training), validation


class FixedBatches:
    """The same few validation batches every time, transformed once."""

    def __init__(
        self,
        mixture: Mixture,
        windows: Sequence[Window],
        recipe: StateVLARecipe,
        training: TrainConfig,
        transform: TransformPipeline,
    ) -> None:
        loader = iter(build_loader(mixture, windows, recipe, training))
        self._batches = [transform.forward_sample(next(loader)) for _ in range(recipe.data.validation_batches)]

    def __iter__(self) -> Any:
        return iter(self._batches)
