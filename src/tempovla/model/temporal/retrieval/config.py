"""Sizes and options of retrieval from earlier episodes."""

from __future__ import annotations

from dataclasses import dataclass

from tempovla.model.temporal.core.config import width_for


@dataclass(frozen=True, kw_only=True)
class RetrievalPartConfig:
    """Options of a policy's retrieval from earlier episodes, which are its library.

    Attributes:
        hidden_dim: width of keys and values; None takes the width of the policy's features, rounded up to a multiple
            of num_heads.
        num_heads: attention heads over the frames of what was retrieved.
        top_k: number of episodes that are retrieved.
        match_frames: number of first frames of an episode by which it is compared with the library.
        max_episodes: the largest number of episodes in the library.
        max_frames: the largest number of frames of one of its episodes.
    """

    hidden_dim: int | None = None
    num_heads: int = 4
    top_k: int = 4
    match_frames: int = 6
    max_episodes: int = 256
    max_frames: int = 32

    def __post_init__(self) -> None:
        """Refuse sizes that cannot be built."""
        for name, value in vars(self).items():
            if value is not None and value < 1:
                raise ValueError(f"RetrievalPartConfig.{name}={value} must be at least 1")
        if self.hidden_dim is not None and self.hidden_dim % self.num_heads:
            raise ValueError(
                f"RetrievalPartConfig.hidden_dim={self.hidden_dim} is not divisible by num_heads={self.num_heads}; "
                "choose heads that divide it"
            )
        if self.top_k > self.max_episodes:
            raise ValueError(
                f"RetrievalPartConfig.top_k={self.top_k} exceeds max_episodes={self.max_episodes}; lower it"
            )

    def width(self, feature_dim: int) -> int:
        """Return `hidden_dim` as a number."""
        return width_for(feature_dim, self.num_heads) if self.hidden_dim is None else self.hidden_dim
