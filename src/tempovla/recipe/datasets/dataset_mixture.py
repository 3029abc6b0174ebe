"""The data of a policy: one dataset or several, opened, checked against the model, split and batched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any

from tempovla.data.errors import refuse_left_out
from tempovla.data.joined import forms_of
from tempovla.data.loader import SampleLoader
from tempovla.data.memory import preload
from tempovla.data.mixture import Mixture
from tempovla.data.open import open_source
from tempovla.data.split import split_episodes
from tempovla.data.stream_keys import missing_streams
from tempovla.data.words import check_words
from tempovla.recipe.datasets.config import MemberConfig, ObservationConfig
from tempovla.recipe.datasets.dataset import (
    Ends,
    FixedBatches,
    Recipe,
    build_loader,
    dataset_facts,
    depth_transforms,
    load_dataset,
    observation_transforms,
    raw_observations,
    run_facts,
    settle,
)
from tempovla.recipe.datasets.fits import check_depths, check_fits, check_vector
from tempovla.recipe.datasets.gripper import gripper_problem
from tempovla.recipe.datasets.streams import Streams, stream_keys
from tempovla.recipe.datasets.videos import check_videos
from tempovla.timeline import Embodiment, EpisodeSource, Transform, Window
from tempovla.timeline.keys import ACTION_KEY, STATE_KEY
from tempovla.training.config import TrainConfig
from tempovla.transform.align import AlignStreams, MissingStream, Padding
from tempovla.transform.join import JoinStreams, raw_size
from tempovla.transform.pipeline import DatasetView, PerDataset, TransformPipeline


@dataclass(frozen=True)
class Member:
    """One dataset of a mixture.

    Attributes:
        name: what evaluation calls it.
        source: its episodes.
        weight: how often it is drawn from, relative to the others.
        cameras: its own key of every camera of the model, None for those that it does not have.
        has_gripper: whether its last action dimension is the model's gripper.
        lacks: streams of vectors that are not learned from: the actions of a video, and its state if there is none.
    """

    name: str
    source: EpisodeSource
    weight: float
    cameras: Mapping[str, str | None]
    has_gripper: bool
    lacks: tuple[str, ...] = ()

    def dim(self, key: str) -> int:
        """Return the size of the vectors of one stream; 0 if it lacks them."""
        if key in self.lacks:
            return 0
        return self.source.streams[key].shape[0]

    @property
    def own_cameras(self) -> tuple[str, ...]:
        """Its own keys of the cameras that it has."""
        return tuple(own for own in self.cameras.values() if own is not None)

    def streams(self, config: Any) -> Streams:
        """The streams that the model reads and the dataset has, in the dataset's own names and sizes."""
        model = Streams.of(config)
        reads_state = model.robot_state_dim is not None and STATE_KEY not in self.lacks
        state_dim = self.dim(STATE_KEY) if reads_state else None
        action_dim = None if ACTION_KEY in self.lacks else self.dim(ACTION_KEY)
        return Streams(self.own_cameras, state_dim, action_dim, self.has_gripper, model.vectors, model.depths)


