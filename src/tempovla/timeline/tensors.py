"""Tensors out of safetensors files, with one-line errors."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from tempovla.storage.paths import regular_file


def read_tensors(path: Path, *, remedy: str) -> dict[str, Tensor]:
    """All tensors of a file, by name.

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
