"""Metrics of a report as the figures that are logged."""

from __future__ import annotations

from torch import Tensor

from tempovla.objective import LossReport


def metric(report: LossReport, name: str) -> Tensor:
    """The mean over the valid entries."""
    total, count = report.metrics[name]
    return total / count