@dataclass(frozen=True)
class DatasetMixture:
    """Datasets to train one policy on; one dataset alone is a mixture of one.

    Attributes:
        members: the datasets.
        is_one: whether there is one dataset in the model's own names and sizes, so that its rows need no view.
    """

    members: tuple[Member, ...]
    is_one: bool = False

    @classmethod
    def of_one(cls, source: EpisodeSource, config: Any) -> DatasetMixture:
        """Return a dataset alone, which fits the model of a config; see `check_fits`."""
        model = Streams.of(config)
        cameras = {camera: camera for camera in model.cameras}
        return cls((Member(source.name, source, 1.0, cameras, model.has_gripper),), is_one=True)

    @property
    def only(self) -> EpisodeSource:
        """The dataset of a mixture of one."""
        assert self.is_one
        return self.members[0].source

    @property
    def embodiment(self) -> Embodiment:
        """The body; of several datasets one as large as the largest, as each dataset's own is with its view."""
        if self.is_one:
            return self.only.embodiment
        bodies = [member.source.embodiment for member in self.members if ACTION_KEY not in member.lacks]
        return Embodiment(
            " + ".join(dict.fromkeys(body.name for body in bodies)),
            max(body.state_dim for body in bodies),
            max(body.action_dim for body in bodies),
            max(body.rate_hz for body in bodies),
        )

    @property
    def missing_cameras(self) -> tuple[str, ...]:
        """The model's cameras that some dataset does not have."""
        cameras = self.members[0].cameras
        return tuple(key for key in cameras if any(member.cameras[key] is None for member in self.members))

    def widths(self, config: Any) -> dict[str, int]:
        """Return dimensions in the model, by key, of the vectors that are smaller in some dataset."""
        model = Streams.of(config)
        sizes = {STATE_KEY: model.robot_state_dim, ACTION_KEY: model.action_dim}
        return {
            key: size
            for key, size in sizes.items()
            if size is not None and any(member.dim(key) < size for member in self.members if key not in member.lacks)
        }

    def observation_steps(
        self,
        settings: ObservationConfig,
        config: Any,
        windows: Sequence[Window],
        image_size: int,
        *,
        resize: bool = True,
    ) -> tuple[Transform, ...]:
        """Return the preprocessing of pictures, states and actions.

        Each dataset is normalised by its own statistics; of several, every row takes the form of the model: its cameras
        and its sizes. Without `resize` pictures keep their shape, which must then be one.

        Raises:
            ValueError: if pictures of several datasets differ in shape, and are not resized.
        """
        model = Streams.of(config)
        if self.is_one:
            steps = observation_transforms(settings, model, image_size, self.only, resize=resize)
            depth = depth_transforms(settings, model, image_size, resize=resize)
            return (*raw_observations(model, self.only), *depth, *steps)
        shape = (3, image_size, image_size)
        if not (resize or settings.blind):
            (height, width, _), *others = {
                member.source.streams[key].shape for member in self.members for key in member.own_cameras
            }
            if others:
                raise ValueError(
                    f"data.mixture: pictures of {[height, width]} and of {list(others[0][:2])} px do not fit into one "
                    "batch unless they are resized; set vision.resize=stretch"
                )
            shape = (3, height, width)
        offsets = {window.key: window.offsets for window in windows}
        views = {}
        for member in self.members:
            own = member.streams(model)
            seen = observation_transforms(settings, own, image_size, member.source, resize=resize)
            own_steps = (*depth_transforms(settings, own, image_size, resize=resize), *seen)
            padding = {
                key: Padding.of(member.dim(key), width, gripper=key == ACTION_KEY and member.has_gripper)
                for key, width in self.widths(model).items()
            }
            names = {own: key for key, own in member.cameras.items() if own is not None and own != key}
            missing = {key: MissingStream(shape, offsets[key]) for key, own in member.cameras.items() if own is None}
            sizes = {STATE_KEY: model.robot_state_dim, ACTION_KEY: model.action_dim}
            for key in member.lacks:
                size = sizes[key]
                if size is not None:
                    missing[key] = MissingStream((size,), offsets[key], "float32")
            align = AlignStreams(names, missing, padding)
            join = next(iter(raw_observations(own, member.source)), JoinStreams())
            views[member.name] = DatasetView(member.source.embodiment, TransformPipeline(own_steps), align, join)
        return (PerDataset(views),)

    def batches(
        self,
        windows: Sequence[Window],
        recipe: Recipe,
        training: TrainConfig,
        transform: TransformPipeline,
        ends: Ends | None = None,
        encoded: EpisodeSource | None = None,
    ) -> tuple[SampleLoader, FixedBatches | None]:
        """Return the training batches, drawn by weight; and equally many to validate on each dataset where episodes are
        held out.

        Each dataset is split by itself, as it would be alone.

        Args:
            windows: the windows of a sample.
            recipe: the experiment.
            training: how it is trained.
            transform: what happens to observations, for the validation batches.
            ends: the control steps at which windows end; all by default.
            encoded: what takes the place of the dataset of a mixture of one, such as its encodings.
        """
        sources = [member.source for member in self.members] if encoded is None else [encoded]
        views = (
            None if self.is_one else next(dict(step.views) for step in transform.steps if isinstance(step, PerDataset))
        )
        weights = None if self.is_one else [member.weight for member in self.members]
        held_out = round(1.0 - recipe.data.train_split, 9)
        splits = [split_episodes(len(source), held_out, training.seed) for source in sources]
        together = Mixture(sources, weights, [chosen for chosen, _ in splits], views, ends)
        validation = [
            Mixture([source], None, [episodes], None if views is None else {member.name: views[member.name]}, ends)
            for member, source, (_, episodes) in zip(self.members, sources, splits, strict=True)
            if episodes
        ]
        fixed = FixedBatches(validation, windows, recipe, training, transform) if validation else None
        return build_loader(together, windows, recipe, training), fixed

    def provenance(self, recipe: Recipe) -> dict[str, Any]:
        """Return the provenance of a policy, for its bundle; with several datasets, the facts about each are under
        `datasets`.
        """
        if self.is_one:
            return dataset_facts(self.only) | run_facts(recipe)
        datasets = {
            member.name: dataset_facts(member.source)
            | {"embodiment": member.source.embodiment.to_json(), "has_gripper": member.has_gripper}
            | ({"has_actions": False} if ACTION_KEY in member.lacks else {})
            | _raw_state(member.source)
            for member in self.members
        }
        facts = {
            "dataset": ", ".join(member.source.name for member in self.members),
            "episodes": sum(len(member.source) for member in self.members),
            "instructions": sorted({words for facts in datasets.values() for words in facts["instructions"]}),
            "datasets": datasets,
        }
        return facts | run_facts(recipe)


