"""How long a policy of medium size takes from its bundle, built with random first weights and without.

python benchmarks/load_policy.py
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from tempovla.model.vla import OpenVLAConfig, OpenVLAWrapper, load_policy
from tempovla.model.vla.weights import load_weights
from tempovla.model.vlm.prismatic import LLAMA_2_7B, PrismaticConfig
from tempovla.model.vlm.prismatic_vision import DINOV2_LARGE, SIGLIP_SO400M
from tempovla.timeline import Bundle
from tempovla.timeline.bodies import LIBERO_PANDA
from tempovla.timeline.config import config_to_json

ROUNDS = 3
LANGUAGE = {"hidden_size": 1024, "intermediate_size": 2816, "num_hidden_layers": 12, "num_attention_heads": 16}


def measured(run: Callable[[], Any]) -> tuple[Any, float]:
    """What `run` gives, and its CPU time [s]."""
    started_s = time.process_time()
    return run(), time.process_time() - started_s


def main() -> None:
    """Print both, round by round."""
    torch.set_num_threads(1)
    towers = (replace(DINOV2_LARGE, depth=12), replace(SIGLIP_SO400M, depth=6))
    config = OpenVLAConfig(PrismaticConfig(*towers, {**LLAMA_2_7B, **LANGUAGE}))
    first = OpenVLAWrapper(config)
    weights = first.state_dict()
    bundle = Bundle("openvla", config_to_json(config), first.windows(), LIBERO_PANDA, {}, weights)
    sys.stdout.write(f"{sum(weight.numel() for weight in weights.values()) / 1e6:.0f} million weights\n")

    def plainly() -> OpenVLAWrapper:
        policy = OpenVLAWrapper(config)
        load_weights(policy, bundle.weights, "bundle")
        return policy

    for _ in range(ROUNDS):
        for name, run in (("with first weights", plainly), ("without", lambda: load_policy(bundle))):
            policy, spent_s = measured(run)
            loaded = policy.state_dict()
            same = all(torch.equal(loaded[key], weight) for key, weight in weights.items())
            sys.stdout.write(f"{name:20} {spent_s:5.2f} s of CPU time, weights as in the bundle: {same}\n")
            del policy, loaded


if __name__ == "__main__":
    main()
