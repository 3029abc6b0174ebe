"""Tensors are handed to safetensors as bytes by torch itself: that makes no type of ctypes for every tensor.

Half of the time of a checkpoint of many small tensors goes into such types otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from safetensors import torch as files

_PLAIN = {torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.uint8}


@contextmanager
def tensors_written_quickly() -> Iterator[None]:
    """Within it files are the same, and are written sooner; where safetensors is another inside, nothing changes."""
    inside: Any = getattr(files, "_to_ndarray", None)

    def as_bytes(tensor: torch.Tensor) -> Any:
        if tensor.device.type != "cpu" or tensor.dtype not in _PLAIN or not tensor.numel():
            return inside(tensor)
        return tensor.detach().flatten().view(torch.uint8).numpy(), tensor

    with pytest.MonkeyPatch.context() as patch:
        if inside is not None:
            patch.setattr(files, "_to_ndarray", as_bytes)
        yield
