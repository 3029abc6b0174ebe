"""The device on which a policy learns or acts: CUDA where there is a device, unless the user chooses another."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

from tempovla.timeline.arguments import brief

if TYPE_CHECKING:
    import torch

_CHOSEN: ContextVar[str | None] = ContextVar("device", default=None)


def choose_device(device: str | torch.device | None = None) -> str:
    """Return the device to use: `device`, else the one of `on_device`, else CUDA where there is a device.

    Args:
        device: `cpu` or `cuda`, or any other device that torch knows; None leaves it open.

    Raises:
        ValueError: if torch knows no such device, or sees none on this machine.
    """
    import torch  # only here: the command line shows help without waiting for torch

    device = _CHOSEN.get() if device is None else device
    has_cuda = torch.cuda.is_available()
    if device is None:
        return "cuda" if has_cuda else "cpu"
    remedy = "leave it out, or give cpu"
    if not isinstance(device, str | torch.device):
        raise ValueError(f"device {brief(device)}: is no name of a device; give cpu or cuda")
    try:
        chosen = torch.device(device)
    except RuntimeError:
        raise ValueError(f"device {brief(device)}: torch knows no such device; give cpu or cuda") from None
    if chosen.type == "cuda" and not has_cuda:
        raise ValueError(f"device {device}: torch sees no CUDA device on this machine; {remedy}")
    last = torch.cuda.device_count() - 1 if chosen.type == "cuda" else 0
    if chosen.type == "cuda" and 0 <= last < (chosen.index or 0):
        raise ValueError(f"device {device}: torch sees CUDA devices 0 to {last}; give cuda:{last} at the most")
    if chosen.type not in ("cpu", "cuda"):
        _check_other(chosen, remedy)
    return str(device)


def _check_other(device: torch.device, remedy: str) -> None:
    """Refuse a device on which nothing can be computed here."""
    import torch

    try:
        usable = device.type != "meta" and torch.zeros(1, device=device).item() == 0.0
    except (RuntimeError, NotImplementedError, AssertionError):
        usable = False
    if not usable:
        raise ValueError(f"device {device}: torch cannot compute on it on this machine; {remedy}")


@contextmanager
def on_device(device: str | torch.device | None) -> Iterator[None]:
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
