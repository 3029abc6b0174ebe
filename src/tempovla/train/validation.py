"""Losses on held-out batches."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from tempovla.timeline import TimelineSample
from tempovla.train import distributed


@torch.no_grad()
def validation_losses(loss: nn.Module, batches: Iterable[TimelineSample], device: torch.device) -> dict[str, float]:
    """`total` and every term: means of the batches' losses, weighted by rows.

    Args:
        loss: from a batch to its `LossReport`.
        batches: prepared; equally many in every process. A batch's rows are those of all of them, as its loss is.
        device: where the losses are computed.

    Raises:
        ValueError: if there is no batch.
    """
    sums: dict[str, Tensor | float] = {}
    rows = 0
    for sample in batches:
        report = loss(sample.to(device))
        size = int(distributed.add_up(torch.tensor(sample.batch_size, device=device)))
        for name, value in {"total": report.total, **report.terms}.items():
            sums[name] = sums.get(name, 0.0) + value * size
        rows += size
    if rows == 0:
        raise ValueError("validation holds no batch; give validation=None to train without")
    values = distributed.average(torch.stack([torch.as_tensor(value) / rows for value in sums.values()])).tolist()
    return dict(zip(sums, values, strict=True))
