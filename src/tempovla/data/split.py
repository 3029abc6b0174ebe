"""Training and validation split, by episode: neighbouring frames of one episode never end up on both sides."""

from __future__ import annotations

import numpy as np


def split_episodes(episodes: int, validation: float, seed: int) -> tuple[list[int], list[int]]:
    """Split episodes 0, ..., `episodes` - 1 at random into (training, validation).

    Args:
        episodes: how many there are.
        validation: fraction for validation in [0, 1); at least one episode when it is positive and there are two.
        seed: the same seed gives the same split.
    """
    if not 0.0 <= validation < 1.0:
        raise ValueError(f"validation fraction {validation} must be in [0, 1)")
    order = np.random.default_rng((seed, episodes)).permutation(episodes).tolist()
    held_out = round(validation * episodes)
    if validation > 0.0 and episodes > 1:
        held_out = min(max(held_out, 1), episodes - 1)
    return sorted(order[held_out:]), sorted(order[:held_out])
