"""How far results in bfloat16 and float16 may be from those in float32."""

from __future__ import annotations

import torch
from torch import Tensor

HALVES = (torch.bfloat16, torch.float16)
ROUNDINGS = 16


def assert_close(low: Tensor, full: Tensor, dtype: torch.dtype, roundings: int = ROUNDINGS, scale: float = 0.0) -> None:
    """Within roundings of the largest number; `scale` is that of numbers on the way, such as noise, if larger."""
    assert low.isfinite().all()
    bound = roundings * torch.finfo(dtype).eps * max(scale, float(full.detach().abs().max()))
    assert float((low.float() - full).detach().abs().max()) <= bound
