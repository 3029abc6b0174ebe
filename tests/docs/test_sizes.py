"""The table of sizes in docs/systems/statevla.md is counted, not copied."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tempovla.model.vla.statevla import StateVLA
from tempovla.model.vla.statevla_config import StateVLAConfig
from tempovla.model.vla.statevla_sizes import part_sizes
from tempovla.recipe.demo import DemoConfig, demo_recipe

PAGE = Path(__file__).resolve().parents[2] / "docs" / "systems" / "statevla.md"


def sizes(config: StateVLAConfig) -> dict[str, int]:
    policy = StateVLA(config)
    counted = {name: size.weights for name, size in part_sizes(policy).items()}
    return {**counted, "tokens an observation": policy.encoder.tokenizer.num_tokens}


@pytest.mark.parametrize(
    ("column", "config"), [(1, StateVLAConfig()), (2, demo_recipe(DemoConfig()).model)], ids=["reference", "demo"]
)
def test_the_table_of_sizes_is_true(column, config):
    rows = [[cell.strip() for cell in row.split("|")[1:-1]] for row in re.findall(r"^\|.*\|$", PAGE.read_text(), re.M)]
    counted = sizes(config)
    table = {row[0]: row[column] for row in rows if row[0] in counted}
    assert table == {name: f"{size:,}" for name, size in counted.items()}
