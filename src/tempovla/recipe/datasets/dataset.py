"""Demonstrations in every recipe: opening, checking against the model, splitting, batching and preparing."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch

from tempovla import __version__
from tempovla.data.errors import refuse_left_out, unknown_stream
from tempovla.data.joined import forms_of
from tempovla.data.loader import LoaderConfig, SampleLoader
from tempovla.data.memory import preload
from tempovla.data.mixture import Mixture
from tempovla.data.open import open_source
from tempovla.data.split import split_episodes
from tempovla.data.stream_keys import check_vectors, missing_streams
from tempovla.data.words import check_words, words_told
from tempovla.recipe.datasets.config import DataConfig, ObservationConfig
from tempovla.recipe.datasets.gripper import gripper_problem
from tempovla.recipe.datasets.statistics import needed_statistics, settle_statistics
from tempovla.timeline import EpisodeSource, TimelineSample, Window
from tempovla.timeline.config import config_to_json
from tempovla.timeline.keys import ACTION_KEY, STATE_KEY
from tempovla.timeline.plugins import plugins_in_use
from tempovla.timeline.streams import StreamSpec
from tempovla.training import distributed
from tempovla.training.config import TrainConfig
from tempovla.transform.augment import RandomShift
from tempovla.transform.blind import BlankImages
from tempovla.transform.depth import ResizeDepth
from tempovla.transform.image import ResizeImages
from tempovla.transform.join import JoinStreams
from tempovla.transform.normalize import NormalizationConfig, Normalize
from tempovla.transform.pipeline import TransformPipeline


@dataclass(frozen=True)
class Streams:
    """The streams that a model reads and imitates.

    Attributes:
        cameras: keys of the image streams.
        robot_state_dim: dimensions of the state; None where it is not read.
        action_dim: dimensions of an action; None for a video, from which no actions are learned.
        has_gripper: whether the last of these is a binary gripper in {-1, +1}.
        vectors: dimensions of further vectors that are read beside the state, by key, such as those of a force sensor.
        depths: keys of the streams of depth.
        plain: dimensions of vectors that are read in their own units, by key.
        points: numbers of a point, by the key of a stream of points.
    """

    cameras: tuple[str, ...]
    robot_state_dim: int | None
    action_dim: int | None
    has_gripper: bool
    vectors: Mapping[str, int] = field(default_factory=dict)
    depths: tuple[str, ...] = ()
    plain: Mapping[str, int] = field(default_factory=dict)
    points: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, model: Any) -> Streams:
        """Return the streams of a model's config, from its method `streams` or from fields with the names above.

        Raises:
            ValueError: if it does not define the dimensions of an action.
        """
        if isinstance(model, Streams):
            return model
        if hasattr(model, "streams"):
            return cls.of_specs(model.streams())
        if not hasattr(model, "action_dim"):
            raise ValueError(
                f"{type(model).__name__} declares no action; give it a method streams() that returns a StreamSpec by "
                "key, or a field action_dim"
            )
        return cls(
            getattr(model, "cameras", ()),
            getattr(model, "robot_state_dim", None),
            model.action_dim,
            getattr(model, "has_gripper", False),
            depths=getattr(model, "depths", ()),
        )

    @classmethod
    def of_specs(cls, specs: Mapping[str, StreamSpec]) -> Streams:
        """Return the streams of a policy's own specifications.

        Raises:
            ValueError: if there is no action, or a vector is of no size.
        """
        vectors = {key: spec for key, spec in specs.items() if spec.kind == "state" and key != STATE_KEY}
        points = {key: spec for key, spec in specs.items() if spec.kind == "points"}
        for key in (STATE_KEY, ACTION_KEY, *vectors, *points):
            if (key == ACTION_KEY or key in specs) and (key not in specs or not specs[key].shape):
                raise ValueError(f"streams() gives no shape of {key!r}; give a StreamSpec with one")
        sizes = {key: specs[key].shape for key in (STATE_KEY, ACTION_KEY) if key in specs}
        state, action = sizes.get(STATE_KEY), sizes[ACTION_KEY]
        assert action is not None
        return cls(
            tuple(key for key, spec in specs.items() if spec.kind == "image"),
            None if state is None else state[0],
            action[0],
            specs[ACTION_KEY].has_gripper,
            {key: spec.shape[0] for key, spec in vectors.items() if spec.shape and spec.normalized},
            tuple(key for key, spec in specs.items() if spec.kind == "depth"),
            {key: spec.shape[0] for key, spec in vectors.items() if spec.shape and not spec.normalized},
            {key: spec.shape[-1] for key, spec in points.items() if spec.shape},
        )


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


def stream_keys(model: Streams) -> tuple[str, ...]:
    """Return keys of what a model reads and imitates."""
    state = () if model.robot_state_dim is None else (STATE_KEY,)
    actions = () if model.action_dim is None else (ACTION_KEY,)
    return (*state, *model.vectors, *model.plain, *actions, *model.cameras, *model.depths, *model.points)


def check_fits(config: Any, source: EpisodeSource) -> None:
    """Refuse a dataset whose streams do not fit the model, or whose steps have no instruction.

    Raises:
        ValueError: naming all streams that differ, and the settings with which the model fits; or the step.
    """
    model = Streams.of(config)
    refuse_left_out(source.streams, stream_keys(model), source.name)
    check_words(source)
    found, remedies = [], []
    wanted = {STATE_KEY: ("robot_state_dim", model.robot_state_dim), ACTION_KEY: ("action_dim", model.action_dim)}
    absent = [key for key, (_, size) in wanted.items() if size is not None and key not in source.streams]
    if absent:
        raise ValueError(missing_streams(source, absent))
    check_vectors(source, [key for key, (_, size) in wanted.items() if size is not None])
    for key, (name, size) in wanted.items():
        if size is None:
            continue
        actual = source.streams[key].shape
        if actual != (size,):
            found.append(f"stream {key!r} has shape {actual}")
            own = f"the shape of {key!r} in {type(config).__name__}.streams() to {actual}"
            remedies.append(own if hasattr(config, "streams") else f"model.{name}={actual[0]}")
    for key, size in (*model.vectors.items(), *model.plain.items()):
        check_vector(key, size, source)
    for key, size in model.points.items():
        check_points(key, size, source)
    check_depths(model, source)
    cameras = sorted(key for key, stream in source.streams.items() if stream.kind == "image")
    missing = [camera for camera in model.cameras if camera not in cameras]
    if missing:
        found.append(f"has no camera {missing[0]!r}")
        remedies.append(f"model.cameras to some of {cameras}" if cameras else _without_cameras(config))
    problem = gripper_problem(source) if model.has_gripper else None
    if problem is not None:
        found.append(problem)
        remedies.append("model.has_gripper=false")
    if found:
        raise ValueError(f"{source.name}: {', '.join(found)}; set {' and '.join(remedies)}")


def _without_cameras(config: Any) -> str:
    """The setting of a model that reads no pictures."""
    sensors = getattr(config, "sensors", None)
    if sensors is None:
        return "--model.cameras '[]', as it has none"
    return f"--model.sensors '[{', '.join(name for name in sensors if name != 'cameras')}]', as it has none"


def check_vector(key: str, size: int, source: EpisodeSource) -> None:
    """Refuse a dataset that lacks a vector which is read beside the state, or has it in another size.

    Raises:
        ValueError: naming the stream.
    """
    if key not in source.streams:
        raise unknown_stream(key, source.streams, source.name)
    actual = source.streams[key].shape
    if actual != (size,):
        raise ValueError(
            f"{source.name}: stream {key!r} has shape {actual}, but the model reads {(size,)}; set its shape in "
            "streams() to the dataset's"
        )


def check_points(key: str, size: int, source: EpisodeSource) -> None:
    """Refuse a dataset that lacks a stream of points, or has other numbers of each point.

    Raises:
        ValueError: naming the stream.
    """
    if key not in source.streams:
        raise unknown_stream(key, source.streams, source.name)
    stream = source.streams[key]
    if stream.kind != "points" or stream.shape[-1:] != (size,):
        raise ValueError(
            f"{source.name}: stream {key!r} is of kind {stream.kind!r} and shape {stream.shape}, but the model reads "
            f"points of {size} numbers; leave the sensor out of the model, or record it as points"
        )


def check_depths(model: Streams, source: EpisodeSource) -> None:
    """Refuse a dataset that lacks a stream of depth which the model reads.

    Raises:
        ValueError: naming the stream and those that there are.
    """
    problem = depth_problem(model.depths, source)
    if problem is not None:
        raise ValueError(problem)


def depth_problem(depths: Sequence[str], source: EpisodeSource) -> str | None:
    """Return which of some streams of depth a dataset lacks, with the remedy; None if it has them all."""
    known = sorted(key for key, stream in source.streams.items() if stream.kind == "depth")
    missing = [key for key in depths if key not in known]
    if not missing:
        return None
    told = f"{source.name}: has no depth {missing[0]!r}, which the model reads"
    if not known:
        return f"{told}; record it, such as with --depth true, or let the model read no depth"
    return f"{told}, but that of {known}; record it, too, or let the model read only depth that there is"


def check_lengths(source: EpisodeSource, windows: Sequence[Window], remedy: str) -> None:
    """Refuse an episode that is too short for any whole window.

    Args:
        source: the dataset, as it will be trained on.
        windows: what the policy reads.
        remedy: the settings that make the windows shorter.

    Raises:
        ValueError: naming the file, the episode, both lengths and the remedy.
    """
    offsets = [offset for window in windows for offset in window.offsets]
    needed = max(offsets) - min(offsets) + 1
    for index in range(len(source)):
        info = source.episode(index)
        if info.length < needed:
            raise ValueError(
                f"{info.origin or f'{source.name}: episode {index}'} has {info.length} steps, but a window needs "
                f"{needed}; remove the episode, or lower {remedy} (data.max_len_data may have cut it)"
            )


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
