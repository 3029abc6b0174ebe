"""Random numbers as a pure function of a row's seed.

A stateful generator makes draws depend on batch size, row order, sharding and what ran before. These do not: the
numbers of a row follow from its seed alone, on any device, so that exact resume, DDP and parallel environments need
no generator state. Bits come from the SplitMix64 finaliser (Steele et al., 2014) over a counter, normals from
Box and Muller's transform.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

_GAMMA = 0x9E3779B97F4A7C15 - (1 << 64)
_MIX_1 = 0xBF58476D1CE4E5B9 - (1 << 64)
_MIX_2 = 0x94D049BB133111EB - (1 << 64)


def _shift_right(bits: Tensor, count: int) -> Tensor:
    return (bits >> count) & ((1 << (64 - count)) - 1)  # logical, although int64 is signed


def _wrap(number: int) -> int:
    return (number + (1 << 63)) % (1 << 64) - (1 << 63)  # as int64 arithmetic overflows


def mix_seed(seed: Tensor, salt: Tensor | int) -> Tensor:
    """Return a new int64 seed from a seed and a salt (int or int64 tensor that broadcasts)."""
    step = _GAMMA * (salt + 1)
    bits = seed + (_wrap(step) if isinstance(step, int) else step)
    bits = (bits ^ _shift_right(bits, 30)) * _MIX_1
    bits = (bits ^ _shift_right(bits, 27)) * _MIX_2
    return bits ^ _shift_right(bits, 31)


def row_seeds(
    generator: torch.Generator | Tensor | None, batch_size: int, device: torch.device | str = "cpu"
) -> Tensor:
    """Return seeds (B,) int64 of a batch's rows: those given, else drawn from a generator (None: torch's default one).

    Raises:
        ValueError: if seeds are given that are not `batch_size` int64 numbers.
    """
    if isinstance(generator, Tensor):
        if generator.shape != (batch_size,) or generator.dtype != torch.int64:
            raise ValueError(
                f"row seeds {tuple(generator.shape)} ({generator.dtype}) must be ({batch_size},) int64, one for each "
                "row"
            )
        return generator.to(device)
    source = "cpu" if generator is None else generator.device  # the default one: the same seeds for every device
    drawn = torch.randint(-(2**63), 2**63 - 1, (batch_size,), generator=generator, device=source)
    return drawn.to(device)


def _row_bits(seed: Tensor, count: int, stream: int) -> Tensor:
    counter = torch.arange(count, dtype=torch.int64, device=seed.device)
    return mix_seed(mix_seed(seed, stream)[:, None], counter)


def row_uniform(seed: Tensor, shape: Sequence[int] = (), *, stream: int = 0) -> Tensor:
    """Return (B, *shape) float32 in [0, 1), from seed (B,) int64; another `stream` gives independent draws."""
    bits = _row_bits(seed, math.prod(shape), stream)
    return (_shift_right(bits, 40).to(torch.float32) * 2.0**-24).view(seed.shape[0], *shape)


def row_integers(seed: Tensor, low: int, high: int, shape: Sequence[int] = (), *, stream: int = 0) -> Tensor:
    """Return (B, *shape) int64 in [low, high), from seed (B,) int64."""
    return low + (row_uniform(seed, shape, stream=stream).double() * (high - low)).long()


def row_normal(seed: Tensor, shape: Sequence[int] = (), *, stream: int = 0) -> Tensor:
    """Return (B, *shape) float32 standard normal, from seed (B,) int64; another `stream` gives independent draws."""
    count = math.prod(shape)
    half = (count + 1) // 2
    uniform = row_uniform(seed, (2, half), stream=stream)
    radius = torch.sqrt(-2.0 * torch.log1p(-uniform[:, 0]))  # 1 - u lies in (0, 1]: no log of zero
    angle = 2.0 * math.pi * uniform[:, 1]
    normal = torch.cat([radius * torch.cos(angle), radius * torch.sin(angle)], dim=1)
    return normal[:, :count].reshape(seed.shape[0], *shape)
