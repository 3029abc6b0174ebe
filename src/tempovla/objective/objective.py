"""The objective: from named loss terms to one number to minimise and the figures to log."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from tempovla.objective.reduce import gather_rows, mask_out, masked_mean_and_count, masked_sum
from tempovla.objective.regularizer import covariance, std, std_within, variance
from tempovla.objective.weights import WeightSchedule
from tempovla.timeline.policy import LossKind, LossTerm, Metric, Progress

ELEMENTWISE: dict[LossKind, Callable[[Tensor, Tensor], Tensor]] = {
    "mse": lambda prediction, target: (prediction - target).square(),
    "l1": lambda prediction, target: (prediction - target).abs(),
    "bce": lambda logits, target: F.binary_cross_entropy_with_logits(logits, target, reduction="none"),
}
BATCHWISE: dict[LossKind, Callable[[Tensor, Tensor], Tensor]] = {
    "variance": variance,
    "covariance": covariance,
    "std": std,
}
KINDS = get_args(LossKind)


@dataclass(frozen=True)
class LossReport:
    """The value of a batch.

    Attributes:
        total: to minimise, a scalar with gradient.
        terms: every loss term, unweighted, and sums of them; scalars without gradient.
        metrics: every metric as its sum over the valid entries of this process and their number, (2,) without gradient:
            the mean over several steps and processes is one sum by the other.
        present: by name of each of `terms`, 1 where some entry of some process was valid, otherwise 0; scalars.
    """

    total: Tensor
    terms: dict[str, Tensor]
    metrics: dict[str, Tensor] = field(default_factory=dict)
    present: dict[str, Tensor] = field(default_factory=dict)


class Objective:
    """Reduce loss terms: elementwise kinds by the masked mean, batchwise kinds over the valid rows of the batch.

    Args:
        sums: figures to report beside the terms, by name: the sum of these terms, of those that there are.
        schedules: by name of a term, the factor of its weight at each step.
    """

    def __init__(
        self,
        sums: Mapping[str, Sequence[str]] | None = None,
        schedules: Mapping[str, WeightSchedule] | None = None,
    ) -> None:
        self.sums = sums or {}
        self.schedules = schedules or {}

    def __call__(self, terms: Mapping[str, LossTerm | Metric], progress: Progress | None = None) -> LossReport:
        """Weigh and add the terms; metrics are reduced alike, and are no part of the total.

        Args:
            terms: what a policy returned.
            progress: the progress of the training, on which schedules of weights depend.

        Raises:
            ValueError: if there are no terms, a term's kind, target or shapes do not fit, or a schedule is of no term.
        """
        if not terms:
            raise ValueError("the policy returned no loss terms; return at least one from forward()")
        unknown = [name for name in self.schedules if not isinstance(terms.get(name), LossTerm)]
        if unknown:
            known = sorted(name for name, term in terms.items() if isinstance(term, LossTerm))
            raise ValueError(f"training.loss_weights names {unknown[0]!r}; the policy's loss terms are {known}")
        trained = {name: term for name, term in terms.items() if isinstance(term, LossTerm)}
        reduced = {name: _reduce(name, term) for name, term in trained.items()}
        values = {name: value for name, (value, _) in reduced.items()}
        weights = {name: self._weight(name, term, progress) for name, term in trained.items()}
        weighted = [weights[name] * value for name, value in values.items() if weights[name]]
        if not weighted:
            raise ValueError(f"all loss terms {sorted(terms)} have weight 0; give at least one a weight")
        total = torch.stack(weighted).sum()
        figures = {name: value.detach() for name, value in values.items()}
        present = {name: (count > 0).to(total) for name, (_, count) in reduced.items()}
        for name, parts in self.sums.items():
            known = [part for part in parts if part in figures]
            if known:
                figures[name] = torch.stack([figures[part] for part in known]).sum()
                present[name] = torch.stack([present[part] for part in known]).amax()
        metrics = {name: measure(name, term).detach() for name, term in terms.items() if isinstance(term, Metric)}
        return LossReport(total, figures, metrics, present)

    def _weight(self, name: str, term: LossTerm, progress: Progress | None) -> float:
        """The factor of a term in the total."""
        schedule = self.schedules.get(name)
        return term.weight if schedule is None or progress is None else term.weight * schedule.at(progress.train_step)


def with_weights(objective: Objective, schedules: Mapping[str, WeightSchedule]) -> Objective:
    """Return the objective with these schedules of weights, beside its own."""
    return Objective(objective.sums, {**objective.schedules, **schedules}) if schedules else objective


def reduce_term(name: str, term: LossTerm | Metric) -> Tensor:
    """Return the unweighted scalar value of one term, computed in float32 or better."""
    return _reduce(name, term)[0]


def _reduce(name: str, term: LossTerm | Metric) -> tuple[Tensor, Tensor]:
    """The value of one term, and what it rests on in all processes together: 0 if on nothing."""
    if term.kind in BATCHWISE:
        return _of_batch(name, term)
    if term.kind == "std_within":
        return _within_groups(name, term)
    return masked_mean_and_count(_entries(name, term), term.valid)


def measure(name: str, metric: Metric) -> Tensor:
    """Return the sum of a metric over the valid entries of this process, and their number: (2,).

    A figure of a whole batch counts as one entry, or as none without two valid rows, and one within groups as its
    degrees of freedom.
    """
    if metric.kind == "std_within":
        value, freedom = _within_groups(name, metric)
        return torch.stack([value * freedom, freedom])
    if metric.kind in BATCHWISE:
        return torch.stack(_of_batch(name, metric))
    return torch.stack(masked_sum(_entries(name, metric), metric.valid))


def _of_batch(name: str, term: LossTerm | Metric) -> tuple[Tensor, Tensor]:
    """The value of a kind that looks at how valid rows of a batch are distributed; 1 with two of them, otherwise 0."""
    prediction = _precise(term.prediction)
    if prediction.shape[:-1] != term.valid.shape:
        raise ValueError(f"loss term {name!r}: {term.kind} needs valid {tuple(prediction.shape[:-1])}")
    rows = mask_out(prediction, term.valid).flatten(0, -2)
    told = gather_rows(torch.cat([rows, term.valid.flatten()[:, None].to(rows)], dim=1))
    valid = told[:, -1] > 0
    return BATCHWISE[term.kind](told[:, :-1], valid), (valid.sum() > 1).to(rows)


def _within_groups(name: str, term: LossTerm | Metric) -> tuple[Tensor, Tensor]:
    """The value of a kind that looks at how valid rows of one group are distributed, and its degrees of freedom."""
    prediction, group = _precise(term.prediction.detach()), term.target
    if group is None or group.dtype != torch.int64 or prediction.dim() != 2 or group.shape[:-1] != term.valid.shape:
        raise ValueError(
            f"loss term {name!r}: {term.kind} needs a prediction (B, D), a target (B, L) int64 and valid (B,), not "
            f"{tuple(prediction.shape)}, {_shape(group)} and {tuple(term.valid.shape)}"
        )
    told = gather_rows(torch.cat([group, term.valid[:, None].to(group)], dim=1))
    return std_within(gather_rows(mask_out(prediction, term.valid)), told[:, :-1], told[:, -1] > 0)


def _entries(name: str, term: LossTerm | Metric) -> Tensor:
    """The value of every entry of a kind that looks at each by itself."""
    prediction = _precise(term.prediction)
    if term.kind == "mean":
        if term.target is not None:
            raise ValueError(f"loss term {name!r}: mean takes no target; its prediction is the loss of every entry")
        return prediction
    if term.kind == "cross_entropy":
        return _cross_entropy(name, term, prediction)
    if term.kind not in ELEMENTWISE:
        raise ValueError(f"loss term {name!r} has kind {term.kind!r}; choose from {KINDS}")
    if term.target is None or term.target.shape != prediction.shape:
        raise ValueError(
            f"loss term {name!r}: target {_shape(term.target)} must have the prediction's shape "
            f"{tuple(prediction.shape)}"
        )
    clean_prediction, clean_target = mask_out(prediction, term.valid), mask_out(term.target.to(prediction), term.valid)
    return ELEMENTWISE[term.kind](clean_prediction, clean_target)


def _precise(prediction: Tensor) -> Tensor:
    return prediction if prediction.dtype == torch.float64 else prediction.float()


def _cross_entropy(name: str, term: LossTerm | Metric, logits: Tensor) -> Tensor:
    """Cross entropy (B, ...) of logits (B, ..., K), with class 0 for the target where invalid."""
    if term.target is None or term.target.shape != logits.shape[:-1] or term.target.dtype != torch.int64:
        kind = "" if term.target is None else f" ({term.target.dtype})"
        raise ValueError(
            f"loss term {name!r}: target {_shape(term.target)}{kind} must be class ids "
            f"{tuple(logits.shape[:-1])} (torch.int64)"
        )
    target = mask_out(term.target, term.valid)
    losses = F.cross_entropy(mask_out(logits, term.valid).flatten(0, -2), target.flatten(), reduction="none")
    return losses.view(target.shape)


def _shape(tensor: Tensor | None) -> tuple[int, ...] | None:
    return None if tensor is None else tuple(tensor.shape)
