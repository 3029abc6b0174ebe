"""Small action heads of every kind, for the tests that hold for all of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from tempovla.model.action_head.base import ActionHeadBase
from tempovla.model.action_head.registry import build_action_head

FEATURES, HORIZON, ACTION = 8, 5, 3
SMALL = {"hidden_dim": 16, "num_layers": 2}
ATTENDING = {**SMALL, "num_heads": 2}

CASES: dict[str, tuple[str, Mapping[str, Any]]] = {
    "mlp": ("mlp", SMALL),
    "mlp-mse": ("mlp", {"loss": "mse", **SMALL}),
    "gaussian": ("gaussian", SMALL),
    "gaussian-squashed": ("gaussian", {"squash": True, **SMALL}),
    "gaussian-mixture": ("gaussian", {"num_modes": 3, **SMALL}),
    "diffusion-unet": ("diffusion", SMALL),
    "diffusion-transformer": ("diffusion", {"denoiser": "transformer", "draws": 2, **ATTENDING}),
    "diffusion-epsilon": ("diffusion", {"prediction_type": "epsilon", **SMALL}),
    "diffusion-v": ("diffusion", {"prediction_type": "v_prediction", **SMALL}),
    "flow": ("flow_matching", {"draws": 2, **ATTENDING}),
    "flow-mamba": ("flow_matching", {"network": "mamba", **SMALL}),
    "flow-cross-attention": ("flow_matching", {"network": "cross_attention", "draws": 2, **ATTENDING}),
    "modes": ("modes", {"num_modes": 3, **SMALL}),
    "transformer": ("transformer", ATTENDING),
    "transformer-noise": ("transformer", {"input_noise": 0.5, **ATTENDING}),
    "transformer-bins": ("transformer", {"num_bins": 16, **ATTENDING}),
}
ATTEND_TO_TOKENS = (
    "diffusion-transformer",
    "flow-cross-attention",
    *(case for case in CASES if case.startswith("transformer")),
)


def build(case: str) -> ActionHeadBase:
    """The head with random weights, its last layers included, so that all inputs show in its answer."""
    name, options = CASES[case]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        head = build_action_head(name, FEATURES, ACTION, HORIZON, options)
        for parameter in head.parameters():
            if not parameter.any():
                torch.nn.init.normal_(parameter, std=0.05)
    return head.eval()


def random(*shape: int, seed: int = 0) -> Tensor:
    """Normal numbers."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
