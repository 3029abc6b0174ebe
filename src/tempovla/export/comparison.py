"""Comparison of an exported policy with its checkpoint, on random observations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from tempovla.control.exported.runners import Runner
from tempovla.control.exported.signature import (
    DECISION,
    EXECUTED,
    EXECUTED_VALID,
    FIRST,
    SEED,
    TensorSpec,
    vector_sizes,
)
from tempovla.export.deployed import DeployedPolicy, StepT
from tempovla.model.vla.noise_state import NoiseState
from tempovla.model.vla.registry import load_policy
from tempovla.timeline import Bundle, Context, Task, Track
from tempovla.timeline.keys import ACTION_KEY, LANGUAGE_KEY, TOKENS_KEY
from tempovla.timeline.noise import mix_seed, row_integers, row_normal
from tempovla.transform.join import JoinStreams
from tempovla.transform.normalize import Normalize
from tempovla.transform.pipeline import TransformPipeline

BATCH_SIZES = (1, 2, 5)
"""What is compared: none of them is the size that was traced."""
EXAMPLE_ROWS = 3
FURTHEST_MM = 3000
"""Of the depth that is made up."""
MEMORY_STEPS = 8
"""Decisions of a policy that remembers that are compared, one after the other, with rows that begin anew."""
MOST_HALFWAY = 0.01
"""Share of the pixels of resized pictures that may be rounded to another level than by the transforms. Of random
pictures of 480 x 640 or 100 x 160 pixels it is below 0.0001."""
INSTRUCTION = "go"
"""The instruction for the comparison where a checkpoint records none."""


@dataclass(frozen=True)
class Observations:
    """Made-up rows, as a simulator would give them and as the exported policy takes them.

    Attributes:
        context: for the transforms and the policy.
        noise: of the policy's state, which is that of `tensors`.
        tensors: one an input.
    """

    context: Context
    noise: NoiseState
    tensors: tuple[Tensor, ...]


class Reference:
    """The policy that training saved, in float32, behind its own transforms: what control runs."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self.policy = load_policy(bundle).float()
        self.transform = TransformPipeline.of(bundle)

    @torch.inference_mode()
    def act(
        self,
        observations: Observations,
        pictures: Mapping[str, Tensor] | None = None,
        memory: Any = None,
    ) -> tuple[Tensor, Any]:
        """Return actions (B, H, A) in the robot's units, and the policy's state after them.

        Args:
            observations: of now.
            pictures: by camera, what the deployed policy makes of them, which the policy looks at in place of what the
                transforms make of them; see `check_pictures`.
            memory: the state of a policy that remembers; None means nothing.

        Raises:
            ValueError: if these pictures are not those of the transforms.
        """
        prepared = self.transform.forward_context(observations.context)
        state: Any = observations.noise
        if pictures:
            check_pictures(prepared, pictures)
            seen = {camera: Track.of(picture[:, None], (0,)) for camera, picture in pictures.items()}
            prepared = replace(prepared, now={**prepared.now, **seen})
        before: Any = self.policy.initial_state(prepared.batch_size) if memory is None else memory
        state = state if isinstance(before, NoiseState) else replace(before, noise=state)
        chunk, after = self.policy.act(prepared, state)
        return self.transform.inverse(chunk).value, after

    def in_units_of_the_model(self, difference: Tensor) -> Tensor:
        """Return a difference (B, H, A) of actions, as the model sees actions."""
        for step in self._all(Normalize):
            if ACTION_KEY in step.scale:
                difference = difference / step.scale[ACTION_KEY]
        return difference

    def observe(
        self,
        deployed: DeployedPolicy,
        rows: int,
        seed: int,
        first: Tensor | None = None,
        memory: Sequence[Tensor] | None = None,
    ) -> Observations:
        """Return rows that follow from the seed: noise for pictures, states and past actions as far apart as the
        dataset's.

        Args:
            deployed: whose inputs they are for.
            rows: how many.
            seed: of what is made up.
            first: (rows,) bool, whose episode begins; None means none.
            memory: what the deployed policy remembers; None means nothing.
        """
        first = torch.zeros(rows, dtype=torch.bool) if first is None else first
        row_seed = mix_seed(torch.arange(rows), seed)
        tasks = tuple(Task(words, self.bundle.embodiment) for words in self._instructions(rows))
        noise = NoiseState(row_seed, torch.arange(rows))
        remembered = [spec.rows(rows) for spec in deployed.memory] if memory is None else memory
        given = {spec.input.name: tensor for spec, tensor in zip(deployed.memory, remembered, strict=True)}
        given |= {FIRST: first, EXECUTED_VALID: ~first}
        made = [(index, spec) for index, spec in enumerate(deployed.inputs) if spec.name not in given]
        raw = {spec.name: self._raw(spec, row_seed, index) for index, spec in made}
        observed = {*vector_sizes(self.bundle), *deployed.cameras, *deployed.depths}
        now = {key: Track.of(_as_recorded(value)[:, None], (0,)) for key, value in raw.items() if key in observed}
        past = {}
        if EXECUTED in raw:
            stride = raw[EXECUTED].shape[1]
            valid = ~first[:, None].expand(-1, stride)
            past[ACTION_KEY] = Track.of(raw[EXECUTED], range(-stride, 0), valid)
        context = Context(past, now, tasks, first)
        prepared = self.transform.forward_context(context)
        decision = torch.where(first, 0, noise.decision)
        given |= raw | {SEED: noise.seed, DECISION: decision}
        given |= {key: prepared.now[key].at(0)[0] for key in (TOKENS_KEY, LANGUAGE_KEY) if key in prepared.now}
        if deployed.noise == "numbers":
            given |= self.policy.random_numbers(mix_seed(noise.seed, decision))
        return Observations(context, noise, tuple(given[spec.name] for spec in deployed.inputs))

    def _instructions(self, rows: int) -> list[str]:
        known = list(self.bundle.provenance.get("instructions") or [INSTRUCTION])
        return [known[row % len(known)] for row in range(rows)]

    def _raw(self, spec: TensorSpec, row_seed: Tensor, index: int) -> Tensor:
        seed = mix_seed(row_seed, index)
        if spec.dtype == "uint8":
            return row_integers(seed, 0, 256, spec.shape).to(torch.uint8)
        if spec.is_depth:
            return row_integers(seed, 0, FURTHEST_MM, spec.shape) / 1000.0
        return self._in_its_units(ACTION_KEY if spec.name == EXECUTED else spec.name, row_normal(seed, spec.shape))

    def _in_its_units(self, name: str, value: Tensor) -> Tensor:
        """Values (B, D) of a raw stream as far apart as the dataset's.

        Normalisation knows streams as they are joined: a dimension of a part has the statistics of its place in the
        joined stream, and one that is not taken into it stays as it is.
        """
        joined = {key: forms[0] for step in self._all(JoinStreams) for key, forms in step.forms.items()}
        for step in self._all(Normalize):
            if name not in joined and name in step.offset:
                value = step.denormalized(name, value)
            for key in [key for key in joined if key in step.offset]:
                widths = [part.width for part in joined[key]]
                places = zip(joined[key], step.scale[key].split(widths), step.offset[key].split(widths), strict=True)
                for part, scale, offset in places:
                    if part.key == name:
                        taken = slice(part.start, part.stop)
                        value = value.clone()
                        value[:, taken] = value[:, taken] * scale + offset
        return value

    def _all(self, kind: type[StepT]) -> list[StepT]:
        return [step for step in self.transform.steps if isinstance(step, kind)]


