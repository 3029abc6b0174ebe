"""An exported file as a policy that acts: raw context in, actions in the robot's units out, without model code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tempovla.control.exported.memory import ExportedState
from tempovla.control.exported.runners import RUNNERS
from tempovla.control.exported.sidecar import Sidecar, sidecar_path
from tempovla.control.exported.signature import DECISION, EXECUTED, EXECUTED_VALID, FIRST, SEED, TensorSpec
from tempovla.model.vla.noise_state import NoiseState
from tempovla.storage.said_by import said_by
from tempovla.timeline import ActionChunk, Context
from tempovla.timeline.context_check import check_now
from tempovla.timeline.finite import check_actions, check_finite
from tempovla.timeline.keys import ACTION_KEY, LANGUAGE_KEY, TOKENS_KEY
from tempovla.transform.join import joins_of
from tempovla.transform.pipeline import TransformPipeline


class ExportedPolicy:
    """A controller for a file that `tempovla export` wrote; it runs on the CPU.

    Args:
        file: the file, of any format; `<file>.json` lies beside it.

    Attributes:
        sidecar: description of the file.
        windows: on raw observations, under every name that they may be given by.
        embodiment: as in a bundle.
        device: the CPU.
        frame_stride: control steps from one decision to the next; None where nothing is remembered.

    Raises:
        ValueError: if the file is missing, is not what the sidecar describes, or takes random numbers as inputs.
        ModuleNotFoundError: if it is ONNX, and the extra `export` is not installed.
    """

    device = "cpu"

    def __init__(self, file: str | Path) -> None:
        self.sidecar = Sidecar.load(file)
        if self.sidecar.format not in RUNNERS:
            raise ValueError(f"{file}: format {self.sidecar.format!r} is unknown; choose from {', '.join(RUNNERS)}")
        names = [spec.name for spec in self.sidecar.inputs]
        if not self.sidecar.draws_from_seed:
            raise ValueError(
                f"{file}: takes its random numbers as inputs, of {names}; export it again with `tempovla export "
                "--noise seed`"
            )
        with said_by(sidecar_path(file), remedy="copy it again"):
            self._joins = joins_of(self.sidecar.transform)
            self.windows = TransformPipeline(self._joins).accepted_windows(self.sidecar.windows)
            self.embodiment = self.sidecar.embodiment
            instruction = self.sidecar.instruction
            words = next((name for name in names if name in (TOKENS_KEY, LANGUAGE_KEY)), None)
            if words is not None and instruction is None:
                raise ValueError(f"no step of its transforms gives {words!r}, which the file takes")
            self._instruction = TransformPipeline.from_json(
                {"steps": [] if instruction is None else [instruction]}, self.sidecar.assets
            )
        self.frame_stride = self.sidecar.frame_stride
        self._run = RUNNERS[self.sidecar.format](Path(file), self.sidecar.inputs)

    def initial_state(self, batch_size: int) -> ExportedState:
        """Return the state of rows that have seen nothing."""
        noise = NoiseState.initial(batch_size, torch.device(self.device))
        return ExportedState(noise, tuple(spec.rows(batch_size) for spec in self.sidecar.memory))

    def report(self, state: ExportedState) -> Mapping[str, Sequence[float]]:
        """Return nothing: a graph gives actions alone."""
        return {}

    def with_seeds(self, state: ExportedState, seeds: Sequence[int]) -> ExportedState:
        """Return the state with the noise of every row drawn from its seed."""
        return replace(state, noise=state.noise.with_seeds(torch.tensor(seeds, dtype=torch.int64)))

    def act(self, context: Context, state: ExportedState) -> tuple[ActionChunk, ExportedState]:
        """Return actions (B, H, A) in the robot's units from a raw context, and the next state.

        Raises:
            ValueError: if the observations lack a stream, or one is of another size, not valid or not finite; or if the
                policy answers with actions that are not finite.
        """
        for join in self._joins:
            context = join.under_own_names(context)
        now = self._instruction.forward_context(context).now
        seed, decision = state.noise.seed, torch.where(context.first, 0, state.noise.decision)
        given = {SEED: seed, DECISION: decision, FIRST: context.first.cpu()}
        given |= {spec.input.name: tensor for spec, tensor in zip(self.sidecar.memory, state.memory, strict=True)}
        for spec in self.sidecar.inputs:
            if spec.name == EXECUTED:
                given |= self._executed(spec, context)
            elif spec.name not in given:
                given[spec.name] = self._observed(spec, now, context)
        actions, *memory = self.run(given)
        seen = (*context.past.items(), *context.now.items())
        check_actions(actions, self.sidecar.origin or "the policy", seen=seen)
        chunk = ActionChunk.of(actions, range(actions.shape[1]))
        return chunk, ExportedState(NoiseState(seed, decision + 1), tuple(memory))

    def run(self, inputs: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        """Run the file on one tensor (B, ...) an input, and return its outputs by name.

        Returns:
            Actions (B, H, A) in the robot's units, and what is to be remembered, in the order of `sidecar.memory`.

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

    def _executed(self, spec: TensorSpec, context: Context) -> dict[str, Tensor]:
        """What was done since the last decision (B, stride, A), zeros where not all of it is known; and where it is."""
        track = context.past.get(ACTION_KEY)
        steps = spec.shape[0]
        if track is None or not set(range(-steps, 0)) <= set(track.offset.tolist()):
            raise ValueError(
                f"the policy reads the {steps} actions before its decision; give them in the context's past"
            )
        track = track.select((track.offset >= -steps) & (track.offset < 0))
        known = track.valid.all(dim=1)
        return {EXECUTED: torch.where(known[:, None, None], track.value.float(), 0.0), EXECUTED_VALID: known}

    def _observed(self, spec: TensorSpec, now: Mapping[str, Any], context: Context) -> Tensor:
        if spec.name not in now or 0 not in now[spec.name].offset.tolist():
            check_now(context, [spec.name])
        value, valid = now[spec.name].at(0)
        if not bool(valid.all()):
            raise ValueError(f"stream {spec.name!r} is not valid in every row; an exported policy needs all of them")
        self._check_size(spec, value)
        if spec.dtype == "uint8":
            return value.permute(0, 3, 1, 2)
        if spec.is_depth:
            depth = value.permute(0, 3, 1, 2).float()
            return torch.where(torch.isfinite(depth), depth, 0.0)
        return value if spec.name in (TOKENS_KEY, LANGUAGE_KEY) else value.float()

    def _check_size(self, spec: TensorSpec, value: Tensor) -> None:
        """Refuse values (B, *shape) of another shape, in words of the observation and not of the file's inputs."""
        said = f"{self.sidecar.origin}: stream {spec.name!r}"
        shape = tuple(value.shape[1:])
        if spec.dtype == "uint8":
            wanted = (*spec.shape[1:], spec.shape[0])
            if shape != wanted or value.dtype != torch.uint8:
                is_picture = len(shape) == 3 and shape[-1] == 3 and value.dtype == torch.uint8
                other = (
                    f", or export again with `tempovla export --image_size {shape[0]}x{shape[1]}`" if is_picture else ""
                )
                raise ValueError(
                    f"{said} has pictures {shape} {value.dtype}, but the file takes (height, width, RGB) = {wanted} "
                    f"uint8; give them so{other}"
                )
        elif spec.is_depth:
            wanted = (*spec.shape[1:], spec.shape[0])
            if shape != wanted or not value.is_floating_point():
                raise ValueError(
                    f"{said} is depth {shape} {value.dtype}, but the file takes (height, width, 1) = {wanted} floats "
                    "in metres; give them so"
                )
        elif spec.name not in (TOKENS_KEY, LANGUAGE_KEY) and shape != spec.shape:
            raise ValueError(
                f"{said} is {shape}, but the file takes {spec.shape}; give the observations of the body that was "
                "trained on"
            )
