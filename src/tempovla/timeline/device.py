"""The device on which a policy learns or acts: CUDA where there is a device, unless the user chooses another."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_CHOSEN: ContextVar[str | None] = ContextVar("device", default=None)


def choose_device(device: str | None = None) -> str:
    """Return the device to use: `device`, else the one of `on_device`, else CUDA where there is a device.

    Args:
        device: `cpu` or `cuda`, or any other device that torch knows; None leaves it open.

    Raises:
        ValueError: if it is a CUDA device and torch sees none.
    """
    import torch  # only here: the command line shows help without waiting for torch

    device = device or _CHOSEN.get()
    has_cuda = torch.cuda.is_available()
    if device is None:
        return "cuda" if has_cuda else "cpu"
    if device.partition(":")[0] == "cuda" and not has_cuda:
        raise ValueError(f"device {device}: torch sees no CUDA device on this machine; leave it out, or give cpu")
    return device


@contextmanager
def on_device(device: str | None) -> Iterator[None]:
    """Give `choose_device` another default inside the block; None leaves it as it is.

    Raises:
        ValueError: as `choose_device`.
    """
    if device is None:
        yield
        return
    token = _CHOSEN.set(choose_device(device))
    try:
        yield
    finally:
        _CHOSEN.reset(token)
