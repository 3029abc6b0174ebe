"""How far rounding may lead two ways of computing the same thing, so that a test holds on any processor."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import pytest
import torch
from torch.optim import AdamW

from tempovla.training import optimizer


def tolerance(dtype: torch.dtype = torch.float32, roundings: int = 1000) -> float:
    """The relative error of so many roundings one after the other if all of them go the same way."""
    return roundings * torch.finfo(dtype).eps / 2


@contextmanager
def smooth_steps() -> Iterator[None]:
    """Within it the steps of training follow the sizes of gradients.

    AdamW's first steps follow their signs, however small they are: where a gradient is zero but for rounding, rounding
    decides whether a weight goes up or down by the whole learning rate. A large epsilon takes that away.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(optimizer, "AdamW", partial(AdamW, eps=1.0))
        yield
