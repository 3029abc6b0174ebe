"""Recurrent cores (LSTM, GRU and Mamba), which carry the past in a state of fixed size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from tempovla.model.layers.dtype import sums_dtype
from tempovla.model.layers.mamba import Mamba, MambaConfig
from tempovla.model.layers.mixer_state import mask_after
from tempovla.model.layers.row_state import RowState
from tempovla.model.temporal.core.base import TemporalCore, TemporalState

if TYPE_CHECKING:
    from tempovla.model.temporal.core.config import TemporalEncoderConfig

_PIECE = 64  # steps pooled at once: the scores of a piece are quadratic in its length
_NOTHING = -1e30  # finite, so that gradients stay numbers


class RunningPool(nn.Module):
    """A learned score for every step, and the mean of the steps so far weighted by the softmax of their scores.

    All earlier steps count as one entry, whose score is the logarithm of their total weight (Milakov and Gimelshein,
    2018).
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.score = nn.Linear(dim, 1, bias=False)
        nn.init.zeros_(self.score.weight)  # a plain mean at first

    def forward(
        self, hidden: Tensor, mean: Tensor, log_weight: Tensor, seen: Tensor, lengths: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Pool the steps of a sequence.

        Args:
            hidden: (B, T, D).
            mean: (B, D), the mean of the steps before.
            log_weight: (B,), the logarithm of their total weight.
            seen: (B,) bool, whether there was anything before.
            lengths: (B,) valid steps, which come first; None means all.

        Returns:
            The means up to each step (B, T, D), which stay the same after the last valid one, and `log_weight` after
            that step.
        """
        dtype, mean = mean.dtype, mean.to(sums_dtype(mean.dtype))
        scores = self.score(hidden).squeeze(2).to(mean.dtype)
        if lengths is not None:
            late = torch.arange(hidden.shape[1], device=hidden.device) >= lengths.unsqueeze(1)
            scores = scores.masked_fill(late, _NOTHING)
        before = log_weight.to(mean.dtype).masked_fill(~seen, _NOTHING)
        pooled = []
        for part, score in zip(hidden.to(mean.dtype).split(_PIECE, 1), scores.split(_PIECE, 1), strict=True):
            values = torch.cat([mean.unsqueeze(1), part], dim=1)
            row = torch.cat([before.unsqueeze(1), score], dim=1).unsqueeze(1).expand(-1, part.shape[1], -1)
            later = torch.ones(row.shape[1:], dtype=torch.bool, device=row.device).triu(2)
            row = row.masked_fill(later, _NOTHING)
            pooled.append(row.softmax(dim=2) @ values)
            mean, before = pooled[-1][:, -1], row[:, -1].logsumexp(dim=1)
        started = before > 0.5 * _NOTHING
        return torch.cat(pooled, dim=1).to(dtype), before.masked_fill(~started, 0.0).to(dtype)


@dataclass(frozen=True)
class RecurrentState(RowState):
    """The state of a recurrent core.

    Attributes:
        layers: the states of its layers; rows come first in their tensors.
        log_weight: (B,), the logarithm of the total weight of all pooled steps.
    """

    layers: Any
    log_weight: Tensor


class RecurrentCore(TemporalCore):
    """Base of the recurrent cores, whose `aggregated` pools all valid steps since the row began."""

    def __init__(self, config: TemporalEncoderConfig) -> None:
        super().__init__(config)
        self.output_norm = nn.LayerNorm(config.hidden_dim)
        self.pool = RunningPool(config.hidden_dim)

    def initial_layers(self, batch: int) -> Any:
        """Return the state of the layers before the first step."""
        raise NotImplementedError

    def recur(self, x: Tensor, layers: Any, lengths: Tensor | None) -> tuple[Tensor, Any]:
        """Return outputs (B, T, hidden_dim), and the state of the layers after the last valid step."""
        raise NotImplementedError

    def initial_core(self, batch: int) -> RecurrentState:
        """Return zeros."""
        return RecurrentState(self.initial_layers(batch), self.no_hidden.new_zeros(batch))

    def mix(self, x: Tensor, state: TemporalState | None, lengths: Tensor | None) -> tuple[Tensor, Tensor, Any]:
        """Run the core; see `TemporalCore.mix`."""
        state = self.initial_state(x.shape[0]) if state is None else state
        hidden, layers = self.recur(x, state.core.layers, lengths)
        hidden = self.output_norm(hidden)
        pooled, log_weight = self.pool(hidden, state.pooled, state.core.log_weight, state.seen, lengths)
        return hidden, pooled, RecurrentState(layers, log_weight)


class _TorchRecurrent(RecurrentCore):
    """torch's recurrent layers, which keep the precision of their weights under autocast."""

    kind: type[nn.LSTM] | type[nn.GRU]
    cell: Callable[..., Any]
    carried: int

    def __init__(self, config: TemporalEncoderConfig) -> None:
        super().__init__(config)
        dropout = config.dropout if config.num_layers > 1 else 0.0
        self.layers = self.kind(
            config.hidden_dim, config.hidden_dim, config.num_layers, batch_first=True, dropout=dropout
        )

    def initial_layers(self, batch: int) -> tuple[Tensor, ...]:
        """Return the outputs and, for an LSTM, the cells, each (B, num_layers, hidden_dim)."""
        shape = (batch, self.config.num_layers, self.config.hidden_dim)
        return tuple(self.no_hidden.new_zeros(shape) for _ in range(self.carried))

    def recur(self, x: Tensor, layers: tuple[Tensor, ...], lengths: Tensor | None) -> tuple[Tensor, Any]:
        """Run the layers; see `RecurrentCore.recur`."""
        with torch.autocast(x.device.type, enabled=False):
            x = x.to(self.no_hidden.dtype)
            y, after = self._one_step(x, layers) if x.shape[1] == 1 else self._many_steps(x, layers, lengths)
        if lengths is not None:  # torch knows no empty sequence: rows without a valid step ran one, too
            moved = (lengths > 0).view(-1, 1, 1)
            after = tuple(torch.where(moved, new, old) for new, old in zip(after, layers, strict=True))
        return y, after

    def _many_steps(
        self, x: Tensor, layers: tuple[Tensor, ...], lengths: Tensor | None
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        before = tuple(part.transpose(0, 1).contiguous() for part in layers)
        given: Any = before if len(before) == 2 else before[0]
        if lengths is None:
            y, after = self.layers(x, given)
        else:
            packed = pack_padded_sequence(x, lengths.clamp(min=1).cpu(), batch_first=True, enforce_sorted=False)
            y, after = self.layers(packed, given)
            y, _ = pad_packed_sequence(y, batch_first=True, total_length=x.shape[1])
        return y, tuple(part.transpose(0, 1) for part in (after if isinstance(after, tuple) else (after,)))

    def _one_step(self, x: Tensor, layers: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Run single cells: on a CPU, torch's layers spend most of a short call on preparing their weights."""
        y, states = x[:, 0], []
        for index, weights in enumerate(self.layers.all_weights):
            y = F.dropout(y, self.layers.dropout, self.training) if index else y
            before = tuple(part[:, index] for part in layers)
            after = self.cell(y, before if len(before) == 2 else before[0], *weights)
            states.append(after if isinstance(after, tuple) else (after,))
            y = states[-1][0]
        return y.unsqueeze(1), tuple(torch.stack(parts, dim=1) for parts in zip(*states, strict=True))


class TemporalLSTM(_TorchRecurrent):
    """LSTM (Hochreiter and Schmidhuber, 1997); its forget gates are open at first (Jozefowicz et al., 2015)."""

    encoder_type, kind, cell, carried = "lstm", nn.LSTM, staticmethod(torch.lstm_cell), 2

    def __init__(self, config: TemporalEncoderConfig) -> None:
        super().__init__(config)
        with torch.no_grad():
            for _, _, _, bias in self.layers.all_weights:
                bias.chunk(4)[1].fill_(1.0)

    def forward(  # type: ignore[override]
        self, observations: Tensor, hidden_state: TemporalState | None = None, attention_mask: Tensor | None = None
    ) -> tuple[Tensor, TemporalState]:
        """Encode sequences that continue from a state.

        Args:
            observations: (B, T, input_dim).
            hidden_state: the result of `init_hidden` or of the previous call; None means that nothing came before.
            attention_mask: (B, T) bool or 0 and 1; None means all valid.

        Returns:
            Outputs (B, T, output_dim), zero at padding, and the state after the last valid step.

        Raises:
            ValueError: as `run`.
        """
        output, state = self._encode(observations, hidden_state, attention_mask)
        return output.hidden, state


class TemporalGRU(_TorchRecurrent):
    """GRU (Cho et al., 2014)."""

    encoder_type, kind, cell, carried = "gru", nn.GRU, staticmethod(torch.gru_cell), 1


class TemporalMamba(RecurrentCore):
    """Mamba (Gu and Dao, 2023), with the blocks that StateVLA uses. Like its authors' version, it has no dropout."""

    encoder_type = "mamba"

    def __init__(self, config: TemporalEncoderConfig) -> None:
        super().__init__(config)
        sizes = MambaConfig(config.hidden_dim, config.num_layers, config.d_state, config.d_conv, config.expand)
        self.layers = Mamba(sizes)

    def initial_layers(self, batch: int) -> Any:
        """Return the initial states of the blocks."""
        return self.layers.initial_state(batch)

    def recur(self, x: Tensor, layers: Any, lengths: Tensor | None) -> tuple[Tensor, Any]:
        """Run the layers; see `RecurrentCore.recur`."""
        return self.layers(x, layers, None if lengths is None else ~mask_after(lengths, x.shape[1]))
