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

    Of several datasets, `total_<dataset>` is the mean over batches with rows of that dataset alone.

    Args:
        loss: from a batch to its `LossReport`.
        batches: prepared; equally many in every process. A batch's rows are those of all of them, as its loss is.
        device: where the losses are computed.

    Raises:
        ValueError: if there is no batch.
    """
    sums: dict[str, Tensor | float] = {}
    rows: dict[str, int] = {}
    metrics: dict[str, Tensor | float] = {}
    for sample in batches:
        report = loss(sample.to(device))
        size = int(distributed.add_up(torch.tensor(sample.batch_size, device=device)))
        of_one = {f"total_{name}": report.total for name in _only_dataset(sample)}
        for name, value in {"total": report.total, **report.terms, **of_one}.items():
            sums[name] = sums.get(name, 0.0) + value * size
            rows[name] = rows.get(name, 0) + size
        for name, pair in report.metrics.items():
            metrics[name] = metrics.get(name, 0.0) + pair.double()
    if not rows:
        raise ValueError("validation holds no batch; give validation=None to train without")
    values = distributed.average(
        torch.stack([torch.as_tensor(value) / rows[name] for name, value in sums.items()])
    ).tolist()
    return dict(zip(sums, values, strict=True)) | _means(metrics)


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
