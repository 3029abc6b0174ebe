"""Options of low-rank adapters."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class LoRAConfig:
    """Adapters: the weight W of a linear layer becomes W + alpha / r B A, of which A and B alone learn.

    Attributes:
        r: rank of B A.
        alpha: scale of B A, as a multiple of r.
        target_modules: layers whose names end in one of these; an empty list takes every linear layer.
    """

    r: int = 16
    alpha: float = 32.0
    target_modules: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.r < 1 or not self.alpha > 0:
            raise ValueError(f"lora.r={self.r} must be at least 1, and lora.alpha={self.alpha} greater than 0")
