"""An LSTM over the readings of an inertial measurement unit."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tempovla.model.layers.dtype import in_dtype_of

SCALES = (9.81, 9.81, 9.81, 1.0, 1.0, 1.0)
"""What the readings are divided by: accelerations [m/s2] and turn rates [rad/s]."""


class IMUEncoder(nn.Module):
    """The last hidden state of an LSTM over accelerations and turn rates.

    The interval before each reading is an input, too, so that the rate may vary. Readings that are missing are passed
    over: the result is that of the others alone, with the intervals between them.

    Args:
        output_dim: width of the features.
        num_layers: layers of the LSTM.
        rate_hz: usual rate of the readings [Hz].
    """

    scales: Tensor

    def __init__(self, output_dim: int = 128, num_layers: int = 2, rate_hz: float = 100.0) -> None:
        super().__init__()
        if not rate_hz > 0:
            raise ValueError(f"rate_hz={rate_hz} must be above 0")
        self.output_dim, self.rate_hz = output_dim, rate_hz
        self.lstm = nn.LSTM(len(SCALES) + 1, output_dim, num_layers=num_layers, batch_first=True)
        self.register_buffer("scales", torch.tensor(SCALES), persistent=False)

    def forward(self, readings: Tensor, times: Tensor | None = None, valid: Tensor | None = None) -> Tensor:
        """Return the features (B, output_dim), which are 0 without any reading.

        Args:
            readings: (B, T, 6) accelerations [m/s2] and turn rates [rad/s], the oldest first. One with a number that
                is not finite is missing.
            times: (B, T) of the readings [s], which grow; None where they come at the usual rate.
            valid: (B, T) bool, which readings are there; None where all are. What the others hold changes nothing.

        Raises:
            ValueError: if the shapes do not fit.
        """
        shape = readings.shape[:2]
        fits = readings.dim() == 3 and readings.shape[2] == len(SCALES)
        if not fits or any(each is not None and each.shape != shape for each in (times, valid)):
            given = [None if each is None else tuple(each.shape) for each in (readings, times, valid)]
            timed = readings.dim() == 3 and readings.shape[2] == len(SCALES) + 1
            advice = "; if the times are the first column, give `readings[..., 1:], readings[..., 0]`" if timed else ""
            raise ValueError(
                f"readings, times and valid {given}: give (B, T, 6), (B, T) or None and (B, T) or None{advice}"
            )
        there = readings.isfinite().all(dim=-1)
        there = there if valid is None else there & valid
        there = there if times is None else there & times.isfinite()
        if not shape[1]:
            return readings.new_zeros(shape[0], self.output_dim)
        order = (~there).to(torch.uint8).argsort(dim=1, stable=True)  # those that are there come first
        number = there.sum(dim=1)
        seen = torch.cat([readings / self.scales, self._late(times, readings)[..., None]], dim=-1)
        seen = seen.gather(1, order[..., None].expand(-1, -1, seen.shape[-1]))
        moved = torch.arange(shape[1], device=seen.device) < number[:, None]
        intervals = self._intervals(seen[..., -1], has_times=times is not None)
        seen = torch.where(moved[..., None], torch.cat([seen[..., :-1], intervals[..., None]], dim=-1), 0.0)
        hidden, _ = self.lstm(in_dtype_of(self.lstm, seen))
        last = (number - 1).clamp(min=0)[:, None, None].expand(-1, 1, self.output_dim)
        return torch.where((number > 0)[:, None], hidden.gather(1, last)[:, 0], 0.0)

    def _late(self, times: Tensor | None, readings: Tensor) -> Tensor:
        """Times (B, T) in usual intervals."""
        return torch.zeros_like(readings[..., 0]) if times is None else times.to(readings.dtype) * self.rate_hz

    def _intervals(self, late: Tensor, *, has_times: bool) -> Tensor:
        """How much longer (B, T) than usual each interval is, in usual ones; 0 before the first reading."""
        if not has_times:
            return late
        return nn.functional.pad(late[:, 1:] - late[:, :-1] - 1.0, (1, 0))
