"""The memory of an exported policy: tensors that its graph takes and returns."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from tempovla.control.exported.signature import TensorSpec
from tempovla.model.vla.noise_state import NoiseState
from tempovla.storage.json_files import shown

NEXT = "next_"
"""What the name of an output of the graph begins with, of the tensor that is the input of the next decision."""


MOST_NUMBERS, LARGEST_INITIAL = 1 << 28, 1e9
"""Of one tensor of a row, and how far from 0 they begin: more than any memory has."""


@dataclass(frozen=True)
class MemorySpec:
    """One tensor that goes from a decision to the next.

    Attributes:
        input: of the graph; its output has `NEXT` in front of the name.
        initial: every number of a row that has seen nothing.
    """

    input: TensorSpec
    initial: float = 0

    @property
    def output(self) -> TensorSpec:
        """Of the graph."""
        return replace(self.input, name=NEXT + self.input.name)

    def rows(self, batch: int) -> Tensor:
        """Return the tensors (batch, ...) of rows that have seen nothing."""
        return torch.full((batch, *self.input.shape), self.initial, dtype=self.input.torch_dtype)

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready form; `from_json` reads it back."""
        return {"input": self.input.name, "output": self.output.name, "initial": self.initial}

    @classmethod
    def from_json(cls, data: Mapping[str, Any], inputs: Mapping[str, TensorSpec]) -> MemorySpec:
        """Read what `to_json` wrote, for a graph with these inputs.

        Raises:
            ValueError: if there is no such input, it is larger than a memory is, or `initial` is no number.
        """
        name, initial = data["input"], data["initial"]
        if name not in inputs:
            raise ValueError(f"state names {shown(name)}, which is no input")
        if type(initial) not in (int, float) or abs(initial) > LARGEST_INITIAL:
            raise ValueError(f"initial of state {shown(name)} is {shown(initial)}, not a number of such a memory")
        shape = inputs[name].shape
        if min(shape, default=0) < 0 or math.prod(shape) > MOST_NUMBERS:
            raise ValueError(f"state {shown(name)} is {shape}, which no memory is")
        return cls(inputs[name], initial)


@dataclass(frozen=True)
class ExportedState:
    """Where the noise comes from, and what is remembered, in the order of the sidecar."""

    noise: NoiseState
    memory: tuple[Tensor, ...]
