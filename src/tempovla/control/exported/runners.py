"""Runners of exported files: each format is checked before it is loaded."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from tempovla.control.exported.archive import RefusedFileError
from tempovla.control.exported.graph_check import check_graph
from tempovla.control.exported.onnx_check import check_onnx
from tempovla.control.exported.script_check import check_script
from tempovla.control.exported.signature import TensorSpec

Runner = Callable[[Sequence[Tensor]], tuple[Tensor, ...]]
"""Runs a loaded file: one tensor an input, in order, to actions (B, H, A) and what is to be remembered."""


def run_onnx(path: Path, inputs: Sequence[TensorSpec]) -> Runner:
    """Open a session of onnxruntime on the CPU, with as many threads as torch.

    Raises:
        ValueError: if weights are said to lie outside the file's folder, it is damaged, or it has other inputs.
        ModuleNotFoundError: if the extra `export` is not installed.
    """
    import onnxruntime

    check_onnx(path)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"{path}: onnxruntime does not read it ({_first_line(error)}); export it again") from None
    names = [spec.name for spec in inputs]
    own = [entry.name for entry in session.get_inputs()]
    if sorted(names) != sorted(own):
        raise ValueError(f"{path}: takes the inputs {own}, but its description names {names}; export it again")

    def run(tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
        given = {name: tensor.numpy() for name, tensor in zip(names, tensors, strict=True)}
        return tuple(torch.from_numpy(output) for output in session.run(None, given))

    return run


def run_torch_export(path: Path, inputs: Sequence[TensorSpec]) -> Runner:
    """Load the graph as a module.

    Raises:
        ValueError: if the file could run code, is damaged, or of a torch that writes other files.
    """
    check_graph(path)
    with _readable(path):
        program = torch.export.load(path)
        module, count = program.module(), len(program.graph_signature.user_inputs)
    _check_count(path, count, inputs)
    return lambda tensors: _as_tuple(module(*tensors))


def run_torchscript(path: Path, inputs: Sequence[TensorSpec]) -> Runner:
    """Load the traced module.

    Raises:
        ValueError: if the file could run code, or is damaged.
    """
    check_script(path)
    with _readable(path):
        module = torch.jit.load(path, map_location="cpu")
        count = len(module.forward.schema.arguments) - 1  # the first is the module itself
    _check_count(path, count, inputs)
    return lambda tensors: _as_tuple(module(*tensors))


RUNNERS: dict[str, Callable[[Path, Sequence[TensorSpec]], Runner]] = {
    "onnx": run_onnx,
    "torchscript": run_torchscript,
    "torch-export": run_torch_export,
}
"""Runner of a file, by its format."""
SUFFIXES = {"onnx": ".onnx", "torchscript": ".pt", "torch-export": ".pt2"}
"""How the names of a format's files end."""


def _check_count(path: Path, count: int, inputs: Sequence[TensorSpec]) -> None:
    """Refuse a file with more or fewer inputs than its description names.

    Raises:
        ValueError: naming both.
    """
    if count != len(inputs):
        names = [spec.name for spec in inputs]
        raise ValueError(f"{path}: takes {count} inputs, but its description names {names}; export it again")


def _as_tuple(outputs: Tensor | Sequence[Tensor]) -> tuple[Tensor, ...]:
    return (outputs,) if isinstance(outputs, Tensor) else tuple(outputs)


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Have what torch cannot read become one line that names the file, without torch's warnings of its own insides."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (RuntimeError, AssertionError, KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise RefusedFileError(path, f"torch {torch.__version__} does not read it ({_first_line(error)})") from None


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
