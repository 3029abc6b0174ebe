"""A user's own mixtures and types of robots, in a YAML file.

```yaml
robot_types:
  my_arm: {observation_indices: [0, 8], action_indices: [0, 1, 2, 3, 4, 5, 6, 7], has_gripper: true}
mixtures:
  my_tasks:
    - {dataset: drawer, weight: 2.0, robot_type: my_arm}
    - {dataset: lamp, robot_type: my_arm}
```
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml

from tempovla.data.temporal.config import ROBOT_TYPE_REGISTRY, TemporalDataConfig
from tempovla.data.temporal.mixtures import MixtureTable, TemporalMember
from tempovla.recipe.datasets.config import MemberConfig
from tempovla.recipe.settings.values_only import load_yaml
from tempovla.storage.json_files import read_text, shown
from tempovla.storage.said_by import said_by
from tempovla.timeline.config import config_from_json

T = TypeVar("T")
SECTIONS = ("robot_types", "mixtures")


def read_mixtures(path: str | Path) -> MixtureTable:
    """Return the registered types of robots and mixtures with those of a YAML file.

    Raises:
        ValueError: naming the file and the key, if it cannot be read or holds something else.
    """
    try:
        found = load_yaml(read_text(Path(path), remedy="give a YAML file"))
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: no YAML ({' '.join(str(error).split())}); mend the file") from None
    if not isinstance(found, Mapping) or not found or not {*found} <= {*SECTIONS}:
        raise ValueError(f"{path}: holds {shown(found)}; it must hold {' and '.join(SECTIONS)}")
    types = {
        name: _read(TemporalDataConfig, entry, f"{path}: robot_types.{name}")
        for name, entry in _entries(found, "robot_types", path).items()
    }
    mixtures = {name: _members(entry, name, path) for name, entry in _entries(found, "mixtures", path).items()}
    return MixtureTable.registered().with_own(types, mixtures)


def member_configs(table: MixtureTable, mixture: str, root: str | Path) -> tuple[MemberConfig, ...]:
    """Return the datasets of a mixture as a recipe's `data.mixture` names them.

    Raises:
        ValueError: if there is no such mixture.
    """
    return tuple(
        MemberConfig(
            str(Path(root) / member.dataset),
            member.weight,
            member.dataset,
            state_key=member.state_key,
            action_key=member.action_key,
        )
        for member in table.members(mixture)
    )


def target_remedy(
    table: MixtureTable, mixture: str, member: TemporalMember, later: Sequence[int], action_horizon: int
) -> str:
    """Return what to do where the type of robot of a dataset does not observe a target that the model has.

    Args:
        table: types of robots and mixtures.
        mixture: name of the mixture.
        member: the dataset.
        later: steps after now that the model observes: k, and then the further horizons.
        action_horizon: number of actions of a chunk.
    """
    config = table.config(member.robot_type)
    missing = next(step for step in later if step not in config.observation_indices)
    remedies = []
    if missing != later[0]:
        remedies.append(f"leave {missing} out of model.horizons")
    elif config.k is not None:
        remedies.append(f"set model.temporal_delta_k={config.k}")
    if table.robot_types[member.robot_type] is not ROBOT_TYPE_REGISTRY.get(member.robot_type):
        remedies.append(f"add {missing} to the observation_indices of {member.robot_type}")
    fitting = _fitting(table, {each.dataset for each in table.members(mixture)}, later, action_horizon)
    remedies.append("choose another mixture" + (f", such as {fitting[0]}" if fitting else ""))
    return ", or ".join(remedies)


def _fitting(table: MixtureTable, datasets: set[str], later: Sequence[int], action_horizon: int) -> list[str]:
    """Names of mixtures with some of these datasets, all of whose types observe these steps, for such chunks."""
    wanted = {0, *later}

    def fits(member: TemporalMember) -> bool:
        if member.robot_type not in table.robot_types:
            return False
        config = table.config(member.robot_type)
        return wanted <= {*config.observation_indices} and config.action_horizon == action_horizon

    return [
        name
        for name, members in table.mixtures.items()
        if datasets & {member.dataset for member in members} and all(map(fits, members))
    ]


def _entries(found: Mapping[str, Any], section: str, path: str | Path) -> Mapping[str, Any]:
    entries = found.get(section, {})
    if not isinstance(entries, Mapping) or not all(isinstance(name, str) for name in entries):
        raise ValueError(f"{path}: {section} is {shown(entries)}; it must hold entries by name")
    return entries


def _members(entries: Any, name: str, path: str | Path) -> tuple[TemporalMember, ...]:
    if not isinstance(entries, list):
        raise ValueError(f"{path}: mixtures.{name} is {shown(entries)}; it must be a list of datasets")
    return tuple(
        _read(TemporalMember, entry, f"{path}: mixtures.{name}[{place}]") for place, entry in enumerate(entries)
    )


def _read(cls: type[T], entry: Any, where: str) -> T:
    with said_by(where, remedy="mend the file"):
        return config_from_json(cls, entry, where, upgrade=False)
