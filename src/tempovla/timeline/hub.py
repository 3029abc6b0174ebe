"""Whether a model may be fetched from a hub: yes if the user names it, no if only a checkpoint names it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

ASK_HUB_VARIABLE = "TEMPOVLA_ASK_HUB"
"""Environment variable: 1 lets models that a checkpoint names be fetched from the hub."""

_disk_alone: ContextVar[bool] = ContextVar("disk_alone", default=False)


@contextmanager
def from_disk_alone(alone: bool = True) -> Iterator[None]:
    """Within the block, read models from folders and from the hub's cache only, without any network.

    Args:
        alone: False changes nothing.
    """
    token = _disk_alone.set(_disk_alone.get() or alone)
    try:
        yield
    finally:
        _disk_alone.reset(token)


def hub_may_be_asked() -> bool:
    """Return whether a model that is not on the disk may be fetched from the hub, here and now."""
    return not _disk_alone.get() or os.environ.get(ASK_HUB_VARIABLE, "0") == "1"


@contextmanager
def hub_as_allowed() -> Iterator[None]:
    """Make the hub's library refuse every request unless `hub_may_be_asked`."""
    if hub_may_be_asked():
        yield
        return
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before
