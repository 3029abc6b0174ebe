"""Choose the encoder of a token sequence by name."""

from __future__ import annotations

from torch import Tensor, nn

from tempovla.model.layers.transformer import Transformer


class MambaSequence(nn.Module):
    """Mamba layers as a plain sequence encoder (B, L, D) to (B, L, D); causal, and needs no positions."""

    def __init__(self, dim: int, depth: int, d_state: int, d_conv: int, expand: int) -> None:
        from tempovla.model.layers.mamba import Mamba, MambaConfig

        super().__init__()
        self.mamba = Mamba(MambaConfig(d_model=dim, depth=depth, d_state=d_state, d_conv=d_conv, expand=expand))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, L, D) to (B, L, D)."""
        return self.mamba(x)[0]


def sequence_encoder(
    kind: str, *, dim: int, depth: int, max_length: int, num_heads: int, d_state: int, d_conv: int, expand: int
) -> nn.Module:
    """Return a module (B, L, D) to (B, L, D): `mamba` (causal) or `transformer` (every token sees all).

    Raises:
        ValueError: if `kind` is neither.
    """
    if kind == "mamba":
        return MambaSequence(dim, depth, d_state, d_conv, expand)
    if kind == "transformer":
        return Transformer(dim, depth, num_heads, max_length)
    raise ValueError(f"encoder type {kind!r} is unknown; choose mamba or transformer")
