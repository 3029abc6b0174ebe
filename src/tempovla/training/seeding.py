"""Random numbers that depend on the place where they are drawn, and on no earlier draw."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import torch


def seed_draws(key: Sequence[int], device: torch.device) -> None:
    """Seed the generators of torch, numpy and Python from a key, so that later draws depend on it alone.

    Args:
        key: such as seed, train step, batch and process.
        device: whose generator is seeded beside the CPU's.
    """
    seed = int(np.random.SeedSequence(tuple(key)).generate_state(1, np.uint64)[0] >> 1)
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)
