"""Multi-layer perceptrons."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from torch import nn


def mlp(sizes: Sequence[int], *, norm_input: bool = False) -> nn.Sequential:
    """Return linear layers of the given sizes with GELU between them, e.g. (1024, 512, 512, 256); optional LayerNorm
    first.
    """
    layers: list[nn.Module] = [nn.LayerNorm(sizes[0])] if norm_input else []
    for index, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
        if index:
            layers.append(nn.GELU())
        layers.append(nn.Linear(inputs, outputs))
    return nn.Sequential(*layers)
