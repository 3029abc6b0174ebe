"""The table of sizes in docs/systems/statevla.md is counted, not copied."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from tempovla.model.vla.statevla import StateVLA
from tempovla.model.vla.statevla_sizes import part_sizes
from tempovla.recipe.demo import DemoConfig, demo_recipe
from tempovla.recipe.statevla_config import StateVLARecipe

PAGE = Path(__file__).resolve().parents[2] / "docs" / "systems" / "statevla.md"


def sizes(recipe: StateVLARecipe) -> dict[str, int]:
    hidden = recipe.training.phase1.temporal_predictor_hidden_dim
    jepa = replace(recipe.model.jepa, temporal_predictor_hidden_dim=hidden)
    policy = StateVLA(replace(recipe.model, jepa=jepa))
    counted = {name: size.weights for name, size in part_sizes(policy).items()}
    counted["all of these"] = sum(counted.values()) - counted["target encoder (EMA, no gradient)"]
    return {**counted, "tokens an observation": policy.encoder.tokenizer.num_tokens}


@pytest.mark.parametrize(
    ("column", "recipe"), [(2, StateVLARecipe()), (3, demo_recipe(DemoConfig()))], ids=["guide", "demo"]
)
def test_the_table_of_sizes_is_true(column, recipe):
    rows = [[cell.strip() for cell in row.split("|")[1:-1]] for row in re.findall(r"^\|.*\|$", PAGE.read_text(), re.M)]
    counted = sizes(recipe)
    table = {row[0]: row[column] for row in rows if row[0] in counted}
    assert table == {name: f"{size:,}" for name, size in counted.items()}
