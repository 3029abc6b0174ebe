"""Mixtures of datasets by name: folders below one root, each with a weight and the type of its robot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import isfinite
from pathlib import PurePath

from tempovla.data.stream_keys import StreamKeys
from tempovla.data.temporal.config import ROBOT_TYPE_REGISTRY, TemporalDataConfig, close_names
from tempovla.storage.said_by import said_by


@dataclass(frozen=True)
class TemporalMember:
    """One dataset of a mixture.

    Attributes:
        dataset: name of its folder below the root of all datasets.
        weight: how often it is drawn from, relative to the others.
        robot_type: name in `ROBOT_TYPE_REGISTRY` of what a sample of it holds.
        state_key: name of the state in the dataset, as `data.state_key` of a training; None is `observation.state`.
        action_key: name of the action in the dataset, in the same form; None is `action`.
    """

    dataset: str
    weight: float = 1.0
    robot_type: str = "libero_franka"
    state_key: tuple[str, ...] | str | None = None
    action_key: tuple[str, ...] | str | None = None

    def __post_init__(self) -> None:
        parts = PurePath(self.dataset).parts
        if not self.dataset or PurePath(self.dataset).is_absolute() or ".." in parts:
            raise ValueError(f"dataset {self.dataset!r} of a mixture must name a folder below the root of all datasets")
        if not (isfinite(self.weight) and self.weight > 0):
            raise ValueError(
                f"dataset {self.dataset} has weight {self.weight}, which must be positive; leave the dataset out"
            )
        self.stream_keys  # noqa: B018  a key that is not readable is refused before anything is opened

    @property
    def stream_keys(self) -> StreamKeys:
        """The dataset's own keys of state and action."""
        return StreamKeys.parse(self.state_key, self.action_key, f"dataset {self.dataset}: ")


def _libero(suite: str, version: str = "_1.0.0") -> TemporalMember:
    """A suite of LIBERO, in the folder in which its LeRobot dataset is published."""
    return TemporalMember(f"{suite}_no_noops{version}_lerobot")


LIBERO_SUITES = ("libero_object", "libero_goal", "libero_spatial", "libero_10")

NAMED_MIXTURES: dict[str, tuple[TemporalMember, ...]] = {
    "libero_all": tuple(_libero(suite) for suite in LIBERO_SUITES),
    "libero_all_whole_chunk": tuple(
        replace(_libero(suite), robot_type="libero_franka_whole_chunk") for suite in LIBERO_SUITES
    ),
    "libero_object": (_libero("libero_object"),),
    "libero_goal": (_libero("libero_goal"),),
    "libero_spatial": (_libero("libero_spatial"),),
    "libero_10": (_libero("libero_10"),),
    "libero_90": (_libero("libero_90", version=""),),
    "libero_openpi": (TemporalMember("physical-intelligence/libero", state_key="state", action_key="actions"),),
    "bridge": (TemporalMember("bridge_orig_1.0.0_lerobot", robot_type="oxe_bridge"),),
    "bridge_rt_1": (
        TemporalMember("bridge_orig_1.0.0_lerobot", robot_type="oxe_bridge"),
        TemporalMember("fractal20220817_data_0.1.0_lerobot", robot_type="oxe_rt1"),
    ),
}
"""Mixtures by name. A module of your own adds to it, or a YAML file; see `recipe.systems.temporal_mixtures`."""


@dataclass(frozen=True)
class MixtureTable:
    """Types of robots and mixtures, those that come with the package and a user's own.

    Attributes:
        robot_types: what a sample holds, by type of robot: a config, or its class.
        mixtures: datasets by name of the mixture.
    """

    robot_types: Mapping[str, TemporalDataConfig | type[TemporalDataConfig]] = field(default_factory=dict)
    mixtures: Mapping[str, tuple[TemporalMember, ...]] = field(default_factory=dict)

    @classmethod
    def registered(cls) -> MixtureTable:
        """Return what is registered."""
        return cls(dict(ROBOT_TYPE_REGISTRY), dict(NAMED_MIXTURES))

    def with_own(
        self, robot_types: Mapping[str, TemporalDataConfig], mixtures: Mapping[str, tuple[TemporalMember, ...]]
    ) -> MixtureTable:
        """Return the table with a user's own entries, which go before those of the same name."""
        return MixtureTable({**self.robot_types, **robot_types}, {**self.mixtures, **mixtures})

    def members(self, mixture: str) -> tuple[TemporalMember, ...]:
        """Return the datasets of a mixture.

        Raises:
            ValueError: if there is no such mixture, with the nearest names, or it is empty or names a dataset twice.
        """
        if mixture not in self.mixtures:
            remedy = close_names(mixture, sorted(self.mixtures), "the mixtures")
            raise ValueError(f"mixture {mixture!r} is unknown; {remedy}")
        members = tuple(self.mixtures[mixture])
        if not members:
            raise ValueError(f"mixture {mixture!r} holds no dataset; name at least one")
        names = [member.dataset for member in members]
        doubled = [name for place, name in enumerate(names) if name in names[:place]]
        if doubled:
            raise ValueError(f"mixture {mixture!r} names the dataset {doubled[0]} twice; give it one weight")
        return members

    def config(self, robot_type: str) -> TemporalDataConfig:
        """Return what a sample of a type of robot holds.

        Raises:
            ValueError: if there is no such type, with the nearest names, or its steps make no sample.
        """
        if robot_type not in self.robot_types:
            remedy = close_names(robot_type, sorted(self.robot_types), "the types")
            raise ValueError(f"robot type {robot_type!r} is unknown; {remedy}")
        found = self.robot_types[robot_type]
        with said_by(f"robot type {robot_type}", remedy="mend its class"):
            return found() if isinstance(found, type) else found
