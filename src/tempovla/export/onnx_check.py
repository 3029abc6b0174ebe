"""ONNX files, looked at before onnxruntime reads them: weights that lie beside the file lie in its folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tempovla.storage.paths import inside, is_plain_name, regular_file

_REMEDY = "export the policy again, and copy the .data file along with it"


def check_onnx(path: Path) -> None:
    """Refuse a file whose weights are said to lie elsewhere than in a file beside it.

    Raises:
        ValueError: naming the file and the place that it names.
        ModuleNotFoundError: if the extra `export` is not installed.
    """
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(path, load_external_data=False)
    except (DecodeError, ValueError, RuntimeError):
        raise ValueError(f"{path}: is no ONNX file, or a damaged one; {_REMEDY}") from None
    for tensor in _tensors(model):
        for entry in tensor.external_data:
            if entry.key == "location":
                if not is_plain_name(entry.value):
                    raise ValueError(
                        f"{path}: weight {tensor.name!r} is said to lie in {entry.value!r}, which is no file beside "
                        f"it; {_REMEDY}"
                    )
                data = inside(path.parent, entry.value, said_by=f"{path.name} names", remedy=_REMEDY)
                regular_file(data, remedy=_REMEDY)


def _tensors(message: Any) -> Iterator[Any]:
    """Every tensor in a message, in whatever graph, function, node or training step it lies."""
    waiting = [message]
    while waiting:
        found = waiting.pop()
        if found.DESCRIPTOR.name == "TensorProto":
            yield found
            continue
        for field, value in found.ListFields():
            if field.message_type is not None:
                waiting.extend([value] if hasattr(value, "DESCRIPTOR") else value)
