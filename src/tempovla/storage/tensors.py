"""Tensors in safetensors files, with errors of the disk as such."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from tempovla.storage.problems import error_number


def save_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write tensors of any device and layout. Tensors that share memory are written separately.

    Raises:
        OSError: if the disk does not take them.
    """
    with disk_errors():  # a clone each, as safetensors refuses tensors that share memory
        save_file({name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}, path)


@contextmanager
def disk_errors() -> Iterator[None]:
    """Have safetensors raise an OSError where the disk is to blame.

    Raises:
        OSError: with the system's number.
    """
    try:
        yield
    except SafetensorError as error:
        number = error_number(error)
        if number is None:
            raise
        raise OSError(number, str(error)) from error
