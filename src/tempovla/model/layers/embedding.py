"""Embeddings of continuous quantities."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def sinusoidal_embedding(value: Tensor, dim: int, *, max_period: float = 4.0, min_period: float = 4e-3) -> Tensor:
    """Return sine and cosine features (B, dim) float32 of a scalar (B,), periods spaced geometrically.

    The default periods fit a flow time in [0, 1].

    Raises:
        ValueError: if `dim` is odd.
    """
    if dim % 2:
        raise ValueError(f"an embedding of dim={dim} cannot be half sines and half cosines; make it even")
    periods = torch.exp(torch.linspace(math.log(min_period), math.log(max_period), dim // 2, device=value.device))
    angle = 2.0 * math.pi * value.float()[:, None] / periods
    return torch.cat([angle.sin(), angle.cos()], dim=-1)
