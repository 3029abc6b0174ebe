"""Losses on held-out batches."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from tempovla.timeline import TimelineSample
from tempovla.training import distributed


@torch.no_grad()
def validation_losses(loss: nn.Module, batches: Iterable[TimelineSample], device: torch.device) -> dict[str, float]:
    """Return `total`, every term and every metric: means of the batches' losses, weighted by rows.

    A batch in which nothing of a term is valid is no part of its mean. Without any other the term is left out.

    Of several datasets, `total_<dataset>` is the mean over batches with rows of that dataset alone.

    Args:
        loss: from a batch to its `LossReport`.
        batches: prepared; equally many in every process. A batch's rows are those of all of them, as its loss is.
        device: where the losses are computed.

    Raises:
        ValueError: if there is no batch.
    """
    sums: dict[str, Tensor] = {}
    rows: dict[str, Tensor | float] = {}
    metrics: dict[str, Tensor | float] = {}
    for sample in batches:
        report = loss(sample.to(device))
        size = int(distributed.add_up(torch.tensor(sample.batch_size, device=device)))
        of_one = {f"total_{name}": report.total for name in _only_dataset(sample)}
        for name, value in {"total": report.total, **report.terms, **of_one}.items():
            sums[name] = value * size + sums.get(name, 0.0)
            rows[name] = rows.get(name, 0.0) + report.present.get(name, 1.0) * size
        for name, pair in report.metrics.items():
            metrics[name] = metrics.get(name, 0.0) + pair.double()
    if not rows:
        raise ValueError("validation holds no batch; give validation=None to train without")
    pairs = {name: torch.stack([value, torch.as_tensor(rows[name]).to(value)]) for name, value in sums.items()}
    return _means(pairs) | _means(metrics)


def _means(metrics: Mapping[str, Tensor | float]) -> dict[str, float]:
    """Means of metrics over all processes, from sums and numbers of entries (2,); none without a valid entry."""
    if not metrics:
        return {}
    pairs = distributed.average(torch.stack([torch.as_tensor(pair) for pair in metrics.values()])).tolist()
    return {name: total / count for name, (total, count) in zip(metrics, pairs, strict=True) if count}


def _only_dataset(sample: TimelineSample) -> set[str]:
    """The one dataset that all rows are of, where they say it."""
    names = {task.dataset for task in sample.context.task} - {""}
    return names if len(names) == 1 else set()