def _raw_state(source: EpisodeSource) -> dict[str, int]:
    """How many dimensions a raw observation of the state has, where the policy reads others."""
    dim = source.embodiment.state_dim
    raw = raw_size(forms_of(source, STATE_KEY), STATE_KEY, dim)
    return {} if raw == dim else {"raw_state_dim": raw}


def load_demonstrations(recipe: Recipe, *, decode: bool = True) -> DatasetMixture:
    """Return the recipe's dataset or datasets; frames that fit into memory are decoded once and kept.

    Args:
        recipe: the experiment.
        decode: False leaves the frames of one dataset where they are, for training that reads them once or not at all.

    Raises:
        ValueError: if there is none, or one does not fit the model.
    """
    if not recipe.data.mixture:
        return DatasetMixture.of_one(load_dataset(recipe, decode=decode), recipe.model)
    check_videos(recipe.data.mixture, recipe.model)
    members = [open_member(config, recipe) for config in recipe.data.mixture]
    share = recipe.data.preload_bytes // len(members)
    return DatasetMixture(
        tuple(
            replace(member, source=preload(member.source, stream_keys(member.streams(recipe.model)), share))
            for member in members
        )
    )


def as_mixture(source: EpisodeSource | DatasetMixture | None, recipe: Recipe, *, decode: bool = True) -> DatasetMixture:
    """Return the given datasets, or else the recipe's; see `load_demonstrations`.

    Raises:
        ValueError: if it does not fit the model.
    """
    if source is None:
        return load_demonstrations(recipe, decode=decode)
    if isinstance(source, DatasetMixture):
        return source
    check_fits(recipe.model, source)
    return DatasetMixture.of_one(source, recipe.model)


