"""Settings of datasets and of the preprocessing that all systems share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path

from tempovla.data.declared import parse_unit
from tempovla.data.libero_layout import LiberoImages
from tempovla.data.nuscenes.options import NuScenesOptions
from tempovla.data.stream_keys import StreamKeys
from tempovla.data.words import default_problem
from tempovla.transform.scaling import NormalizationMode


@dataclass(frozen=True)
class MemberConfig:
    """One dataset of a mixture.

    Attributes:
        data_directory: root of a LeRobot dataset (v2.1 or v3.0), or a folder of LIBERO's HDF5 files.
        weight: how often it is drawn from, relative to the others.
        name: name of the dataset in evaluations; if it is empty, the name of the folder.
        cameras: names of the model's cameras in this dataset, where they differ; null for a camera that the dataset
            lacks.
        has_gripper: whether the last action dimension is a binary gripper in {-1, +1}; None means that it is one if the
            model has a gripper.
        libero_images: orientation of the pictures in LIBERO's files; see `DataConfig`.
        state_key: name of the state in this dataset; see `DataConfig`.
        action_key: name of the action in this dataset; see `DataConfig`.
        demos_per_task: number of episodes of each task that are used of this dataset, from the first on; None uses as
            many as `DataConfig` says.
        actions: whether actions are learned from this dataset. With false it is a video, which needs no actions and no
            state. A policy learns from it what its prediction or its inverse model tells of the frames.
    """

    data_directory: str
    weight: float = 1.0
    name: str = ""
    cameras: Mapping[str, str | None] = field(default_factory=dict)
    has_gripper: bool | None = None
    libero_images: LiberoImages = "auto"
    state_key: tuple[str, ...] | str | None = None
    action_key: tuple[str, ...] | str | None = None
    demos_per_task: int | None = None
    actions: bool = True

    def __post_init__(self) -> None:
        self.stream_keys  # noqa: B018  a key that is not readable is refused before anything is opened
        if not self.data_directory:
            raise ValueError("data.mixture: a dataset has no data_directory; give the root of each")
        if not (isfinite(self.weight) and self.weight > 0):
            raise ValueError(
                f"data.mixture: {self.data_directory} has weight {self.weight}, which must be positive; leave the "
                "dataset out instead"
            )
        if self.demos_per_task is not None and self.demos_per_task < 1:
            raise ValueError(
                f"data.mixture: {self.key} has demos_per_task={self.demos_per_task}; it must be at least 1"
            )
        given = [name for name in ("action_key", "has_gripper") if getattr(self, name) not in (None, False)]
        if given and not self.actions:
            raise ValueError(
                f"data.mixture: {self.key} has {given[0]}={getattr(self, given[0])}, but actions: false; leave out one "
                "of them"
            )

    @property
    def key(self) -> str:
        """Its name in evaluations."""
        return self.name or Path(self.data_directory).absolute().name

    @property
    def stream_keys(self) -> StreamKeys:
        """Its own keys of state and action."""
        return StreamKeys.parse(self.state_key, self.action_key, f"data.mixture: {self.key}: ")


@dataclass(frozen=True)
class DataConfig:
    """The demonstrations of a training.

    Attributes:
        data_directory: root of a LeRobot dataset (v2.1 or v3.0), a folder of LIBERO's HDF5 files, or one of nuScenes'
            format.
        mixture: several datasets on which one policy is trained, instead of `data_directory`. The other keys apply to
            each of them.
        demos_per_task: number of episodes of each task that are used, from the first on; None uses all.
        max_len_data: number of steps of each episode that are used, from the first on; None uses all.
        train_split: share of the episodes that is trained on. The others validate.
        preload_bytes: datasets up to this size are held in memory with their pictures decoded [bytes].
        num_workers: number of loader processes; 0 reads in the training process.
        validation_batches: number of batches in one validation.
        depth_unit: unit of depth pictures if the dataset does not declare it: m, cm, mm, or the metres of one unit.
        encoding_cache: folder that keeps the encodings of observations for other runs, if the recipe encodes every
            observation once; None keeps them in memory only.
        library: dataset of earlier episodes that a policy with `model.context.retrieval` looks up. None of them may be
            trained on.
        default_instruction: instruction of steps that have none. If it is empty, a dataset with such steps is refused.
        libero_images: orientation of the pictures in LIBERO's files: auto (as each file records), bottom_first (as
            OpenGL draws), upright, or turned (OpenGL's turned by 180 degrees, as in files made for OpenVLA).
        state_key: name of the state in the dataset: a key, a slice such as `observation.state[0:7]`, or a list of
            these, which are joined in this order; None is `observation.state`. In control, observations may use the
            same names.
        action_key: name of the action in the dataset, in the same form; None is `action`.
        nuscenes: how a folder of nuScenes' format is read.
    """

    data_directory: str = ""
    mixture: tuple[MemberConfig, ...] = ()
    demos_per_task: int | None = None
    max_len_data: int | None = None
    train_split: float = 0.9
    preload_bytes: int = 2 << 30
    num_workers: int = 0
    validation_batches: int = 4
    depth_unit: str | None = None
    encoding_cache: str | None = None
    library: str | None = None
    default_instruction: str = ""
    libero_images: LiberoImages = "auto"
    state_key: tuple[str, ...] | str | None = None
    action_key: tuple[str, ...] | str | None = None
    nuscenes: NuScenesOptions = field(default_factory=NuScenesOptions)

    def __post_init__(self) -> None:
        if self.mixture and (self.state_key is not None or self.action_key is not None):
            raise ValueError(
                "data.state_key and data.action_key are of data.data_directory; give each dataset of data.mixture its "
                "own state_key and action_key"
            )
        self.stream_keys  # noqa: B018  a key that is not readable is refused before anything is opened
        if self.data_directory and self.mixture:
            raise ValueError(
                f"data.data_directory={self.data_directory} and data.mixture exclude each other; leave out one of them"
            )
        if self.depth_unit is not None:
            parse_unit(self.depth_unit)
            if self.mixture:
                raise ValueError(
                    f"data.depth_unit={self.depth_unit} is for data.data_directory; for the datasets of data.mixture "
                    'write "depth_unit" to the "info" of each depth in its meta/info.json'
                )
        if self.mixture and self.libero_images != "auto":
            raise ValueError(
                f"data.libero_images={self.libero_images} is of data.data_directory; give each dataset of data.mixture "
                "its own libero_images"
            )
        problem = default_problem(self.default_instruction)
        if problem is not None:
            raise ValueError(f"data.default_instruction={problem}")
        if self.encoding_cache == "":
            raise ValueError("data.encoding_cache is empty; give a folder, or null to keep encodings in memory only")
        doubled = [name for name, count in Counter(member.key for member in self.mixture).items() if count > 1]
        if doubled:
            raise ValueError(f"data.mixture: several datasets are called {doubled[0]!r}; give each another name")
        if not 0 < self.train_split <= 1:
            raise ValueError(f"data.train_split={self.train_split} must lie in (0, 1]")
        leasts = {"demos_per_task": 1, "max_len_data": 2, "preload_bytes": 0, "num_workers": 0, "validation_batches": 1}
        for name, least in leasts.items():
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"data.{name}={value} must be at least {least}")

    @property
    def stream_keys(self) -> StreamKeys:
        """The dataset's own keys of state and action."""
        return StreamKeys.parse(self.state_key, self.action_key, "data.")


@dataclass(frozen=True)
class ObservationConfig:
    """Preprocessing of states, actions and pictures, in every recipe.

    Attributes:
        state_normalization: normalisation of the robot's state.
        action_normalization: normalisation of the continuous action dimensions. A gripper stays in {-1, +1}.
        shift_px: shift pictures at random by up to this many pixels in training; 0 does not shift them.
        blind: replace all pictures by black ones, in training and in control. This gives the blind baseline.
    """

    state_normalization: NormalizationMode = "mean_std"
    action_normalization: NormalizationMode = "mean_std"
    shift_px: int = 0
    blind: bool = False

    @property
    def applied_shift_px(self) -> int:
        """By how many pixels pictures are shifted at random: blank ones are not."""
        return 0 if self.blind else self.shift_px
