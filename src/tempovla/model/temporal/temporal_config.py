"""Sizes and options of the temporal encoders."""

from __future__ import annotations

from dataclasses import dataclass

ENCODER_TYPES = ("transformer", "lstm", "gru", "mamba", "frames")


@dataclass(frozen=True)
class TemporalEncoderConfig:
    """Sizes and options of a temporal encoder.

    Attributes:
        input_dim: features of a step.
        hidden_dim: width inside the core.
        output_dim: features of the outputs.
        num_layers: layers of the core; hidden layers of the MLP over sampled frames.
        num_heads: attention heads (transformer).
        max_seq_len: steps that one call may hold; a stream of single steps may go on for ever.
        dropout: probability, in training.
        use_causal_mask: a step sees only the past and itself; False (transformer only) lets all steps see each other,
            for whole sequences, without streaming.
        encoder_type: transformer, lstm, gru, mamba or frames.
        use_positional_encoding: whether the transformer tells steps apart by their age; the other cores always do.
        use_learned_pos_embed: True learns a score for every head and age (Raffel et al., 2020, without buckets); False
            turns queries and keys by sines and cosines of their positions (Su et al., 2021).
        window: valid steps that the transformer sees, the present one included; None means max_seq_len.
        chunk_long_sequences: run calls of more than max_seq_len steps in pieces that hand on their state; False
            refuses them.
        d_state: state dimensions per channel (mamba).
        d_conv: steps of the causal convolution (mamba).
        expand: channels inside a block as a multiple of hidden_dim (mamba).
        frame_offsets: steps that are sampled, relative to the present, increasing and ending in 0 (frames).
    """

    input_dim: int = 768
    hidden_dim: int = 512
    output_dim: int = 768
    num_layers: int = 4
    num_heads: int = 8
    max_seq_len: int = 64
    dropout: float = 0.1
    use_causal_mask: bool = True
    encoder_type: str = "transformer"
    use_positional_encoding: bool = True
    use_learned_pos_embed: bool = True
    window: int | None = None
    chunk_long_sequences: bool = False
    d_state: int = 16
    d_conv: int = 4
    expand: int = 2
    frame_offsets: tuple[int, ...] = (-12, -8, -4, 0)

    def __post_init__(self) -> None:
        sizes = ("input_dim", "hidden_dim", "output_dim", "num_layers", "num_heads", "max_seq_len")
        for name in (*sizes, "d_state", "d_conv", "expand", *(["window"] if self.window is not None else [])):
            if getattr(self, name) < 1:
                raise ValueError(f"TemporalEncoderConfig.{name}={getattr(self, name)} must be at least 1")
        if not 0.0 <= self.dropout < 1.0:
            raise ValueError(f"TemporalEncoderConfig.dropout={self.dropout} must be in [0, 1)")
        if self.encoder_type not in ENCODER_TYPES:
            raise ValueError(f"encoder_type {self.encoder_type!r} is unknown; choose one of {', '.join(ENCODER_TYPES)}")
        if self.encoder_type == "transformer" and self.hidden_dim % (2 * self.num_heads):
            raise ValueError(
                f"hidden_dim={self.hidden_dim} must be an even multiple of num_heads={self.num_heads}; change either"
            )
        if list(self.frame_offsets) != sorted(set(self.frame_offsets)) or self.frame_offsets[-1:] not in ((0,), [0]):
            raise ValueError(f"frame_offsets={self.frame_offsets} must increase and end in 0, such as (-8, -4, 0)")
        if not self.use_causal_mask:
            self._check_not_causal()

    def _check_not_causal(self) -> None:
        if self.encoder_type != "transformer":
            raise ValueError(f"encoder_type={self.encoder_type!r} is always causal; leave use_causal_mask=True")
        if self.window is not None or self.chunk_long_sequences:
            raise ValueError("use_causal_mask=False sees whole sequences; leave out window and chunk_long_sequences")

    @property
    def visible_steps(self) -> int:
        """`window` as a number."""
        return self.max_seq_len if self.window is None else self.window
