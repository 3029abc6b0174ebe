"""Losses on held-out batches."""

from __future__ import annotations

from collections.abc import Iterable

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
    for sample in batches:
        report = loss(sample.to(device))
        size = int(distributed.add_up(torch.tensor(sample.batch_size, device=device)))
        of_one = {f"total_{name}": report.total for name in _only_dataset(sample)}
        for name, value in {"total": report.total, **report.terms, **report.metrics, **of_one}.items():
            sums[name] = sums.get(name, 0.0) + value * size
            rows[name] = rows.get(name, 0) + size
    if not rows:
        raise ValueError("validation holds no batch; give validation=None to train without")
    values = distributed.average(
        torch.stack([torch.as_tensor(value) / rows[name] for name, value in sums.items()])
    ).tolist()
    return dict(zip(sums, values, strict=True))


def _only_dataset(sample: TimelineSample) -> set[str]:
    """The one dataset that all rows are of, where they say it."""
    names = {task.dataset for task in sample.context.task} - {""}
    return names if len(names) == 1 else set()
