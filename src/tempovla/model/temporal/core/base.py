"""What all temporal cores share: explicit states, skipping of invalid steps, outputs, and cutting of long calls."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from tempovla.model.layers.mixer_state import pack_valid, unpack_valid
from tempovla.model.layers.row_state import RowState

if TYPE_CHECKING:
    from tempovla.model.temporal.core.config import TemporalEncoderConfig


@dataclass(frozen=True)
class TemporalState(RowState):
    """All that an encoder remembers of every row.

    Attributes:
        core: the core's own state.
        hidden: (B, hidden_dim) the core's output at the last valid step.
        pooled: (B, hidden_dim) the pooled outputs up to there.
        seen: (B,) bool, whether there was a valid step.
    """

    core: Any
    hidden: Tensor
    pooled: Tensor
    seen: Tensor


@dataclass(frozen=True)
class TemporalOutput:
    """The outputs of an encoder at every step.

    Attributes:
        hidden: (B, T, output_dim); zero at invalid steps.
        aggregated: (B, T, output_dim) pooled over what the core sees of the steps up to each; an invalid step keeps
            the one before it.
        last: (B, output_dim) `hidden` of the newest valid step, earlier calls included.

    Rows without any valid step so far have learned vectors in `aggregated` and `last`.
    """

    hidden: Tensor
    aggregated: Tensor
    last: Tensor


def valid_steps(mask: Tensor, x: Tensor) -> Tensor:
    """Return a padding mask (B, T), given as bool or as 0 and 1, as bool.

    Raises:
        ValueError: if it does not fit `x` (B, T, F), or holds other numbers.
    """
    if mask.shape != x.shape[:2]:
        raise ValueError(f"attention_mask {tuple(mask.shape)} must be (B, T) = {tuple(x.shape[:2])}, like observations")
    if mask.dtype == torch.bool:
        return mask
    if not bool(((mask == 0) | (mask == 1)).all()):
        raise ValueError("attention_mask holds numbers other than 0 and 1; give 1 for valid steps and 0 for padding")
    return mask == 1


def newest_entries(before: Tensor, new: Tensor, lengths: Tensor | None) -> Tensor:
    """Return the last W entries, oldest first, of `before` followed by the valid ones of `new`.

    Args:
        before: (B, W, D).
        new: (B, T, D).
        lengths: (B,) valid steps, which come first; None means all.
    """
    size, length = before.shape[1], new.shape[1]
    extended = torch.cat([before, new.to(before.dtype)], dim=1)
    if lengths is None:
        newest = extended[:, length:]
        return newest.clone() if length > size else newest  # a view would keep the whole sequence in memory
    index = lengths.unsqueeze(1) + torch.arange(size, device=new.device)
    return extended.take_along_dim(index.unsqueeze(2), dim=1)


class TemporalCore(nn.Module):
    """Base of the cores. A subclass defines `initial_core` and `mix`, over sequences whose valid steps come first."""

    encoder_type = ""

    def __init__(self, config: TemporalEncoderConfig) -> None:
        super().__init__()
        if config.encoder_type != self.encoder_type:
            kind = type(self).__name__
            raise ValueError(f"{kind} needs encoder_type={self.encoder_type!r}, not {config.encoder_type!r}; set it")
        self.config = config
        self.input_proj = nn.Linear(config.input_dim, config.hidden_dim)
        self.output_proj = nn.Linear(config.hidden_dim, config.output_dim)
        self.no_hidden = nn.Parameter(0.02 * torch.randn(config.output_dim))
        self.no_aggregated = nn.Parameter(0.02 * torch.randn(config.output_dim))

    def initial_core(self, batch: int) -> Any:
        """Return the core's state for rows that have seen nothing, which is all zeros."""
        raise NotImplementedError

    def mix(self, x: Tensor, state: TemporalState | None, lengths: Tensor | None) -> tuple[Tensor, Tensor, Any]:
        """Run the core.

        Args:
            x: (B, T, hidden_dim).
            state: what came before; None means nothing.
            lengths: (B,) number of valid steps, which come first; None means all.

        Returns:
            Hidden states (B, T, hidden_dim), their pooled values up to each step (B, T, hidden_dim), and the core's
            state after the last valid step. Values behind a row's length are ignored.
        """
        raise NotImplementedError

    def initial_state(self, batch: int) -> TemporalState:
        """Return the state of rows that have seen nothing.

        Raises:
            ValueError: if the core is not causal.
        """
        if not self.config.use_causal_mask:
            raise ValueError("use_causal_mask=False cannot be streamed; set it to True, or encode whole sequences")
        weight = self.no_hidden
        zeros = weight.new_zeros(batch, self.config.hidden_dim)
        seen = torch.zeros(batch, dtype=torch.bool, device=weight.device)
        return TemporalState(self.initial_core(batch), zeros, zeros, seen)

    def init_hidden(self, batch_size: int, device: torch.device | str | None = None) -> TemporalState:
        """Return `initial_state` on a device; None means the device of the weights."""
        state = self.initial_state(batch_size)
        return state if device is None else state.to(device)

    def run(self, x: Tensor, state: TemporalState, valid: Tensor | None = None) -> tuple[TemporalOutput, TemporalState]:
        """Continue with a sequence.

        Args:
            x: (B, T, input_dim).
            state: the result of `initial_state` or of the previous call.
            valid: (B, T) bool or 0 and 1, None means all. Invalid steps are skipped, wherever they are.

        Returns:
            The outputs at every step, and the state after the last one.

        Raises:
            ValueError: if the shapes do not fit, or T exceeds max_seq_len and may not be cut.
        """
        return self._encode(x, state, valid)

    def step(
        self, x: Tensor, state: TemporalState, valid: Tensor | None = None
    ) -> tuple[TemporalOutput, TemporalState]:
        """Continue with one step.

        Args:
            x: (B, input_dim).
            state: as in `run`.
            valid: (B,) bool; rows where it is False keep their state.

        Returns:
            The outputs without their dimension of time, and the state.
        """
        output, state = self.run(x.unsqueeze(1), state, None if valid is None else valid.unsqueeze(1))
        return TemporalOutput(output.hidden[:, 0], output.aggregated[:, 0], output.last), state

    def forward(self, observations: Tensor, attention_mask: Tensor | None = None, return_sequence: bool = True) -> Any:
        """Call `encode`; the LSTM has another signature."""
        return self.encode(observations, attention_mask, return_sequence)

    def encode(
        self, observations: Tensor, attention_mask: Tensor | None = None, return_sequence: bool = True
    ) -> dict[str, Tensor]:
        """Encode whole sequences, each from its beginning.

        Args:
            observations: (B, T, input_dim).
            attention_mask: (B, T) bool or 0 and 1, on the left, the right or anywhere; None means all valid.
            return_sequence: whether to return `hidden_states`.

        Returns:
            `hidden_states` (B, T, output_dim), zero at padding; `last_hidden_state` (B, output_dim) at the newest
            valid step; `aggregated` (B, output_dim), a learned softmax pooling of the hidden states that the core sees
            from there. A row without a valid step has learned vectors.

        Raises:
            ValueError: as `run`.
        """
        output, _ = self._encode(observations, None, attention_mask)
        outputs = {"hidden_states": output.hidden} if return_sequence else {}
        return outputs | {"last_hidden_state": output.last, "aggregated": output.aggregated[:, -1]}

    def get_last_hidden_state(self, observations: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Return the output (B, output_dim) at the newest valid step; the arguments are those of `encode`."""
        return self._encode(observations, None, attention_mask)[0].last

    def _encode(
        self, x: Tensor, state: TemporalState | None, mask: Tensor | None
    ) -> tuple[TemporalOutput, TemporalState]:
        config = self.config
        if x.dim() != 3 or x.shape[2] != config.input_dim or x.shape[1] == 0:
            raise ValueError(
                f"observations {tuple(x.shape)} must be (B, T, input_dim) with T >= 1 and input_dim={config.input_dim}"
            )
        if state is not None and state.seen.shape[0] != x.shape[0]:
            raise ValueError(
                f"state of {len(state.seen)} rows does not fit {len(x)} rows of observations; make one anew"
            )
        length, most = x.shape[1], config.max_seq_len
        if length > most and not config.chunk_long_sequences:
            raise ValueError(
                f"sequence of {length} steps is longer than max_seq_len={most}; raise it, or set chunk_long_sequences"
            )
        valid = None if mask is None else valid_steps(mask, x)
        pieces = []
        for start in range(0, length, most):
            piece = slice(start, start + most)
            output, state = self._encode_piece(x[:, piece], state, None if valid is None else valid[:, piece])
            pieces.append(output)
        assert state is not None
        hidden, aggregated = (
            torch.cat(parts, dim=1) for parts in zip(*((p.hidden, p.aggregated) for p in pieces), strict=True)
        )
        return TemporalOutput(hidden, aggregated, pieces[-1].last), state

    def _encode_piece(
        self, x: Tensor, state: TemporalState | None, valid: Tensor | None
    ) -> tuple[TemporalOutput, TemporalState]:
        x, lengths, order = (x, None, None) if valid is None else pack_valid(x, valid)
        dtype = self.no_hidden.dtype
        hidden, pooled, core = self.mix(self.input_proj(x.to(dtype)), state, lengths)
        hidden, pooled = hidden.to(dtype), pooled.to(dtype)
        if valid is None:
            seen = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
            # Clones, for views would keep the whole sequence in memory.
            after = TemporalState(core, hidden[:, -1].clone(), pooled[:, -1].clone(), seen[:, -1].clone())
        else:
            # Step t takes the newest of the state's entry (place 0) and the valid steps up to t.
            newest = valid.cumsum(1)
            hidden_before, pooled_before, seen = self._before(state, hidden, newest)
            pooled = torch.cat([pooled_before, pooled], dim=1).take_along_dim(newest.unsqueeze(2), dim=1)
            last = torch.cat([hidden_before, hidden], dim=1).take_along_dim(newest[:, -1:, None], dim=1)[:, 0]
            after = TemporalState(core, last, pooled[:, -1].clone(), seen[:, -1].clone())
            assert order is not None
            hidden = unpack_valid(hidden, valid, order)
        return self._output(hidden, pooled, seen, after, valid), after

    def _before(self, state: TemporalState | None, hidden: Tensor, newest: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        if state is None:
            zeros = torch.zeros_like(hidden[:, :1])
            return zeros, zeros, newest > 0
        return state.hidden.unsqueeze(1), state.pooled.unsqueeze(1), state.seen.unsqueeze(1) | (newest > 0)

    def _output(
        self, hidden: Tensor, pooled: Tensor, seen: Tensor, after: TemporalState, valid: Tensor | None
    ) -> TemporalOutput:
        projected = self.output_proj(hidden)
        if valid is not None:
            projected = projected.masked_fill(~valid.unsqueeze(2), 0.0)
        aggregated = torch.where(seen.unsqueeze(2), self.output_proj(pooled), self.no_aggregated.to(projected.dtype))
        last = torch.where(after.seen.unsqueeze(1), self.output_proj(after.hidden), self.no_hidden.to(projected.dtype))
        return TemporalOutput(projected, aggregated, last)
