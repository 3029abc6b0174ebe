"""Fusion of token sets of several modalities: each attends to all others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tempovla.model.fusion.modality_dropout import checked_rate, drop_modalities
from tempovla.model.layers.cross_attention import CrossAttention
from tempovla.model.layers.dtype import in_dtype_of

Tokens = Mapping[str, Tensor | None]


@dataclass(frozen=True)
class FusedTokens:
    """Tokens that know of all modalities.

    Attributes:
        tokens: (B, L_m, D) of each modality that was given, 0 where not valid.
        valid: (B, L_m) bool of the same ones: which tokens were there and not dropped.
        pooled: (B, D), what a learned query finds in all of them; 0 in rows without any.
    """

    tokens: dict[str, Tensor]
    valid: dict[str, Tensor]
    pooled: Tensor

    def flat(self) -> tuple[Tensor, Tensor]:
        """Return all tokens (B, L, D) as one sequence, in the order of the modalities, and the mask (B, L)."""
        return torch.cat(list(self.tokens.values()), dim=1), torch.cat(list(self.valid.values()), dim=1)


class CrossModalLayers(nn.Module):
    """Cross-attention of each modality to all others, then a feed-forward layer, both around residuals.

    Tokens that have no other modality to attend to go through the feed-forward layer alone.

    Args:
        feature_dim: width D of all tokens.
        num_heads: attention heads.
        modalities: their names.
        num_layers: how often the modalities look at each other.
    """

    def __init__(self, feature_dim: int, num_heads: int, modalities: Sequence[str], num_layers: int) -> None:
        super().__init__()
        if not modalities or len(set(modalities)) != len(modalities) or num_layers < 1:
            raise ValueError(f"modalities={tuple(modalities)} and num_layers={num_layers}: give distinct names, and 1")
        self.modalities = tuple(modalities)
        self.kinds = nn.Parameter(0.02 * torch.randn(len(self.modalities), feature_dim))
        self.layers = nn.ModuleList(_Layer(feature_dim, num_heads) for _ in range(num_layers))
        self.norm = nn.LayerNorm(feature_dim)

    def mixed(self, tokens: Mapping[str, Tensor], valid: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return tokens (B, L_m, D) by modality that know of the other modalities; 0 where not valid.

        Args:
            tokens: (B, L_m, D) by modality, at least one.
            valid: (B, L_m) bool of the same ones, which tokens are there. What the others hold changes nothing.
        """
        there = [valid[name] for name in tokens]
        sets = [in_dtype_of(self, _clean(each, mask)) for each, mask in zip(tokens.values(), there, strict=True)]
        sets = [each + self.kinds[self.modalities.index(name)] for name, each in zip(tokens, sets, strict=True)]
        for layer in self.layers:
            sets = layer(sets, there)
        sets = [_clean(self.norm(each), mask) for each, mask in zip(sets, there, strict=True)]
        return dict(zip(tokens, sets, strict=True))


class CrossModalFusion(CrossModalLayers):
    """Tokens of several modalities that attend to each other, and a summary of all of them.

    A modality that is None, or whose tokens are all invalid, is passed over.

    Args:
        feature_dim: width D of all tokens.
        num_heads: attention heads.
        modalities: names, in the order in which token sets are given without names.
        num_layers: how often the modalities look at each other.
        modality_dropout: share of the rows in training in which a modality is left out, for each; one is always left.
    """

    def __init__(
        self,
        feature_dim: int,
        num_heads: int = 8,
        modalities: Sequence[str] = ("vision", "lidar", "radar"),
        num_layers: int = 1,
        modality_dropout: float = 0.0,
    ) -> None:
        super().__init__(feature_dim, num_heads, modalities, num_layers)
        self.modality_dropout = checked_rate(modality_dropout)
        self.query = nn.Parameter(torch.randn(1, 1, feature_dim))
        self.pool = CrossAttention(feature_dim, num_heads)

    def forward(
        self,
        *given: Tensor | Tokens | None,
        valid: Mapping[str, Tensor] | None = None,
        seed: Tensor | None = None,
        **named: Tensor | None,
    ) -> FusedTokens:
        """Return tokens that know of the other modalities.

        Args:
            given: token sets (B, L_m, D) in the order of `modalities`, or one dict of them by name; None where a
                modality is absent.
            valid: (B, L_m) bool of each modality, which of its tokens are there; all of one that is not named. What
                the others hold changes nothing.
            seed: (B,) int64 seeds of the rows, which modality dropout in training needs.
            named: token sets by name.

        Raises:
            ValueError: if no modality is given, one is unknown, or shapes do not fit.
        """
        tokens = sets_by_name(self.modalities, given, named)
        masks = token_masks(tokens, self.kinds.shape[1], valid, self.modality_dropout if self.training else 0.0, seed)
        fused = self.mixed(tokens, masks)
        sets = torch.cat(list(fused.values()), dim=1)
        query = self.query.expand(len(sets), -1, -1).to(sets.dtype)
        pooled = attend_to_some(self.pool, query, sets, torch.cat(list(masks.values()), dim=1))[:, 0]
        return FusedTokens(fused, masks, pooled)


