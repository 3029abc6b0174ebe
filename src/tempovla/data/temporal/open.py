"""Opening a mixture of datasets by its name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tempovla.data.errors import DatasetError
from tempovla.data.open import open_source
from tempovla.data.temporal.dataset import TemporalDataset, TemporalPart
from tempovla.data.temporal.mixtures import MixtureTable
from tempovla.timeline.arguments import path_argument


def open_mixture(
    mixture: str, root: str | Path, *, table: MixtureTable | None = None, **options: Any
) -> TemporalDataset:
    """Return the samples of a mixture.

    Args:
        mixture: its name.
        root: folder of all datasets.
        table: mixtures and types of robots; None takes those that are registered.
        options: of `TemporalDataset`, such as `include_state`.

    Raises:
        ValueError: if there is no such mixture or type of robot, or its datasets make no samples together.
        DatasetError: if a dataset is missing, or cannot be used.
    """
    table = MixtureTable.registered() if table is None else table
    folder = path_argument("root", root, "the folder of all datasets")
    parts = []
    for member in table.members(mixture):
        config, path = table.config(member.robot_type), folder / member.dataset
        if not path.exists():
            raise DatasetError(
                f"{path}: no such dataset, which the mixture {mixture} holds; give the folder of all datasets as root"
            )
        source = open_source(path, keys=member.stream_keys)
        parts.append(TemporalPart(source, config, member.weight, name=member.dataset))
    return TemporalDataset(parts, **options)
