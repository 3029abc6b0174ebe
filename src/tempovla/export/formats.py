"""The formats: how a policy becomes a file. `tempovla.control.exported.runners` runs it again."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from tempovla.control.exported.runners import SUFFIXES
from tempovla.export.deployed import DeployedPolicy

LARGEST_ONNX_FILE = 1_800_000_000
"""Bytes of weights from which on they lie beside the ONNX file, which may not exceed 2 GiB itself."""


class ExportFormat(Protocol):
    """One format.

    Attributes:
        suffix: of its files.
        loops: whether a loop over time stays one, as a scan needs it.
    """

    suffix: str
    loops: bool

    def write(self, policy: DeployedPolicy, example: Sequence[Tensor], path: Path) -> dict[str, Any]:
        """Write the file; return remarks about it."""


class OnnxFormat:
    """ONNX, by torch's exporter on top of `torch.export`; run by onnxruntime."""

    suffix = SUFFIXES["onnx"]
    loops = True

    def write(self, policy: DeployedPolicy, example: Sequence[Tensor], path: Path) -> dict[str, Any]:
        """Write the file and, where the weights are too many for one, another beside it that ends in `.data`.

        Raises:
            ModuleNotFoundError: if the extra `export` is not installed.
        """
        import onnx
        import onnxruntime  # noqa: F401  what is missing is said before the work, not after it
        import onnxscript

        program = export_program(policy, example)
        with _quiet(), _linear_rewriting():
            converted = torch.onnx.export(
                program,
                input_names=[spec.name for spec in policy.inputs],
                output_names=[policy.output.name, *(spec.output.name for spec in policy.memory)],
                dynamo=True,
                verbose=False,
            )
        assert converted is not None
        nodes = list(converted.model.graph.all_nodes())
        for node in nodes:
            node.metadata_props.clear()  # which module each came from, in more bytes than small weights have
        size = sum(weight.numel() * weight.element_size() for weight in policy.parameters())
        converted.save(path, external_data=size > LARGEST_ONNX_FILE)
        return {
            "opset": converted.model.opset_imports[""],
            "nodes": len(nodes),
            "versions": {"onnx": onnx.__version__, "onnxscript": onnxscript.__version__},
        }


class TorchExportFormat:
    """`torch.export`: a graph for torch itself, in Python or ahead of time compiled; needs no model code."""

    suffix = SUFFIXES["torch-export"]
    loops = True

    def write(self, policy: DeployedPolicy, example: Sequence[Tensor], path: Path) -> dict[str, Any]:
        """Write the file."""
        with _quiet():
            whole = io.BytesIO()
            torch.export.save(export_program(policy, example), whole)
        path.write_bytes(whole.getbuffer())
        return {}


class TorchScriptFormat:
    """TorchScript by tracing, for runtimes in C++ that have nothing newer; torch deprecates it."""

    suffix = SUFFIXES["torchscript"]
    loops = False

    def write(self, policy: DeployedPolicy, example: Sequence[Tensor], path: Path) -> dict[str, Any]:
        """Write the file."""
        with _quiet(), torch.no_grad():
            traced = torch.jit.trace(policy, tuple(example), check_trace=False)  # other batches are checked later
            whole = io.BytesIO()  # torch's own writer ends the process where the disk is full
            torch.jit.save(torch.jit.freeze(traced), whole)
        path.write_bytes(whole.getbuffer())
        return {}


FORMATS: dict[str, ExportFormat] = {
    "onnx": OnnxFormat(),
    "torchscript": TorchScriptFormat(),
    "torch-export": TorchExportFormat(),
}


def export_program(policy: DeployedPolicy, example: Sequence[Tensor]) -> torch.export.ExportedProgram:
    """Return the graph of a policy, for any number of rows."""
    batch = torch.export.Dim("batch")
    shapes = {"tensors": tuple({0: batch} for _ in example)}
    with _quiet(), torch.no_grad():
        program = torch.export.export(policy, tuple(example), dynamic_shapes=shapes, strict=False)
    for module in program.graph_module.modules():
        for node in getattr(getattr(module, "graph", None), "nodes", ()):
            node.meta.pop("stack_trace", None)  # of a torch that cannot do without, see `_quiet`
    return program


@contextmanager
def _linear_rewriting() -> Iterator[None]:
    """Leave out those rules of onnxscript's optimiser that look at all nodes again for every node.

    That is one which makes two slices a split: it takes two fifths of the time for a graph of 2,000 nodes, and grows
    with the square of them. The rules have no public name; where they are not found, all of them are applied.
    """
    from onnxscript import rewriter

    rules = getattr(rewriter, "_DEFAULT_REWRITE_RULES", None)
    if rules is None:
        yield
        return
    quick = [rule for rule in rules if getattr(rule, "name", "") != "SlicesSplit"]
    rewriter._DEFAULT_REWRITE_RULES = tuple(quick)
    try:
        yield
    finally:
        rewriter._DEFAULT_REWRITE_RULES = rules


@contextmanager
def _quiet() -> Iterator[None]:
    """Torch's exporters warn of their own insides, and of torchvision's operators; transformers of losses.

    They would also note for every node from which lines of source code it comes, with this machine's paths: that takes
    a fifth of the time, and no file may hold it.
    """
    traced = getattr(torch.fx.config, "do_not_emit_stack_traces", False)
    torch.fx.config.do_not_emit_stack_traces = True
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "transformers")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        torch.fx.config.do_not_emit_stack_traces = traced
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
