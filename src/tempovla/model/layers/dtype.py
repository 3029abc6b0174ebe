"""Where numbers of float32, such as pixels, states and noise, meet weights that are kept in fewer bits."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def in_dtype_of(module: nn.Module, x: Tensor) -> Tensor:
    """Return `x` in the dtype of a module's weights, where these are bfloat16 or float16.

    Whole numbers stay as they are. So does everything in front of float32 weights, for which autocast decides.
    """
    weight = next(module.parameters(), None)
    if weight is None or weight.dtype.itemsize >= 4 or not x.is_floating_point():
        return x
    return x.to(weight.dtype)


def sums_dtype(dtype: torch.dtype) -> torch.dtype:
    """Return the dtype in which sums over many steps are kept: float32, or better where the numbers are."""
    return dtype if dtype.itemsize >= 4 else torch.float32
