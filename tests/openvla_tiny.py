"""A tiny OpenVLA with random weights, in the layout of the published one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from tempovla.model.vla.openvla_config import OpenVLAConfig
from tempovla.model.vla.openvla_wrapper import OpenVLAWrapper
from tempovla.model.vlm.prismatic import PrismaticConfig
from tempovla.model.vlm.prismatic_vision import DINOV2_LARGE, SIGLIP_SO400M

SMALL = {"image_size": 28, "embed_dim": 16, "depth": 3, "num_heads": 2, "mlp_dim": 24}
DINO = replace(DINOV2_LARGE, **SMALL)
SIGLIP = replace(SIGLIP_SO400M, **SMALL)
LANGUAGE = {
    "model_type": "llama",
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-6,
    "bos_token_id": 1,
    "pad_token_id": None,
}
FRONT = "observation.images.front"
STATISTICS = {
    "bridge": {"action": {"q01": [-1.0, 0.0, 0.0], "q99": [3.0, 0.5, 1.0], "mask": [True, True, False]}},
    "toto": {"action": {"q01": [-2.0, -2.0, -2.0], "q99": [2.0, 2.0, 2.0]}},
}


def tiny_config(**options: Any) -> OpenVLAConfig:
    """40 words, of which 16 are actions, and 24 more rows; three dimensions of action."""
    settings = {"action_dim": 3, "num_bins": 16, "padding_tokens": 24, "empty_token": 7, "norm_stats": STATISTICS}
    return OpenVLAConfig(PrismaticConfig(DINO, SIGLIP, LANGUAGE), FRONT, **{**settings, **options})


def tiny_policy(seed: int = 0, **options: Any) -> OpenVLAWrapper:
    """The policy in evaluation mode, with weights large enough that its words depend on what it sees."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        policy = OpenVLAWrapper(tiny_config(**options)).eval()
        for name, weight in policy.named_parameters():
            if weight.dim() > 1:
                torch.nn.init.normal_(weight, std=0.3)
            elif name.endswith("scale_factor"):
                torch.nn.init.ones_(weight)
    return policy
