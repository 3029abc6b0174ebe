from __future__ import annotations

from typing import Any

import pytest

from tempovla.data.nuscenes.options import NuScenesOptions
from tempovla.recipe.datasets import dataset_mixture
from tempovla.recipe.datasets.config import MemberConfig
from tempovla.recipe.systems.driving_config import DrivingDataConfig, DrivingRecipe


def test_folders_of_nuscenes_in_a_mixture_are_read_as_data_nuscenes_says(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def opened(*arguments: object, **options: object) -> None:
        asked.update(options)
        raise LookupError

    monkeypatch.setattr(dataset_mixture, "open_source", opened)
    member, options = MemberConfig("city"), NuScenesOptions(commands="path")
    with pytest.raises(LookupError):
        dataset_mixture.open_member(member, DrivingRecipe(DrivingDataConfig(mixture=(member,), nuscenes=options)))
    assert asked["nuscenes"] == options
