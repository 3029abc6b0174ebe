"""Features of a frame for SmolVLA's expert, and the token that a context adds."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor
from torch.nn import functional as F

from tempovla.model.action_head.base import mean_token
from tempovla.model.vlm.smolvlm import PrefixCache


@dataclass(frozen=True)
class SmolVLAFeatures:
    """The hidden states of the language model.

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
        """Return the features with the context's token (B, D)."""
        return replace(self, past=context)
