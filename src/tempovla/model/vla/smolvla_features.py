"""What SmolVLA knows of a frame before its expert acts, and what a context adds to it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor
from torch.nn import functional as F

from tempovla.model.action_head.base import mean_token
from tempovla.model.vlm.smolvlm import PrefixCache


@dataclass(frozen=True)
class SmolVLAFeatures:
    """What the language model has read.

    Attributes:
        hidden: (B, S, D) what it gave for every token.
        cache: keys and values of its layers, which the expert attends to, and which tokens are valid.
        past: (B, D) what a context adds, which becomes one more token behind the others; None adds nothing.
    """

    hidden: Tensor
    cache: PrefixCache
    past: Tensor | None = None

    @property
    def summary(self) -> Tensor:
        """(B, D) mean of the valid tokens, each brought to the same size, as only some of the models norm them."""
        return mean_token(F.rms_norm(self.hidden, self.hidden.shape[-1:]), self.cache.valid)

    def plus(self, context: Tensor) -> SmolVLAFeatures:
        """Return the same with what a context adds (B, D)."""
        return replace(self, past=context)
