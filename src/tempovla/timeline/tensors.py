"""Reading tensors from safetensors files, with errors of one line."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from tempovla.storage.paths import regular_file

MOST_LEARNED = 1e9
"""Weights of trained models stay far below, in the thousands at the most."""


def read_tensors(path: Path, *, remedy: str) -> dict[str, Tensor]:
    """Return all tensors of a file, by name.

    The library checks the file's header against its size before it takes memory.

    Raises:
        ValueError: naming the file and the remedy, if there is none, or it is damaged or no file.
    """
    regular_file(path, remedy=remedy)
    try:
        return load_file(path)
    except (OSError, SafetensorError, ValueError, RuntimeError, KeyError, AttributeError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{path}: not readable ({reason[:200]}); {remedy}") from None


def largest_beyond(tensors: Mapping[str, Tensor], most: float) -> tuple[str, float] | None:
    """Return the first tensor with a number beyond `most`, or one that is not finite, and the largest in it; None if
    none has.

    Tensors of whole numbers are not checked.

    Args:
        tensors: of whatever devices and types, by name.
        most: the largest size that a number may have.
    """
    floating = {name: value.detach() for name, value in tensors.items() if value.is_floating_point() and value.numel()}
    by_kind: dict[tuple[torch.device, torch.dtype], list[str]] = {}
    for name, value in floating.items():
        by_kind.setdefault((value.device, value.dtype), []).append(name)
    for names in by_kind.values():  # one transfer from the device for each kind
        ends = [torch.stack(torch.aminmax(floating[name])) for name in names]  # NaN is passed on
        largest = torch.stack(ends).float().abs().amax(dim=1).tolist()
        for name, value in zip(names, largest, strict=True):
            if not value <= most:
                return name, value
    return None


def check_learned(weights: Mapping[str, Tensor], where: str) -> None:
    """Refuse weights that no training produces. Anything that starts from them would fail later, for a reason that is
    hard to find.

    Args:
        weights: those that are learned, by name; buffers may hold anything.
        where: name of their source, for the message.

    Raises:
        ValueError: naming the first.
    """
    found = largest_beyond(weights, MOST_LEARNED)
    if found is not None:
        raise ValueError(
            f"{where}: weight {found[0]!r} holds {found[1]:.3g}, which no training produces; copy the checkpoint "
            "again, or give an earlier one"
        )