def one_dataset(
    source: EpisodeSource | DatasetMixture | None, recipe: Recipe, *, decode: bool = True
) -> DatasetMixture:
    """Return the given dataset, or else the recipe's, for systems that learn from a single one.

    Raises:
        ValueError: if there is none or several, or it does not fit the model.
    """
    if source is None:
        return DatasetMixture.of_one(load_dataset(recipe, decode=decode), recipe.model)
    return as_mixture(source, recipe)


def open_member(config: MemberConfig, recipe: Recipe) -> Member:
    """Return one dataset of a mixture, checked against the model.

    Raises:
        ValueError: if it is none, or does not fit.
    """
    data, model = recipe.data, Streams.of(recipe.model)
    source = open_source(
        config.data_directory,
        data.demos_per_task if config.demos_per_task is None else config.demos_per_task,
        data.max_len_data,
        keys=config.stream_keys,
        default_instruction=data.default_instruction,
        libero_images=config.libero_images,
        nuscenes=data.nuscenes,
    )
    check_words(source)
    if config.has_gripper and not model.has_gripper:
        raise ValueError(f"data.mixture: {config.key} has_gripper, but the model has none; set model.has_gripper=true")
    has_gripper = model.has_gripper and config.has_gripper is not False and config.actions
    lacks = () if config.actions else (ACTION_KEY, *(key for key in (STATE_KEY,) if key not in source.streams))
    cameras = _cameras(config, source, model)
    member = Member(config.key, source, config.weight, cameras, has_gripper, lacks)
    known = {STATE_KEY: ("robot_state_dim", model.robot_state_dim), ACTION_KEY: ("action_dim", model.action_dim)}
    sizes = {key: size for key, size in known.items() if key not in lacks}
    read = [key for key, (_, size) in sizes.items() if size is not None]
    refuse_left_out(source.streams, read, source.name)
    absent = [key for key in read if key not in source.streams]
    if absent:
        raise ValueError(missing_streams(source, absent, in_mixture=True))
    for key, (name, size) in sizes.items():
        if size is None:
            continue
        room = size - int(key == ACTION_KEY and model.has_gripper and not has_gripper)
        if member.dim(key) > room:
            beside = "" if room == size else " beside the gripper"
            raise ValueError(
                f"{source.name}: stream {key!r} has {member.dim(key)} dimensions, more than the model's "
                f"{room}{beside}; set model.{name}={member.dim(key) + size - room}"
            )
    for key, size in model.vectors.items():
        check_vector(key, size, source)
    check_depths(model, source)
    problem = gripper_problem(source) if has_gripper else None
    if problem is not None:
        raise ValueError(f"{source.name}: {problem}; set has_gripper: false of it in data.mixture")
    settle(source, recipe, lacks)
    return member


def _cameras(config: MemberConfig, source: EpisodeSource, model: Streams) -> dict[str, str | None]:
    """The dataset's own key of every camera of the model.

    Raises:
        ValueError: if a camera is unknown on either side, or stands for two.
    """
    for key in config.cameras:
        if key not in model.cameras:
            near = get_close_matches(key, model.cameras, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"the model has {list(model.cameras)}"
            raise ValueError(f"data.mixture: {config.key}: cameras names {key!r}, which is none of the model's; {hint}")
    cameras = {key: config.cameras.get(key, key) for key in model.cameras}
    refuse_left_out(source.streams, [own for own in cameras.values() if own is not None], source.name)
    known = sorted(key for key, stream in source.streams.items() if stream.kind == "image")
    for key, own in cameras.items():
        if own is not None and own not in known:
            raise ValueError(
                f"{source.name}: has no camera {own!r}; set cameras: {{{key}: ...}} of it in data.mixture to one of "
                f"{known}, or to null if it has no such camera"
            )
    used = [own for own in cameras.values() if own is not None]
    if not used:
        raise ValueError(f"{source.name}: has none of the model's cameras; map one of {known} in data.mixture")
    if len(set(used)) < len(used):
        raise ValueError(f"{source.name}: cameras in data.mixture name one of {used} twice; set the other to null")
    return cameras
