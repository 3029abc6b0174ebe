"""Random numbers that follow from where they are drawn, and from nothing that was drawn before."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import torch


def seed_draws(key: Sequence[int], device: torch.device) -> None:
    """Make what follows draw the numbers of this key, and of no other, from the generators of torch, numpy and Python.

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
