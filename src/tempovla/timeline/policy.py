"""The protocol of a policy, its chunks of actions, and its loss terms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, Protocol, Self, TypeVar

import torch
from torch import Tensor

from tempovla.timeline.sample import Context, TimelineSample
from tempovla.timeline.task import Task
from tempovla.timeline.track import Track
from tempovla.timeline.window import Window

LossKind = Literal["mse", "l1", "bce", "cross_entropy", "mean", "variance", "covariance", "std", "std_within"]


@dataclass(frozen=True)
class ActionChunk(Track):
    """Actions to do from now on: value (B, H, A), offsets 0, 1, ..., H-1.

    Attributes:
        task: one a row, for transforms that differ by dataset; empty where none do.
    """

    task: tuple[Task, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.task and len(self.task) != self.batch_size:
            raise ValueError(
                f"ActionChunk has {len(self.task)} tasks for {self.batch_size} rows; give one for each row"
            )
        if self.offset.tolist() != list(range(self.length)):
            raise ValueError(f"ActionChunk offsets {self.offset.tolist()} must be 0, 1, ..., {self.length - 1}")

    def rows(self, index: Tensor | slice) -> Self:
        """Return the chosen rows of the batch."""
        chosen = torch.arange(self.batch_size)[index.cpu() if isinstance(index, Tensor) else index].tolist()
        task = tuple(self.task[row] for row in chosen) if self.task else ()
        return replace(self, value=self.value[index], valid=self.valid[index], task=task)


@dataclass(frozen=True)
class LossTerm:
    """One term of a loss, before any reduction: the objective alone computes masked means.

    Attributes:
        prediction: (B, ...) tensor; for `cross_entropy` logits (B, ..., K) of K classes.
        target: what the prediction should be, of the same shape; for `cross_entropy` class ids (B, ...) int64; None for
            the kinds that have none (for `mean` the prediction is the elementwise loss itself; `variance`, `covariance`
            and `std` look at the prediction's distribution over the batch); for `std_within` int64 (B, L), the same for
            rows of one group.
        valid: bool, a prefix of the prediction's shape (`cross_entropy`: of the target's), e.g. (B,), (B, T) or
            (B, T, A); absent supervision is False.
        weight: factor in the total. What is logged and never trained on is a `Metric`.
        kind: name of the elementwise loss or batch regulariser in `tempovla.objective`.
    """

    prediction: Tensor
    target: Tensor | None
    valid: Tensor
    weight: float = 1.0
    kind: LossKind = "mse"

    @classmethod
    def smoothness(cls, prediction: Tensor, valid: Tensor, weight: float) -> LossTerm:
        """Return squared first differences of a sequence (B, T, A) where both of its steps are valid: (B, T) or (B, T,
        A).
        """
        difference = prediction[:, 1:] - prediction[:, :-1]
        return cls(difference, torch.zeros_like(difference), valid[:, 1:] & valid[:, :-1], weight)


@dataclass(frozen=True)
class Metric:
    """A figure that is logged beside the loss and never trained on, before any reduction.

    Attributes:
        prediction: as of a `LossTerm`; no gradient flows through it.
        target: as of a `LossTerm`.
        valid: as of a `LossTerm`.
        kind: how it is reduced; `mean` is the masked mean of `prediction` itself.
    """

    prediction: Tensor
    target: Tensor | None
    valid: Tensor
    kind: LossKind = "mean"


LossTerms = Mapping[str, LossTerm | Metric]
"""Loss terms and metrics by name, as `Policy.forward` returns them; at least one is a `LossTerm`."""


@dataclass(frozen=True)
class Progress:
    """The progress of a training; schedules are pure functions of it, and so survive a resume.

    Attributes:
        train_step: number of the optimiser step, from 0.
        total_steps: of the whole run.
    """

    train_step: int
    total_steps: int

    @property
    def fraction(self) -> float:
        """From 0 at the first step to 1 at the end."""
        return min(1.0, self.train_step / max(1, self.total_steps))


S = TypeVar("S")


class Policy(Protocol[S]):
    """A policy with explicit state S; models, memories and chunk buffers all live in S."""

    def windows(self) -> tuple[Window, ...]:
        """Return the windows that the policy reads and learns from."""

    def initial_state(self, batch_size: int) -> S:
        """Return the state of `batch_size` rows that have seen nothing."""

    def forward(self, sample: TimelineSample) -> LossTerms:
        """Return loss terms and metrics of a batch."""

    def act(self, context: Context, state: S) -> tuple[ActionChunk, S]:
        """Return actions from now on. Rows where `context.first` is True start from a fresh state.

        No future is passed, so none can leak.
        """

    def after_step(self, train_step: int) -> None:
        """Called after each optimiser step, e.g. to move an EMA target."""