def _as_recorded(value: Tensor) -> Tensor:
    """Pictures (B, 3, H, W) and depth (B, 1, H, W) as cameras give them, with channels last; others as they are."""
    return value.permute(0, 2, 3, 1) if value.dim() == 4 else value


def check_pictures(prepared: Context, pictures: Mapping[str, Tensor]) -> None:
    """Refuse resized pictures that differ from those of the transforms by more than rounding.

    Both compute the same weighted means of pixels, and round them to whole levels. Where a mean lies halfway between
    two levels, the last bit of a sum decides, which differs between ways of summing. A policy sees the difference of
    one level in 255, so that actions can be compared to the last digits only for the very same pictures.

    Raises:
        ValueError: naming the camera.
    """
    for camera, picture in pictures.items():
        levels = (prepared.now[camera].at(0)[0].int() - picture.int()).abs()
        if int(levels.max()) > 1 or float((levels > 0).float().mean()) > MOST_HALFWAY:
            raise ValueError(
                f"the pictures of {camera!r} that the exported policy makes differ from those of the transforms by up "
                f"to {int(levels.max())} levels; nothing was written; give the --image_size of the dataset"
            )


def largest_differences(
    reference: Reference, deployed: DeployedPolicy, run: Runner, batch_sizes: Sequence[int] = BATCH_SIZES
) -> dict[int, float]:
    """By batch size, the largest difference of an action, as the model sees actions; NaN if one is not finite.

    A policy that remembers is followed over some decisions, each with what it remembers of those before.
    """
    return {rows: _largest_difference(reference, deployed, run, rows) for rows in batch_sizes}


def _largest_difference(reference: Reference, deployed: DeployedPolicy, run: Runner, rows: int) -> float:
    remembered, memory, largest = None, None, 0.0
    for step in range(MEMORY_STEPS if deployed.memory else 1):
        first = torch.arange(rows) == step - 3 if step else torch.full((rows,), bool(deployed.memory))
        observations = reference.observe(deployed, rows, rows + 1000 * step, first, remembered)
        actions, *remembered = run(observations.tensors)
        expected, memory = reference.act(observations, deployed.pictures(observations.tensors), memory)
        difference = reference.in_units_of_the_model(actions - expected).abs()
        if bool(difference.isnan().any()):
            return float("nan")
        largest = max(largest, float(difference.max()))
    return largest
