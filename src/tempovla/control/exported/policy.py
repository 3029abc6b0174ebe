"""An exported file as a policy that acts: raw context in, actions in the robot's units out, without model code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tempovla.control.exported.runners import RUNNERS
from tempovla.control.exported.sidecar import Sidecar, sidecar_path
from tempovla.control.exported.signature import DECISION, SEED, TensorSpec
from tempovla.model.vla.noise_state import NoiseState
from tempovla.storage.said_by import said_by
from tempovla.timeline import ActionChunk, Context
from tempovla.timeline.finite import check_actions, check_finite
from tempovla.timeline.given import check_now
from tempovla.timeline.keys import LANGUAGE_KEY, TOKENS_KEY
from tempovla.transform.join import joins_of
from tempovla.transform.pipeline import TransformPipeline


class ExportedPolicy:
    """What `Controller` is to a checkpoint, for a file that `tempovla export` wrote; on the CPU.

    Args:
        file: the file, of any format; `<file>.json` lies beside it.

    Attributes:
        sidecar: what is known of the file.
        windows: on raw observations, under every name that they may be given by.
        embodiment: as in a bundle.
        device: the CPU.
        frame_stride: none, as nothing is remembered from one decision to the next.

    Raises:
        ValueError: if the file is missing, is not what the sidecar describes, or takes random numbers as inputs.
        ModuleNotFoundError: if it is ONNX, and the extra `export` is not installed.
    """

    device = "cpu"
    frame_stride = None

    def __init__(self, file: str | Path) -> None:
        self.sidecar = Sidecar.load(file)
        if self.sidecar.format not in RUNNERS:
            raise ValueError(f"{file}: format {self.sidecar.format!r} is unknown; choose from {', '.join(RUNNERS)}")
        names = [spec.name for spec in self.sidecar.inputs]
        if not self.sidecar.draws_from_seed:
            raise ValueError(f"{file}: takes its random numbers as inputs, of {names}; export it with --noise seed")
        with said_by(sidecar_path(file), remedy="copy it again"):
            self._joins = joins_of(self.sidecar.transform)
            self.windows = TransformPipeline(self._joins).accepted_windows(self.sidecar.windows)
            self.embodiment = self.sidecar.embodiment
            instruction = self.sidecar.instruction
            self._instruction = TransformPipeline.from_json(
                {"steps": [] if instruction is None else [instruction]}, self.sidecar.assets
            )
        self._run = RUNNERS[self.sidecar.format](Path(file), self.sidecar.inputs)

    def initial_state(self, batch_size: int) -> NoiseState:
        """State of rows that have seen nothing."""
        return NoiseState.initial(batch_size, torch.device(self.device))

    def with_seeds(self, state: NoiseState, seeds: Sequence[int]) -> NoiseState:
        """The state with the noise of every row drawn from its seed."""
        return state.with_seeds(torch.tensor(seeds, dtype=torch.int64))

    def act(self, context: Context, state: NoiseState) -> tuple[ActionChunk, NoiseState]:
        """Actions (B, H, A) in the robot's units from a raw context, and the next state.

        Raises:
            ValueError: if the observations lack a stream, or one is of another size, not valid or not finite; or if the
                policy answers with actions that are not finite.
        """
        for join in self._joins:
            context = join.under_own_names(context)
        now = self._instruction.forward_context(context).now
        decision = torch.where(context.first, 0, state.decision)
        given = {SEED: state.seed, DECISION: decision}
        for spec in self.sidecar.inputs:
            if spec.name not in given:
                given[spec.name] = self._observed(spec, now, context)
        actions = self.run(given)
        check_actions(actions, self.sidecar.origin or "the policy")
        return ActionChunk.of(actions, range(actions.shape[1])), NoiseState(state.seed, decision + 1)

    def run(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Actions (B, H, A) in the robot's units of one tensor (B, ...) an input, by name.

        Raises:
            ValueError: if one is missing, of another shape or type, or not finite.
        """
        tensors = []
        for spec in self.sidecar.inputs:
            if spec.name not in inputs:
                raise ValueError(f"input {spec.name!r} is missing; give {[spec.name for spec in self.sidecar.inputs]}")
            tensor = inputs[spec.name]
            if tuple(tensor.shape[1:]) != spec.shape or tensor.dtype != spec.torch_dtype:
                raise ValueError(
                    f"{self.sidecar.origin}: input {spec.name!r} is {tuple(tensor.shape)} {tensor.dtype}, but was "
                    f"exported as (batch, {', '.join(map(str, spec.shape))}) {spec.dtype}; give it so"
                )
            check_finite(spec.name, tensor)
            tensors.append(tensor.contiguous())
        return self._run(tensors)

    def _observed(self, spec: TensorSpec, now: Mapping[str, Any], context: Context) -> Tensor:
        if spec.name not in now or 0 not in now[spec.name].offset.tolist():
            check_now(context, [spec.name])
        value, valid = now[spec.name].at(0)
        if not bool(valid.all()):
            raise ValueError(f"stream {spec.name!r} is not valid in every row; an exported policy needs all of them")
        self._check_size(spec, value)
        if spec.dtype == "uint8":
            return value.permute(0, 3, 1, 2)
        return value if spec.name in (TOKENS_KEY, LANGUAGE_KEY) else value.float()

    def _check_size(self, spec: TensorSpec, value: Tensor) -> None:
        """Refuse values (B, *shape) of another shape, in words of the observation and not of the file's inputs."""
        said = f"{self.sidecar.origin}: stream {spec.name!r}"
        shape = tuple(value.shape[1:])
        if spec.dtype == "uint8":
            wanted = (*spec.shape[1:], spec.shape[0])
            if shape != wanted or value.dtype != torch.uint8:
                is_picture = len(shape) == 3 and shape[-1] == 3 and value.dtype == torch.uint8
                other = f", or export with --image_size {shape[0]}x{shape[1]}" if is_picture else ""
                raise ValueError(
                    f"{said} has pictures {shape} {value.dtype}, but the file takes (height, width, RGB) = {wanted} "
                    f"uint8; give them so{other}"
                )
        elif spec.name not in (TOKENS_KEY, LANGUAGE_KEY) and shape != spec.shape:
            raise ValueError(
                f"{said} is {shape}, but the file takes {spec.shape}; give the observations of the body that was "
                "trained on"
            )
