"""Retrieval from earlier episodes: those that the present one is most like are looked up frame by frame."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from tempovla.model.layers.row_state import RowState
from tempovla.model.temporal.retrieval.config import RetrievalPartConfig

if TYPE_CHECKING:
    from tempovla.model.temporal.context import Frames

INITIAL_SHARPNESS = 50.0
"""Similarity that two equal frames have over two that differ as frames of the library do on average."""
METRIC_RATE = 0.1
"""How fast the metric learns, relative to other weights: one that moves as fast forgets what features tell already."""
SMALLEST_SPREAD = 1e-3
"""Standard deviation of a feature over the library below which it is not scaled up."""


@dataclass(frozen=True)
class Match(RowState):
    """How well the present episode has matched each episode of the library so far.

    Attributes:
        total: (B, E) sum of the similarities of its first frames.
        count: (B,) float, number of its frames.
    """

    total: Tensor
    count: Tensor


class RetrievalPart(nn.Module):
    """Attention to the frames of the earlier episodes that the present one is most like.

    The library holds E episodes of F frames as buffers, which are saved with the weights and are no weights. Features
    are scaled by their spread over the library, and a learned matrix changes what counts. A frame is as similar to an
    episode as to the frame of it that is nearest. The similarity of the present episode is the mean over its first
    `match_frames` frames. The `top_k` most similar episodes are retrieved. Attention over all of their frames adds an
    episode's similarity to its scores, so that the projection learns from the loss what makes episodes alike. Without a
    library, nothing is added to the features.

    Args:
        config: sizes and options.
        feature_dim: features D of a frame.
        action_width: numbers A of the actions between two frames.
    """

    features: Tensor
    """(E, F, D) of the library's frames."""
    actions: Tensor
    """(E, F, A), the actions executed from a frame of the library to the next."""
    valid: Tensor
    """(E, F) bool, whether there is such a frame; those of an episode come first."""

    def __init__(self, config: RetrievalPartConfig, feature_dim: int, action_width: int) -> None:
        super().__init__()
        self.config, self.feature_dim, self.action_width = config, feature_dim, action_width
        width, size = config.width(feature_dim), (config.max_episodes, config.max_frames)
        self.register_buffer("features", torch.zeros(*size, feature_dim))
        self.register_buffer("actions", torch.zeros(*size, action_width))
        self.register_buffer("valid", torch.zeros(size, dtype=torch.bool))
        self.match_proj = nn.Linear(feature_dim, feature_dim, bias=False)
        nn.init.zeros_(self.match_proj.weight)
        self.log_sharpness = nn.Parameter(torch.full((1,), math.log(INITIAL_SHARPNESS)))
        self.query_proj = nn.Sequential(nn.Linear(feature_dim, width), nn.LayerNorm(width))
        self.frame_proj = nn.Sequential(nn.Linear(feature_dim + action_width, width), nn.LayerNorm(width), nn.GELU())
        self.key_proj, self.value_proj = nn.Linear(width, width), nn.Linear(width, width)
        self.output_proj = nn.Linear(width, feature_dim)

    @torch.no_grad()
    def hold(self, features: Tensor, actions: Tensor, valid: Tensor) -> None:
        """Replace the library.

        Args:
            features: (E, F, D) of the frames of E episodes.
            actions: (E, F, A), the actions executed from a frame to the next, prepared as for training.
            valid: (E, F) bool, whether there is such a frame; those of an episode come first.

        Raises:
            ValueError: if it is empty or too large, or holds numbers with which the policy cannot compute.
        """
        episodes, frames = valid.shape
        if episodes == 0 or not bool(valid[:, 0].all()):
            raise ValueError("the library has no episode, or one without frames; give a dataset with episodes")
        self.check_room(episodes, frames)
        buffers = (self.features, self.actions, self.valid)
        before = [own.clone() for own in buffers]
        for own, given in zip(buffers, (features, actions, valid), strict=True):
            own.zero_()
            own[:episodes, :frames] = given.to(own)
        if not self._is_computable():
            for own, held in zip(buffers, before, strict=True):
                own.copy_(held)
            kind = str(self.features.dtype).removeprefix("torch.")
            largest = max(float(given[valid].abs().max()) for given in (features, actions))
            raise ValueError(
                f"the library holds numbers of up to {largest:g}, with which this policy cannot compute in {kind}; "
                "encode the episodes anew with this policy"
            )

    def check_room(self, episodes: int, frames: int) -> None:
        """Refuse a library of too many episodes, or of too many frames in one of them.

        Raises:
            ValueError: naming the option that limits it.
        """
        for name, found in (("max_episodes", episodes), ("max_frames", frames)):
            most = getattr(self.config, name)
            if found > most:
                raise ValueError(
                    f"the library has {found} {name.removeprefix('max_')}, but context.retrieval.{name}={most}; give a "
                    "smaller one, or train with room for more"
                )

    def initial_state(self, batch: int) -> Match:
        """Return the match of episodes that have no frame yet."""
        zeros = self.features.new_zeros(batch, len(self.valid), dtype=self._wide)
        return Match(zeros, zeros.new_zeros(batch))

    @property
    def _wide(self) -> torch.dtype:
        """The type in which frames are compared: at least float32, as squares are beyond float16."""
        own = self.features.dtype
        return torch.float32 if own.itemsize < torch.float32.itemsize else own

    def _is_computable(self) -> bool:
        """Whether similarities to the library and what is read in it are finite."""
        if not bool(self.features.isfinite().all() & self.actions.isfinite().all()):
            return False
        mean, scale = self._scales()
        keys = self._metric((self.features.to(self._wide) - mean) * scale)[self.valid]
        farthest = 4 * self.log_sharpness.exp() * keys.square().sum(-1).max()  # no two frames differ by more
        tokens = self.frame_proj(torch.cat([self.features, self.actions], dim=-1)[self.valid])
        computed = (scale.min().log(), farthest, self.key_proj(tokens), self.value_proj(tokens))
        return all(bool(number.isfinite().all()) for number in computed)

    def run(self, frames: Frames, state: Match) -> tuple[Tensor, Match]:
        """Look up each frame; see `ContextPart.run`."""
        features = torch.where(frames.valid[..., None], frames.features, 0.0).to(self.features.dtype)
        count = state.count[:, None] + frames.valid.to(self._wide).cumsum(1)
        compared = frames.valid & (count <= self.config.match_frames)
        total = state.total[:, None] + self._compare(features, compared)
        match = total / count.clamp(1, self.config.match_frames)[..., None]
        return self._look_up(features, match), Match(total[:, -1], count[:, -1])

    def _compare(self, features: Tensor, compared: Tensor) -> Tensor:
        """Sums (B, T, E) of the similarities of those frames up to each one that are to be compared."""
        length = compared.shape[1]
        few = min(self.config.match_frames, length)  # no more of a row are compared
        place = compared.int().topk(few, dim=1).indices  # (B, few)
        chosen = features.gather(1, place[..., None].expand(-1, -1, features.shape[-1]))
        known = compared.gather(1, place)[:, None] & (
            place[:, None] <= torch.arange(length, device=place.device)[:, None]
        )
        return known.to(self._wide) @ self.similarity(chosen)

    def similarity(self, features: Tensor) -> Tensor:
        """Return the similarity (B, T, E) of frames (B, T, D) to each episode of the library.

        It is minus a squared distance, so 0 at most; and 0 for an episode that there is not. It is of float32 at least.
        """
        mean, scale = (number.to(self._wide) for number in self._scales())
        keys, query = (self._metric((each.to(self._wide) - mean) * scale) for each in (self.features, features))
        product = query @ keys.flatten(0, 1).T  # (B, T, E * F)
        distance = query.square().sum(-1, keepdim=True) + keys.square().sum(-1).flatten() - 2 * product
        distance = distance.clamp(min=0).unflatten(-1, self.valid.shape) / (2 * keys.shape[-1])
        nearest = distance.masked_fill(~self.valid, torch.finfo(distance.dtype).max).amin(-1)
        return -self.log_sharpness.exp() * nearest.masked_fill(~self.valid[:, 0], 0.0)

    def _scales(self) -> tuple[Tensor, Tensor]:
        """Mean (D,) of the features of the library, and 1 / their standard deviation; sums need float32."""
        stored, there = self.features.float(), self.valid[..., None].float()
        frames = there.sum().clamp(min=1)
        mean = (stored * there).sum((0, 1)) / frames
        spread = ((stored - mean).square() * there).sum((0, 1)) / frames
        return mean, spread.clamp(min=SMALLEST_SPREAD**2).rsqrt()

    def _metric(self, x: Tensor) -> Tensor:
        """Scaled features as they are compared: at first as they are."""
        weight = self.match_proj.weight
        moved = self.match_proj(x) if weight.dtype == x.dtype else functional.linear(x, weight.to(x.dtype))
        return x + METRIC_RATE * moved

    def _look_up(self, features: Tensor, match: Tensor) -> Tensor:
        """What attention (B, T, D) reads in the retrieved episodes."""
        least = torch.finfo(match.dtype).min
        found, chosen = match.masked_fill(~self.valid[:, 0], least).topk(self.config.top_k, dim=-1)  # (B, T, K)
        tokens = self.frame_proj(torch.cat([self.features, self.actions], dim=-1))
        keys, values = self._heads(self.key_proj(tokens)), self._heads(self.value_proj(tokens))  # (E, F, N, W)
        query = self._heads(self.query_proj(features))  # (B, T, N, W)
        scores = torch.einsum("btnw,btkfnw->btnkf", query, keys[chosen]) / math.sqrt(query.shape[-1])
        scores = scores.to(match.dtype)
        there = self.valid[chosen][:, :, None]  # (B, T, 1, K, F)
        within = scores.masked_fill(~there, least).log_softmax(-1)
        scores = torch.where(there, within + found[:, :, None, :, None], least)
        weights = torch.where(there, scores.flatten(-2).softmax(-1).view_as(scores), 0.0)
        read = torch.einsum("btnkf,btkfnw->btnw", weights.to(values.dtype), values[chosen]).flatten(-2)
        return torch.where(there.flatten(2).any(-1, keepdim=True), self.output_proj(read), 0.0)

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.config.num_heads, -1))
