"""Bounds of actions, and the way there and back."""

from __future__ import annotations

import torch

from tempovla.model.world_model.planning.bounds import ActionBounds


def test_no_rounding_leaves_the_bounds():
    generator = torch.Generator().manual_seed(0)
    low = torch.randn(20_000, generator=generator)
    high = low + torch.rand(20_000, generator=generator) + 0.01
    bounds = ActionBounds.of(low, high)
    for end in (-1.0, 1.0):
        actions = bounds.actions(torch.full((20_000,), end))
        assert ((bounds.low <= actions) & (actions <= bounds.high)).all()
    middle = torch.rand(20_000, generator=generator) * 2.0 - 1.0
    torch.testing.assert_close(bounds.unit(bounds.actions(middle)), middle, rtol=0, atol=1e-4)
