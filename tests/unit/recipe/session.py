"""Both phases of a small recipe for one epoch each, for torchrun: session.py KIND DATASET OUT BATCH_SIZE."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from tests.unit.recipe.conftest import guide_recipe, tiny_recipe

from tempovla.recipe.statevla import train_phase


def train(kind: str, dataset: str | Path, out: str | Path, batch_size: int) -> None:
    """Batches are of `batch_size` rows in each process.

    In phase 2 `guide` freezes the encoder, `cached` freezes it and encodes each observation once, `tiny` trains it on.
    """
    recipe = guide_recipe(dataset)
    if kind == "cached":
        recipe = replace(
            recipe, training=replace(recipe.training, phase2=replace(recipe.training.phase2, cache_encodings=True))
        )
    if kind == "tiny":
        recipe = tiny_recipe(dataset)
        recipe = replace(recipe, model=replace(recipe.model, freeze_encoder=False))
    recipe = replace(recipe, training=replace(recipe.training, batch_size=batch_size, train_steps=None, num_epochs=1))
    for phase in (1, 2):
        train_phase(recipe, phase, out)


if __name__ == "__main__":
    train(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
