"""The layers that sharding takes one at a time."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.contract.registry import POLICIES
from tests.tiny import tiny_vla_config
from tests.tiny_models import VISION_SIZES
from torch import nn

from tempovla.model.layers.stacks import outermost_layers, recomputed_layers
from tempovla.model.layers.transformer import Transformer
from tempovla.model.vla.vla_model import VLAModel
from tempovla.model.vlm.vision_encoder import VisionEncoderConfig


def test_layers_are_entries_of_the_outermost_lists():
    inner = nn.ModuleList([nn.Linear(1, 1)])
    block = nn.Sequential(nn.Linear(2, 2), inner)
    model = nn.Sequential(nn.Linear(3, 3), nn.ModuleList([block, nn.ReLU()]), nn.Sequential(nn.ModuleList([nn.GELU()])))
    assert [type(layer) for layer in outermost_layers(model)] == [nn.Sequential, nn.ReLU, nn.GELU]
    assert recomputed_layers(model) == []


def test_recomputed_layers_are_those_of_stacks_that_run_one_layer_at_a_time():
    stack = Transformer(4, 3, 2, 5)
    assert recomputed_layers(nn.Sequential(stack, nn.ModuleList([nn.Linear(1, 1)]))) == list(stack.blocks)


@pytest.mark.parametrize("lora", [False, True])
def test_a_vla_is_sharded_by_the_layers_of_vision_language_and_head(lora):
    architecture = {"model_type": "siglip_vision_model", **VISION_SIZES, "image_size": 16, "patch_size": 8}
    config = tiny_vla_config("flow_matching")
    vision = VisionEncoderConfig("siglip", freeze=True, architecture=architecture)
    policy = VLAModel(replace(config, vlm=replace(config.vlm, vision=vision)))
    if lora:
        pytest.importorskip("peft")
        policy.enable_lora(r=2)
    names = {id(module): name for name, module in policy.named_modules()}
    stacks = {names[id(unit)].rpartition(".")[0] for unit in policy.shard_units()}
    assert stacks == {
        "vlm.vision.encoder.model.encoder.layers",
        "vlm.language.decoder.layers",
        "action_head.network.backbone.blocks",
    }


@pytest.mark.parametrize(
    ("name", "units"),
    [("openvla", 3 + 3 + 2), ("smolvla", 2 + 1 + 2), ("smolvla-metaworld", 2 + 2), ("statevla-policy", 1 + 1 + 1)],
)
def test_other_policies_are_sharded_by_their_layers(name, units):
    assert len(POLICIES[name].build().shard_units()) == units
