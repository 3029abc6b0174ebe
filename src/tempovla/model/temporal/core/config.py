"""Sizes and options of the temporal encoders, for use on their own and in a policy."""

from __future__ import annotations

from dataclasses import dataclass, fields
from difflib import get_close_matches
from typing import Any

from tempovla.model.temporal.core.registry import TEMPORAL_REGISTRY


@dataclass(frozen=True, kw_only=True)
class TemporalCoreConfig:
    """Options of a temporal core that do not depend on the features around it.

    Attributes:
        encoder_type: a name in `TEMPORAL_REGISTRY`: transformer, lstm, gru, mamba or frames.
        num_layers: layers of the core; hidden layers of the MLP over sampled frames.
        num_heads: attention heads (transformer).
        dropout: probability, in training.
        use_causal_mask: a step sees only the past and itself; False (transformer only) lets all steps see each other,
            for whole sequences, without streaming.
        use_positional_encoding: whether the transformer tells steps apart by their age; the other cores always do.
        use_learned_pos_embed: True learns a score for every head and age (Raffel et al., 2020, without buckets); False
            turns queries and keys by sines and cosines of their positions (Su et al., 2021).
        window: valid steps that the transformer sees, the present one included; None means max_seq_len.
        d_state: state dimensions per channel (mamba).
        d_conv: steps of the causal convolution (mamba).
        expand: channels inside a block as a multiple of hidden_dim (mamba).
        frame_offsets: steps that are sampled, relative to the present, increasing and ending in 0 (frames).
    """

    encoder_type: str = "transformer"
    num_layers: int = 4
    num_heads: int = 8
    dropout: float = 0.1
    use_causal_mask: bool = True
    use_positional_encoding: bool = True
    use_learned_pos_embed: bool = True
    window: int | None = None
    d_state: int = 16
    d_conv: int = 4
    expand: int = 2
    frame_offsets: tuple[int, ...] = (-12, -8, -4, 0)

    def __post_init__(self) -> None:
        kind = type(self).__name__
        for name in ("num_layers", "num_heads", "window", "d_state", "d_conv", "expand"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{kind}.{name}={value} must be at least 1")
        if not 0.0 <= self.dropout < 1.0:
            raise ValueError(f"{kind}.dropout={self.dropout} must be in [0, 1)")
        if self.encoder_type not in TEMPORAL_REGISTRY:
            raise ValueError(f"encoder_type={self.encoder_type!r} is unknown; {_choices(self.encoder_type)}")
        if list(self.frame_offsets) != sorted(set(self.frame_offsets)) or self.frame_offsets[-1:] not in ((0,), [0]):
            raise ValueError(f"frame_offsets={self.frame_offsets} must increase and end in 0, such as (-8, -4, 0)")
        if not self.use_causal_mask and self.encoder_type != "transformer":
            raise ValueError(f"encoder_type={self.encoder_type!r} is always causal; leave use_causal_mask=True")


@dataclass(frozen=True)
class TemporalEncoderConfig(TemporalCoreConfig):
    """Sizes and options of a temporal encoder.

    Attributes:
        input_dim: features of a step.
        hidden_dim: width inside the core.
        output_dim: features of the outputs.
        max_seq_len: steps that one call may hold; a stream of single steps may go on for ever.
        chunk_long_sequences: run calls of more than max_seq_len steps in pieces that hand on their state; False
            refuses them.
    """

    input_dim: int = 768
    hidden_dim: int = 512
    output_dim: int = 768
    max_seq_len: int = 64
    chunk_long_sequences: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("input_dim", "hidden_dim", "output_dim", "max_seq_len"):
            if getattr(self, name) < 1:
                raise ValueError(f"TemporalEncoderConfig.{name}={getattr(self, name)} must be at least 1")
        if self.encoder_type == "transformer" and self.hidden_dim % (2 * self.num_heads):
            raise ValueError(
                f"hidden_dim={self.hidden_dim} must be an even multiple of num_heads={self.num_heads}; change either"
            )
        if not self.use_causal_mask and (self.window is not None or self.chunk_long_sequences):
            raise ValueError("use_causal_mask=False sees whole sequences; leave out window and chunk_long_sequences")

    @property
    def visible_steps(self) -> int:
        """`window` as a number."""
        return self.max_seq_len if self.window is None else self.window


@dataclass(frozen=True, kw_only=True)
class TemporalPartConfig(TemporalCoreConfig):
    """Options of a policy's temporal encoder, whose other sizes follow from the policy.

    Attributes:
        hidden_dim: width inside the core; None takes the width of the policy's features, for a transformer rounded up
            to an even multiple of num_heads.
        max_seq_len: frames that one call takes at once; None means a whole training window.
        chunk_long_sequences: take longer sequences in pieces that hand on their state; False refuses them.
    """

    hidden_dim: int | None = None
    max_seq_len: int | None = None
    chunk_long_sequences: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self.encoder_config(self.hidden_dim or 2 * self.num_heads, self.max_seq_len or 1)  # refuse what cannot be built

    @classmethod
    def upgraded_json(cls, data: dict[str, Any]) -> dict[str, Any]:
        """Return options of an earlier version, in which an unset width meant 512, as this version writes them."""
        return {"hidden_dim": 512} | data

    def encoder_config(self, feature_dim: int, frames: int) -> TemporalEncoderConfig:
        """Return the config of the encoder in a policy with this many features and frames of a training window."""
        multiple = 2 * self.num_heads if self.encoder_type == "transformer" else 1
        options = {field.name: getattr(self, field.name) for field in fields(TemporalCoreConfig)}
        return TemporalEncoderConfig(
            input_dim=feature_dim,
            hidden_dim=width_for(feature_dim, multiple) if self.hidden_dim is None else self.hidden_dim,
            output_dim=feature_dim,
            max_seq_len=frames if self.max_seq_len is None else self.max_seq_len,
            chunk_long_sequences=self.chunk_long_sequences,
            **options,
        )


def width_for(feature_dim: int, multiple: int) -> int:
    """Return the smallest multiple of `multiple` that is at least `feature_dim`."""
    return -(-feature_dim // multiple) * multiple


def _choices(name: str) -> str:
    close = get_close_matches(name, TEMPORAL_REGISTRY, n=1)
    meant = f"did you mean {close[0]!r}? " if close else ""
    return f"{meant}choose one of {', '.join(TEMPORAL_REGISTRY)}"
