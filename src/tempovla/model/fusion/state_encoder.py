"""Encoder of one observation to one vector: tokenizer, encoder over the tokens, read-out."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from tempovla.model.fusion.tokenizer import MultiModalTokenizer
from tempovla.model.layers.mlp import mlp


class ClsReadout(nn.Module):
    """The last token (CLS), projected to the state's size."""

    def __init__(self, embed_dim: int, state_dim: int) -> None:
        super().__init__()
        self.projection = nn.Linear(embed_dim, state_dim)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map (B, L, D) to (B, state_dim)."""
        return self.projection(tokens[:, -1])


class AllTokensReadout(nn.Module):
    """Every token through a narrow projection, all joined, then an MLP: keeps where things are, which CLS loses."""

    def __init__(self, embed_dim: int, state_dim: int, num_tokens: int, token_dim: int = 32) -> None:
        super().__init__()
        self.narrow = nn.Linear(embed_dim, token_dim)
        self.mlp = mlp((num_tokens * token_dim, 2 * state_dim, state_dim))

    def forward(self, tokens: Tensor) -> Tensor:
        """Map (B, L, D) to (B, state_dim)."""
        return self.mlp(self.narrow(tokens).flatten(1))


class StateEncoder(nn.Module):
    """Observation to z (B, state_dim)."""

    def __init__(self, tokenizer: MultiModalTokenizer, encoder: nn.Module, readout: nn.Module) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self.encoder = encoder
        self.readout = readout

    def forward(self, language: Tensor, robot_state: Tensor, images: Sequence[Tensor]) -> Tensor:
        """Z (B, state_dim) from language (B, E), robot state (B, R) and one picture (B, 3, S, S) uint8 a camera."""
        return self.readout(self.encoder(self.tokenizer(language, robot_state, images)))
