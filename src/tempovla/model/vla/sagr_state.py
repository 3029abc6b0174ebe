"""What SA-GR remembers between two decisions, row by row, and when a chunk is not to be executed to its end."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from tempovla.model.layers.row_state import RowState, choose_rows
from tempovla.model.vla.noise_state import NoiseState


@dataclass(frozen=True)
class SAGRMemory(RowState):
    """The last decision.

    Attributes:
        tokens: (B, K, H) task tokens.
        target: (B, M, D) of the world predictor, of the frame that was seen.
        start: (B, M, D) what the world predictor starts from, where that is not the target; else (B, 0, 0).
        state: (B, P) of the robot; P is 0 where none is read.
        known: (B,) bool, whether there was a decision.
        chunk: (B, T, A) the actions that are being executed, normalised.
        used: (B,) int64, how many of them have been executed.
        ratio: (B,) error of the prediction over the expected change, the last time that it was looked at; 0 before.
        most: (B,) the largest ratio of the episode.
        replans: (B,) int64, how many chunks of the episode were broken off.
    """

    tokens: Tensor
    target: Tensor
    start: Tensor
    state: Tensor
    known: Tensor
    chunk: Tensor
    used: Tensor
    ratio: Tensor
    most: Tensor
    replans: Tensor

    @property
    def begun(self) -> Tensor:
        """What the world predictor starts from (B, M, D)."""
        return self.start if self.start.shape[1] else self.target

    def after(self, stride: int, ratio: Tensor, known: Tensor, threshold: float) -> tuple[Tensor, SAGRMemory]:
        """Return which rows go on with their chunk, and the memory with what was found out.

        Args:
            stride: control steps since the last decision.
            ratio: (B,) error of the prediction over the change that it expected in these steps.
            known: (B,) bool, whether the ratio is one: there was a decision so many steps ago.
            threshold: ratio above which a chunk is broken off.
        """
        used = torch.where(self.known, self.used + stride, 0)
        left = self.known & (used + stride <= self.chunk.shape[1])
        surprised = known & (ratio > threshold)
        ratio = torch.where(known, ratio, self.ratio)
        replans = self.replans + (left & surprised).long()
        memory = replace(self, used=used, ratio=ratio, most=torch.maximum(self.most, ratio), replans=replans)
        return left & ~surprised, memory

    def remaining(self) -> Tensor:
        """Return (B, T, A): the actions that are left, and the last one in the place of those that are not."""
        steps = self.used[:, None] + torch.arange(self.chunk.shape[1], device=self.used.device)
        steps = steps.clamp(max=self.chunk.shape[1] - 1)
        return self.chunk.gather(1, steps[..., None].expand_as(self.chunk))

    def planned(self, rows: Tensor, chunk: Tensor) -> SAGRMemory:
        """Return the memory with new chunks (B, T, A) in some rows (B,) bool."""
        return replace(
            self, chunk=choose_rows(rows, chunk.to(self.chunk), self.chunk), used=torch.where(rows, 0, self.used)
        )


@dataclass(frozen=True)
class SAGRState:
    """The source of the noise, and the memory."""

    noise: NoiseState
    memory: SAGRMemory


def change_ratio(observed: Tensor, predicted: Tensor, before: Tensor, floor: Tensor | float) -> Tensor:
    """Return the error of a prediction, relative to the change that it expected.

    The numerator and the denominator are norms over all tokens: ||observed - predicted|| / max(||predicted - before||,
    floor). The ratio is 0 for a perfect prediction.

    Args:
        observed: (B, M, D) of now.
        predicted: (B, M, D) of now, from then.
        before: (B, M, D) of then.
        floor: least expected change.
    """
    apart = (observed.float() - predicted.float()).flatten(1).norm(dim=1)
    expected = (predicted.float() - before.float()).flatten(1).norm(dim=1)
    return apart / torch.maximum(expected, torch.as_tensor(floor, device=expected.device).to(expected))
