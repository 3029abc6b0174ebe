"""Demonstrations in every recipe: opening, splitting, batching and preparing."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, Protocol

import torch

from tempovla import __version__
from tempovla.data.joined import forms_of
from tempovla.data.loader import LoaderConfig, SampleLoader
from tempovla.data.memory import preload
from tempovla.data.mixture import Mixture
from tempovla.data.open import open_source
from tempovla.data.split import split_episodes
from tempovla.data.words import words_told
from tempovla.recipe.datasets.config import DataConfig, ObservationConfig
from tempovla.recipe.datasets.fits import check_fits
from tempovla.recipe.datasets.statistics import needed_statistics, settle_statistics
from tempovla.recipe.datasets.streams import Streams, stream_keys
from tempovla.timeline import EpisodeSource, TimelineSample, Window
from tempovla.timeline.config import config_to_json
from tempovla.timeline.keys import ACTION_KEY, STATE_KEY
from tempovla.timeline.plugins import plugins_in_use
from tempovla.training import distributed
from tempovla.training.config import TrainConfig
from tempovla.transform.augment import RandomShift
from tempovla.transform.blind import BlankImages
from tempovla.transform.depth import ResizeDepth
from tempovla.transform.image import ResizeImages
from tempovla.transform.join import JoinStreams
from tempovla.transform.normalize import NormalizationConfig, Normalize
from tempovla.transform.pipeline import TransformPipeline


class Recipe(Protocol):
    """A dataclass with all settings of a run."""

    @property
    def data(self) -> DataConfig: ...  # noqa: D102
    @property
    def transform(self) -> ObservationConfig: ...  # noqa: D102
    @property
    def model(self) -> Any: ...  # noqa: D102
    @property
    def training(self) -> TrainConfig: ...  # noqa: D102


def load_dataset(recipe: Recipe, *, decode: bool = True) -> EpisodeSource:
    """Return the recipe's dataset; frames that fit into memory are decoded once and kept there.

    Args:
        recipe: the experiment.
        decode: False leaves frames where they are, for training that reads them once or not at all.

    Raises:
        ValueError: if there is no dataset, it does not fit the model, or its statistics are not those of its rows.
    """
    data = recipe.data
    if data.mixture:
        names = [member.data_directory for member in data.mixture]
        raise ValueError(f"data.mixture={names}: this recipe trains on one dataset; give data.data_directory instead")
    if not data.data_directory:
        raise ValueError("data.data_directory is empty; give the root of a LeRobot dataset or a folder of HDF5 files")
    source = open_source(
        data.data_directory,
        data.demos_per_task,
        data.max_len_data,
        keys=data.stream_keys,
        depth_unit=data.depth_unit,
        default_instruction=data.default_instruction,
        libero_images=data.libero_images,
        nuscenes=data.nuscenes,
    )
    check_fits(recipe.model, source)
    settle(source, recipe)
    return preload(source, stream_keys(Streams.of(recipe.model)), data.preload_bytes) if decode else source


def settle(source: EpisodeSource, recipe: Recipe, lacks: Collection[str] = ()) -> None:
    """Compute and check the statistics that a recipe normalises by, but for streams that the dataset `lacks`."""
    model = Streams.of(recipe.model)
    reads_state = model.robot_state_dim is not None
    needed = needed_statistics(recipe.transform, recipe.model, reads_state, model.vectors)
    settle_statistics(source, {key: names for key, names in needed.items() if key not in lacks})


Ends = Callable[[int], Sequence[int]]
"""Returns the control steps at which training windows end in an episode of a given length."""


def split_source(source: EpisodeSource, recipe: Recipe, ends: Ends | None = None) -> tuple[Mixture, Mixture | None]:
    """Return the training and validation episodes."""
    held_out = round(1.0 - recipe.data.train_split, 9)
    training, validation = split_episodes(len(source), held_out, recipe.training.seed)
    parts = [Mixture([source], episodes=[part], ends=ends) if part else None for part in (training, validation)]
    assert parts[0] is not None
    return parts[0], parts[1]


def build_loader(mixture: Mixture, windows: Sequence[Window], recipe: Recipe, training: TrainConfig) -> SampleLoader:
    """Return batches of windows for this process."""
    config = LoaderConfig(training.batch_size, recipe.data.num_workers, recipe.data.preload_bytes)
    rank, ranks = distributed.rank(), distributed.world_size()
    return SampleLoader(mixture, windows, config, seed=training.seed, rank=rank, world_size=ranks)


class FixedBatches:
    """Fixed validation batches, `data.validation_batches` of each mixture, transformed once."""

    def __init__(
        self,
        mixtures: Sequence[Mixture],
        windows: Sequence[Window],
        recipe: Recipe,
        training: TrainConfig,
        transform: TransformPipeline,
    ) -> None:
        self._batches = []
        for mixture in mixtures:
            loader = iter(build_loader(mixture, windows, recipe, training))
            for _ in range(recipe.data.validation_batches):
                self._batches.append(transform.joined.forward_sample(next(loader)))

    def __iter__(self) -> Iterator[TimelineSample]:
        return iter(self._batches)


def preparation(
    settings: ObservationConfig, transform: TransformPipeline
) -> Callable[[TimelineSample], TimelineSample]:
    """Return the preparation of a training batch: the transforms, then the augmentation."""
    augment = RandomShift(settings.applied_shift_px)
    left = transform.joined
    return lambda sample: augment(left.forward_sample(sample))


def observation_transforms(
    settings: ObservationConfig, config: Any, image_size: int, source: EpisodeSource, *, resize: bool = True
) -> tuple[ResizeImages | BlankImages, Normalize]:
    """Return pictures of the model's size, and states and actions normalised by the dataset's statistics.

    Without `resize` pictures keep the shape that they have, for a model that pads or crops them itself.
    """
    model = Streams.of(config)
    streams = {} if model.robot_state_dim is None else {STATE_KEY: NormalizationConfig(settings.state_normalization)}
    streams |= dict.fromkeys(model.vectors, NormalizationConfig(settings.state_normalization))
    if model.action_dim is not None:
        streams[ACTION_KEY] = action_config(model, settings)
    names = {key: source.streams[key].names for key in streams}
    pictures = (
        BlankImages(model.cameras, image_size) if settings.blind else ResizeImages(image_size if resize else None)
    )
    return pictures, Normalize.fit(source.statistics, streams, names)


def depth_transforms(
    settings: ObservationConfig, config: Any, image_size: int, *, resize: bool = True
) -> tuple[ResizeDepth, ...]:
    """Return depth of the model's size, where it reads some; see `observation_transforms`."""
    depths = Streams.of(config).depths
    size = image_size if resize or settings.blind else None
    return (ResizeDepth(depths, size, settings.blind),) if depths else ()


