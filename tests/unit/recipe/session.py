"""Both phases of the tiny recipe for one epoch each, for torchrun: session.py DATASET OUT BATCH_SIZE."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from tests.unit.recipe.conftest import tiny_recipe

from tempovla.recipe.statevla import train_phase


def train(dataset: str | Path, out: str | Path, batch_size: int) -> None:
    """Batches are of `batch_size` rows in each process."""
    recipe = tiny_recipe(dataset)
    model = replace(recipe.model, freeze_encoder=False)
    settings = replace(recipe.training, batch_size=batch_size, train_steps=None, num_epochs=1)
    recipe = replace(recipe, model=model, training=settings)
    for phase in (1, 2):
        train_phase(recipe, phase, out)


if __name__ == "__main__":
    train(sys.argv[1], sys.argv[2], int(sys.argv[3]))
