"""Demonstrations that a recipe names as a mixture, for policies with a target k steps later."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from tempovla.data.temporal.mixtures import MixtureTable
from tempovla.recipe.datasets.config import DataConfig
from tempovla.recipe.systems.temporal_mixtures import member_configs, read_mixtures, target_remedy


@dataclass(frozen=True)
class MixtureDataConfig(DataConfig):
    """The demonstrations, which may be given by the name of a mixture.

    Attributes:
        data_mix: name of a mixture of datasets, such as libero_all, in the place of `data_directory` and `mixture`.
        data_root_dir: folder of all datasets of `data_mix`.
        mixtures: YAML file with mixtures and types of robots of your own, beside those that come with the package.
    """

    data_mix: str = ""
    data_root_dir: str = ""
    mixtures: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        other = next((name for name in ("data_directory", "mixture") if getattr(self, name)), None)
        if self.data_mix and other is not None:
            raise ValueError(
                f"data.data_mix={self.data_mix} and data.{other} exclude each other; leave out one of them"
            )

    def resolved(self, later: Sequence[int], action_horizon: int) -> Self:
        """Return the config with the datasets that `data_mix` names.

        Args:
            later: steps after now that the policy's training observes: k, and then the further horizons.
            action_horizon: number of actions of a chunk.

        Raises:
            ValueError: if there is no such mixture, a type of robot has other steps, or the folder is not given, or
                given without a mixture.
        """
        if not self.data_mix:
            self._check_root()
            return self
        table = MixtureTable.registered() if self.mixtures is None else read_mixtures(self.mixtures)
        for member in table.members(self.data_mix):
            config, where = table.config(member.robot_type), f"data.data_mix={self.data_mix}: {member.dataset}"
            kind = f"is of the robot type {member.robot_type}, which"
            missing = [step for step in later if step not in config.observation_indices]
            if missing:
                remedy = target_remedy(table, self.data_mix, member, later, action_horizon)
                raise ValueError(
                    f"{where} {kind} observes {list(config.observation_indices)}, not {missing[0]} steps later; "
                    f"{remedy}"
                )
            if action_horizon != config.action_horizon:
                raise ValueError(
                    f"{where} {kind} holds {config.action_horizon} actions; set model.action_horizon="
                    f"{config.action_horizon}, or choose another mixture"
                )
        if not self.data_root_dir:
            raise ValueError(f"data.data_mix={self.data_mix}: set data.data_root_dir to the folder of all its datasets")
        members = member_configs(table, self.data_mix, self.data_root_dir)
        if len(members) == 1:
            (only,) = members
            state_key = self.state_key if only.state_key is None else only.state_key
            action_key = self.action_key if only.action_key is None else only.action_key
            found = replace(self, data_mix="", data_directory=only.data_directory)
            return replace(found, state_key=state_key, action_key=action_key)
        return replace(self, data_mix="", mixture=members)

    def _check_root(self) -> None:
        """Refuse a folder of all datasets that no dataset is in, as is the case where no mixture is named."""
        folders = [self.data_directory, *(member.data_directory for member in self.mixture)]
        root = self.data_root_dir
        if root and not any(Path(folder).is_relative_to(root) for folder in folders if folder):
            raise ValueError(
                f"data.data_root_dir={root} is the folder of the datasets of a mixture, but none is named; set "
                "data.data_mix, or leave data.data_root_dir out"
            )
