"""Made-up earlier episodes for policies that look some up."""

from __future__ import annotations

import torch

from tempovla.model.temporal.context import ContextModule


def fill_library(context: ContextModule, seed: int = 0, lengths: tuple[int, ...] = (4, 2, 3)) -> ContextModule:
    """Return the context, whose library holds random episodes of these lengths if it has one."""
    part = context.retrieval
    if part is not None:
        generator = torch.Generator().manual_seed(seed)
        size = (len(lengths), max(lengths))
        features = torch.randn(*size, part.feature_dim, generator=generator)
        actions = torch.randn(*size, part.action_width, generator=generator)
        part.hold(features, actions, torch.arange(size[1]) < torch.tensor(lengths)[:, None])
    return context
