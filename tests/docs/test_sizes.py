"""The table of sizes in docs/systems/statevla.md is counted, not copied."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from torch import nn

from tempovla.model.vla.statevla import StateVLA, StateVLAConfig
from tempovla.recipe.demo import DemoConfig, demo_recipe

PAGE = Path(__file__).resolve().parents[2] / "docs" / "systems" / "statevla.md"


def count(*modules: nn.Module | None) -> int:
    return sum(parameter.numel() for module in modules if module is not None for parameter in module.parameters())


def sizes(config: StateVLAConfig) -> dict[str, int]:
    policy = StateVLA(config)
    tokenizer = policy.encoder.tokenizer
    return {
        "image tokenizer, shared by the cameras": count(tokenizer.image),
        "language": count(tokenizer.language),
        "robot state": count(tokenizer.robot_state),
        "sequence encoder": count(policy.encoder.encoder),
        "read-out": count(policy.encoder.readout),
        "target encoder (EMA, no gradient)": count(policy.target_encoder),
        "temporal predictor": count(policy.temporal_predictor),
        "inverse dynamics, behaviour cloning": count(policy.inverse_dynamics, policy.behavior_cloning),
        "flow-matching policy": count(policy.flow_policy),
        "gripper classifier": count(policy.gripper),
        "tokens an observation": tokenizer.num_tokens,
    }


@pytest.mark.parametrize(
    ("column", "config"), [(1, StateVLAConfig()), (2, demo_recipe(DemoConfig()).model)], ids=["reference", "demo"]
)
def test_the_table_of_sizes_is_true(column, config):
    rows = [[cell.strip() for cell in row.split("|")[1:-1]] for row in re.findall(r"^\|.*\|$", PAGE.read_text(), re.M)]
    table = {row[0]: row[column] for row in rows if row[0] in sizes(config)}
    assert table == {name: f"{size:,}" if size else "" for name, size in sizes(config).items()}
