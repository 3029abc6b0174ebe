"""The datasets of a mixture: opened, and checked against the model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches

from tempovla.data.errors import refuse_left_out
from tempovla.data.memory import preload
from tempovla.data.open import open_source
from tempovla.data.stream_keys import missing_streams
from tempovla.data.words import check_words
from tempovla.recipe.datasets.config import MemberConfig
from tempovla.recipe.datasets.dataset import Recipe, Streams, load_dataset, stream_keys
from tempovla.recipe.datasets.gripper import gripper_problem
from tempovla.recipe.datasets.statistics import needed_statistics, settle_statistics
from tempovla.timeline import Embodiment, EpisodeSource
from tempovla.timeline.keys import ACTION_KEY, STATE_KEY


@dataclass(frozen=True)
class Member:
    """One dataset of a mixture.

    Attributes:
        name: what evaluation calls it.
        source: its episodes.
        weight: how often it is drawn from, relative to the others.
        cameras: its own key of every camera of the model, None for those that it does not have.
        has_gripper: whether its last action dimension is the model's gripper.
    """

    name: str
    source: EpisodeSource
    weight: float
    cameras: Mapping[str, str | None]
    has_gripper: bool

    def dim(self, key: str) -> int:
        """Size of the vectors of one stream."""
        return self.source.streams[key].shape[0]

    @property
    def own_cameras(self) -> tuple[str, ...]:
        """Its own keys of the cameras that it has."""
        return tuple(own for own in self.cameras.values() if own is not None)

    def streams(self, model: Streams) -> MemberStreams:
        """Of what a model reads, what is here, in the dataset's own names and sizes."""
        state_dim = None if model.robot_state_dim is None else self.dim(STATE_KEY)
        return MemberStreams(self.own_cameras, state_dim, self.dim(ACTION_KEY), self.has_gripper)


@dataclass(frozen=True)
class MemberStreams:
    """A dataset's `Streams`."""

    cameras: tuple[str, ...]
    robot_state_dim: int | None
    action_dim: int
    has_gripper: bool


@dataclass(frozen=True)
class DatasetMixture:
    """Datasets to train one policy on."""

    members: tuple[Member, ...]

    @property
    def embodiment(self) -> Embodiment:
        """A body as large as the largest, for bundles; each dataset's own is with its view."""
        bodies = [member.source.embodiment for member in self.members]
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

    def widths(self, model: Streams) -> dict[str, int]:
        """Dimensions in the model, by key, of the vectors that are smaller in some dataset."""
        sizes = {STATE_KEY: model.robot_state_dim, ACTION_KEY: model.action_dim}
        return {
            key: size
            for key, size in sizes.items()
            if size is not None and any(member.dim(key) < size for member in self.members)
        }


def load_demonstrations(recipe: Recipe, *, decode: bool = True) -> EpisodeSource | DatasetMixture:
    """The recipe's one dataset, for which see `load_dataset`, or its mixture, whose frames are decoded in any case.

    Raises:
        ValueError: if there is none, or one does not fit the model.
    """
    if not recipe.data.mixture:
        return load_dataset(recipe, decode=decode)
    members = [open_member(config, recipe) for config in recipe.data.mixture]
    share = recipe.data.preload_bytes // len(members)
    return DatasetMixture(
        tuple(
            replace(member, source=preload(member.source, stream_keys(member.streams(recipe.model)), share))
            for member in members
        )
    )


def open_member(config: MemberConfig, recipe: Recipe) -> Member:
    """One dataset of a mixture, checked against the model.

    Raises:
        ValueError: if it is none, or does not fit.
    """
    data, model = recipe.data, recipe.model
    source = open_source(
        config.data_directory,
        data.demos_per_task,
        data.max_len_data,
        keys=config.stream_keys,
        default_instruction=data.default_instruction,
        libero_images=config.libero_images,
    )
    check_words(source)
    if config.has_gripper and not model.has_gripper:
        raise ValueError(f"data.mixture: {config.key} has_gripper, but the model has none; set model.has_gripper=true")
    has_gripper = model.has_gripper and config.has_gripper is not False
    member = Member(config.key, source, config.weight, _cameras(config, source, model), has_gripper)
    sizes = {STATE_KEY: ("robot_state_dim", model.robot_state_dim), ACTION_KEY: ("action_dim", model.action_dim)}
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
    problem = gripper_problem(source) if has_gripper else None
    if problem is not None:
        raise ValueError(f"{source.name}: {problem}; set has_gripper: false of it in data.mixture")
    settle_statistics(source, needed_statistics(recipe.transform, model))
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
