"""The tables of sizes in docs/systems/statevla.md and smolvla.md are counted, not copied."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tempovla.model.vla.smolvla_config import SmolVLAConfig
from tempovla.model.vla.smolvla_wrapper import SmolVLAWrapper
from tempovla.model.vla.statevla import StateVLA
from tempovla.model.vla.statevla_sizes import part_sizes
from tempovla.model.vlm.smolvlm_config import SmolVLMBackboneConfig
from tempovla.recipe.demo import DemoConfig, demo_recipe
from tempovla.recipe.systems.statevla_config import StateVLARecipe

PAGE = Path(__file__).resolve().parents[2] / "docs" / "systems" / "statevla.md"
SMOLVLA = PAGE.with_name("smolvla.md")

SIGLIP = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
SIGLIP |= {"image_size": 512, "patch_size": 16}
SIZES = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
SMOLLM2 = {"SmolVLM-256M": (576, 30, 9, 1536), "SmolVLM2-500M": (960, 32, 15, 2560)}
VOCABULARY = 49_280


def sizes(recipe: StateVLARecipe) -> dict[str, int]:
    hidden = recipe.training.phase1.temporal_predictor_hidden_dim
    jepa = replace(recipe.model.jepa, temporal_predictor_hidden_dim=hidden)
    policy = StateVLA(replace(recipe.model, jepa=jepa))
    counted = {name: size.weights for name, size in part_sizes(policy).items()}
    counted["all of these"] = sum(counted.values()) - counted["target encoder (EMA, no gradient)"]
    return {**counted, "tokens an observation": policy.encoder.tokenizer.num_tokens}


@pytest.mark.parametrize(
    ("column", "recipe"), [(2, StateVLARecipe()), (3, demo_recipe(DemoConfig()))], ids=["original", "demo"]
)
def test_the_table_of_sizes_is_true(column, recipe):
    rows = [[cell.strip() for cell in row.split("|")[1:-1]] for row in re.findall(r"^\|.*\|$", PAGE.read_text(), re.M)]
    counted = sizes(recipe)
    table = {row[0]: row[column] for row in rows if row[0] in counted}
    assert table == {name: f"{size:,}" for name, size in counted.items()}


def smolvla(name: str) -> SmolVLAWrapper:
    """Without numbers in its weights, a robot of six joints."""
    text = {"model_type": "llama", "vocab_size": VOCABULARY, "head_dim": 64}
    text |= dict(zip(SIZES, SMOLLM2[name], strict=True)) | {"num_key_value_heads": SMOLLM2[name][2] // 3}
    whole = {"model_type": "smolvlm", "scale_factor": 4, "vision_config": SIGLIP, "text_config": text}
    vlm = SmolVLMBackboneConfig(architecture=whole)
    with torch.device("meta"):
        return SmolVLAWrapper(SmolVLAConfig(vlm, robot_state_dim=6, action_dim=6, train_expert_only=True))


@pytest.mark.parametrize("name", SMOLLM2)
def test_the_table_of_smolvlas_sizes_is_true(name):
    policy = smolvla(name)
    weights, expert = (sum(weight.numel() for weight in part.parameters()) for part in (policy, policy.expert))
    learned = sum(weight.numel() for weight in policy.parameters() if weight.requires_grad)
    assert f"| {name}, 16 layers | {weights:,} | {expert:,} | {learned:,} |" in SMOLVLA.read_text()
    assert policy.vlm.num_image_tokens == 64
    if name == "SmolVLM2-500M":  # of the published one, with what is not loaded here
        width, inner = 960, 2560
        head, last_layer = VOCABULARY * width + width, 2 * width * width + 3 * width * inner + width
        assert round((weights + head + last_layer) / 1e6) == 450