class _Layer(nn.Module):
    """Every set attends to the others at once, all with the same weights."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.norm, self.attention = nn.LayerNorm(dim), CrossAttention(dim, num_heads)
        self.ffn = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))

    def forward(self, sets: list[Tensor], valid: list[Tensor]) -> list[Tensor]:
        normed = [self.norm(each) for each in sets]
        changed = []
        for index, each in enumerate(sets):
            others = [other for other in range(len(sets)) if other != index]
            if others:
                context = torch.cat([normed[other] for other in others], dim=1)
                there = torch.cat([valid[other] for other in others], dim=1)
                each = each + attend_to_some(self.attention, normed[index], context, there)
            changed.append(each + self.ffn(each))
        return changed


def attend_to_some(attention: CrossAttention, queries: Tensor, context: Tensor, valid: Tensor) -> Tensor:
    """Return what queries (B, Q, D) find in a context (B, L, D); 0 in rows where none of it is valid (B, L)."""
    some = valid.any(dim=1, keepdim=True)
    found = attention(queries, context, valid | ~some)  # a softmax over nothing is no number
    return torch.where(some[..., None], found, 0.0)


def _clean(tokens: Tensor, valid: Tensor) -> Tensor:
    return torch.where(valid[..., None], tokens, 0.0)


def sets_by_name(
    modalities: Sequence[str], given: Sequence[Tensor | Tokens | None], named: Tokens
) -> dict[str, Tensor]:
    """Return the token sets that are there, in the order of the modalities; see `CrossModalFusion.forward`."""
    sets: dict[str, Tensor | None] = dict(named)
    if len(given) == 1 and isinstance(given[0], Mapping):
        sets |= given[0]
    elif len(given) > len(modalities):
        raise ValueError(f"{len(given)} token sets are given; give those of {', '.join(modalities)}")
    else:
        sets |= dict(zip(modalities, given, strict=False))  # type: ignore[arg-type]
    unknown = sorted(set(sets) - set(modalities))
    if unknown:
        raise ValueError(f"modality {unknown[0]!r} is unknown; this fusion has {', '.join(modalities)}")
    found = {name: each for name in modalities if (each := sets.get(name)) is not None}
    if not found:
        raise ValueError(f"no modality is given; give at least one of {', '.join(modalities)}")
    return found


def token_masks(
    sets: Mapping[str, Tensor], width: int, valid: Mapping[str, Tensor] | None, rate: float, seed: Tensor | None
) -> dict[str, Tensor]:
    """Return which tokens (B, L_m) bool of each modality are there and not dropped.

    Args:
        sets: (B, L_m, D) by modality.
        width: D that the fusion was built for.
        valid: (B, L_m) bool by modality; all tokens of one that is not named are there.
        rate: modality dropout, 0 where nothing is to be dropped.
        seed: (B,) int64 seeds of the rows; see `drop_modalities`.

    Raises:
        ValueError: if shapes do not fit, a mask belongs to no modality, or a seed is missing.
    """
    valid = valid or {}
    stray = sorted(set(valid) - set(sets))
    if stray:
        raise ValueError(f"valid names {stray[0]!r}, of which there are no tokens; there are {', '.join(sets)}")
    masks = {name: _mask(name, each, valid.get(name)) for name, each in sets.items()}
    wrong = [name for name, each in sets.items() if each.shape[-1] != width]
    if wrong:
        given = sets[wrong[0]].shape[-1]
        raise ValueError(
            f"{wrong[0]} tokens are {given} numbers wide, and this fusion has feature_dim={width}; "
            f"bring them to {width} first, such as by torch.nn.Linear({given}, {width})"
        )
    present = torch.stack([mask.any(dim=1) for mask in masks.values()], dim=1)
    kept = drop_modalities(present, rate, seed).unbind(dim=1)
    return {name: mask & keep[:, None] for (name, mask), keep in zip(masks.items(), kept, strict=True)}


def _mask(name: str, tokens: Tensor, valid: Tensor | None) -> Tensor:
    """Which tokens (B, L) of a modality are there."""
    if tokens.dim() != 3 or (valid is not None and valid.shape != tokens.shape[:2]):
        shape = None if valid is None else tuple(valid.shape)
        raise ValueError(f"{name} tokens {tuple(tokens.shape)} with valid {shape}: give (B, L, D) and (B, L) bool")
    return torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device) if valid is None else valid
