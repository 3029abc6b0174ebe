"""Sums and largest values of rows of a table, each over rows of its own."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def weighted_sums(table: Tensor, rows: Tensor, weights: Tensor, into: Tensor, count: int) -> Tensor:
    """Return sums (count, C), the i-th of which is that of weights[j] * table[rows[j]] over all j with into[j] = i.

    The products are never stored, so that this takes half the time of multiplying, gathering and adding by index. On
    one machine the result is always the same, bit for bit, as the order of the sum is that of j.

    Args:
        table: (P, C), may have gradients.
        rows: (N,) int64.
        weights: (N,), may have gradients; computed with in the table's dtype.
        into: (N,) int64 in [0, count).
        count: number of sums; those of nothing are 0.
    """
    into, order = into.sort(stable=True)
    first = torch.searchsorted(into, torch.arange(count, device=into.device))
    return F.embedding_bag(rows[order], table, first, mode="sum", per_sample_weights=weights[order].to(table.dtype))


def largest(values: Tensor, into: Tensor, count: int) -> Tensor:
    """Return the largest values (count, C), the i-th over all rows j of values (N, C) with into[j] = i; 0 over none.

    A gradient goes to one row for each number. This takes half the time of `scatter_reduce` and its gradient, which is
    shared between rows that are equal.
    """
    into, order = into.sort(stable=True)
    first = torch.searchsorted(into, torch.arange(count, device=into.device))
    return F.embedding_bag(order, values, first, mode="max")
