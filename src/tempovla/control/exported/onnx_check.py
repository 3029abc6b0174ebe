"""Checks of ONNX files before onnxruntime reads them.

Weights that lie beside the file lie in its folder, and nothing in the graph repeats or grows without end.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from tempovla.storage.paths import inside, is_plain_name, regular_file

MOST_NUMBERS = 1 << 28
"""Of a tensor that an operator makes of a constant size: a gigabyte of float32."""
SIZES = {"ConstantOfShape": (0,), "Expand": (1,), "Tile": (1,), "Pad": (1,), "Range": (0, 1, 2), "Resize": (2, 3)}
"""Operators that make tensors of any size, and which of their inputs hold the size."""
_NUMBERS_OF_SIZES, _RANK = (1, 6, 7, 11), 16
"""Types of the tensors that hold sizes (float, int32, int64, double), and how many numbers they hold at the most."""
_REMEDY = "export the policy again, and copy the .data file along with it"


def check_onnx(path: Path) -> None:
    """Refuse a file whose weights are said to lie elsewhere than in a file beside it, or whose graph has no bound.

    Loops and functions of its own, which call each other, can take any time; no policy needs them (time that is
    unrolled is a `Scan`, which ends with its input).

    Raises:
        ValueError: naming the file, and the place or operator.
        ModuleNotFoundError: if the extra `export` is not installed.
    """
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(path, load_external_data=False)
    except (DecodeError, ValueError, RuntimeError):
        raise ValueError(f"{path}: is no ONNX file, or a damaged one; {_REMEDY}") from None
    messages = _messages(model)
    _check_bounds(model, messages, path)
    for tensor in messages["TensorProto"]:
        for entry in tensor.external_data:
            if entry.key == "location":
                if not is_plain_name(entry.value):
                    raise ValueError(
                        f"{path}: weight {tensor.name!r} is said to lie in {entry.value!r}, which is no file beside "
                        f"it; {_REMEDY}"
                    )
                data = inside(path.parent, entry.value, said_by=f"{path.name} names", remedy=_REMEDY)
                regular_file(data, remedy=_REMEDY)


def _check_bounds(model: Any, messages: dict[str, list[Any]], path: Path) -> None:
    from onnx import numpy_helper

    if model.functions:
        raise ValueError(f"{path}: has functions of its own, as no exported policy has; {_REMEDY}")
    sizes = {}
    for graph in messages["GraphProto"]:
        constants = [(tensor.name, tensor) for tensor in graph.initializer]
        for node in graph.node:
            if node.op_type == "Loop":
                raise ValueError(f"{path}: has a Loop ({node.name!r}), as no exported policy has; {_REMEDY}")
            if node.op_type == "Constant" and node.attribute and node.attribute[0].HasField("t"):
                constants.append((node.output[0], node.attribute[0].t))
        for name, tensor in constants:
            if tensor.data_location == 0 and tensor.data_type in _NUMBERS_OF_SIZES and math.prod(tensor.dims) <= _RANK:
                sizes[name] = numpy_helper.to_array(tensor).astype(float).ravel().tolist()
    for node in messages["NodeProto"]:
        given = [node.input[place] for place in SIZES.get(node.op_type, ()) if place < len(node.input)]
        numbers = [number for name in given for number in sizes.get(name, ())]
        if math.prod(max(1.0, abs(number)) for number in numbers) > MOST_NUMBERS:
            raise ValueError(
                f"{path}: {node.op_type} {node.name!r} makes more than {MOST_NUMBERS:,} numbers of nothing; {_REMEDY}"
            )


def _messages(model: Any) -> dict[str, list[Any]]:
    """The graphs, nodes and tensors of a model, by kind, in whatever graph, function or training step they lie."""
    found: dict[str, list[Any]] = {"GraphProto": [], "NodeProto": [], "TensorProto": []}
    waiting = [model]
    while waiting:
        message = waiting.pop()
        kind = message.DESCRIPTOR.name
        if kind in found:
            found[kind].append(message)
        if kind == "TensorProto":
            continue
        for field, value in message.ListFields():
            if field.message_type is not None:
                waiting.extend([value] if hasattr(value, "DESCRIPTOR") else value)
    return found
