"""A few steps on two bodies, for several processes."""

from __future__ import annotations

from pathlib import Path

from tests.rounding import smooth_steps
from tests.unit.recipe.mixtures import mixed_recipe

from tempovla.recipe.vla import train_vla


@smooth_steps()
def train(root: str | Path, out: str | Path, batch_size: int, parallel: str = "ddp") -> None:
    """Batches are of `batch_size` rows in each process."""
    train_vla(mixed_recipe(Path(root), batch_size=batch_size, train_steps=4, parallel=parallel), out)
