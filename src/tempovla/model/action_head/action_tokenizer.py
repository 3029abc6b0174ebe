"""Actions as words: every dimension is one of the last tokens of a language model's vocabulary.

RT-2's way (Brohan et al., 2023) as OpenVLA has it (Kim et al., 2024, section 3.2; its public code's `ActionTokenizer`).
"""

from __future__ import annotations

import torch
from torch import Tensor


class ActionTokenizer:
    """Between actions in [-1, 1] and token ids.

    `num_bins` edges cut [-1, 1] into `num_bins - 1` intervals of equal width. The token of an action is counted from
    the end of the vocabulary by the number of edges at or below it, and means the centre of its interval; 1, the last
    edge, has a token of its own that means the last centre. An action comes back within half an interval of where it
    was.

    Args:
        vocab_size: size of the tokenizer's vocabulary, without padding of the embedding table.
        num_bins: number of action tokens.
    """

    def __init__(self, vocab_size: int = 32000, num_bins: int = 256) -> None:
        if not 2 <= num_bins <= vocab_size:
            raise ValueError(f"num_bins={num_bins} must be from 2 to the vocabulary's {vocab_size}")
        self.vocab_size = vocab_size
        self.num_bins = num_bins

    @property
    def first_token(self) -> int:
        """The least action token; it stands for the greatest actions."""
        return self.vocab_size - self.num_bins

    @property
    def bin_width(self) -> float:
        """Width of an interval."""
        return 2.0 / (self.num_bins - 1)

    def encode(self, actions: Tensor) -> Tensor:
        """Return token ids, int64, of actions of any shape; what lies beyond [-1, 1] is taken for the edge."""
        below = torch.bucketize(actions.double().clamp(-1.0, 1.0), self._edges(actions.device), right=True)
        return self.vocab_size - below

    def decode(self, tokens: Tensor) -> Tensor:
        """Actions, float32, of token ids of any shape; other tokens than those of actions mean the nearest of them."""
        interval = (self.vocab_size - tokens - 1).clamp(0, self.num_bins - 2)
        edges = self._edges(tokens.device)
        return ((edges[:-1] + edges[1:]) / 2)[interval].float()

    def _edges(self, device: torch.device) -> Tensor:
        return torch.linspace(-1.0, 1.0, self.num_bins, dtype=torch.float64, device=device)