def action_config(model: Streams, settings: ObservationConfig) -> NormalizationConfig:
    """Return how actions are normalised: a gripper is left as it is."""
    assert model.action_dim is not None
    gripper = (model.action_dim - 1,) if model.has_gripper else ()
    return NormalizationConfig(settings.action_normalization, keep=gripper)


def raw_observations(config: Any, source: EpisodeSource) -> tuple[JoinStreams, ...]:
    """Return the transforms that build the state from raw observations by `data.state_key`; an empty list if it is
    unset.

    It is the first of the transforms that a policy is saved with.
    """
    forms = () if Streams.of(config).robot_state_dim is None else forms_of(source, STATE_KEY)
    return (JoinStreams({STATE_KEY: forms}),) if forms else ()


def dataset_facts(source: EpisodeSource) -> dict[str, Any]:
    """Return a bundle's entries about a dataset."""
    pictures = {key: info for key, info in source.streams.items() if info.kind in ("image", "depth")}
    return {
        "dataset": source.name,
        "episodes": len(source),
        "recording": dict(source.recording),
        "image_shapes": {key: list(info.shape) for key, info in pictures.items()},
        "instructions": sorted(words_told(source)),
    }


def run_facts(recipe: Recipe) -> dict[str, Any]:
    """Return a bundle's entries about its recipe and software."""
    plugins = {"plugins": list(plugins_in_use())} if plugins_in_use() else {}
    return {"tempovla": __version__, "torch": torch.__version__, "recipe": config_to_json(recipe)} | plugins
