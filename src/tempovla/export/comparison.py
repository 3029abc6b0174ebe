"""An exported policy beside the one that training saved, on made-up observations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tempovla.control.exported.runners import Runner
from tempovla.control.exported.signature import DECISION, SEED, TensorSpec, vector_sizes
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
INSTRUCTION = "go"
"""Told where a checkpoint does not say what it was trained on."""


@dataclass(frozen=True)
class Observations:
    """Made-up rows, as a simulator would give them and as the exported policy takes them.

    Attributes:
        context: for the transforms and the policy.
        state: the policy's, whose noise is that of `tensors`.
        tensors: one an input.
    """

    context: Context
    state: NoiseState
    tensors: tuple[Tensor, ...]


class Reference:
    """The policy that training saved, in float32, behind its own transforms: what control runs."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self.policy = load_policy(bundle).float()
        self.transform = TransformPipeline.of(bundle)

    @torch.inference_mode()
    def act(self, observations: Observations) -> Tensor:
        """Actions (B, H, A) in the robot's units."""
        prepared = self.transform.forward_context(observations.context)
        return self.transform.inverse(self.policy.act(prepared, observations.state)[0]).value

    def in_units_of_the_model(self, difference: Tensor) -> Tensor:
        """A difference (B, H, A) of actions, as the model sees actions."""
        for step in self._all(Normalize):
            if ACTION_KEY in step.scale:
                difference = difference / step.scale[ACTION_KEY]
        return difference

    def observe(self, deployed: DeployedPolicy, rows: int, seed: int) -> Observations:
        """Rows that follow from the seed: noise for pictures, states as far apart as the dataset's."""
        row_seed = mix_seed(torch.arange(rows), seed)
        tasks = tuple(Task(words, self.bundle.embodiment) for words in self._instructions(rows))
        noise = NoiseState(row_seed, torch.arange(rows))
        raw = {spec.name: self._raw(spec, row_seed, index) for index, spec in enumerate(deployed.inputs)}
        observed = {*vector_sizes(self.bundle), *deployed.cameras}
        now = {key: Track.of(_as_recorded(value)[:, None], (0,)) for key, value in raw.items() if key in observed}
        context = Context({}, now, tasks, first=torch.zeros(rows, dtype=torch.bool))
        prepared = self.transform.forward_context(context)
        given = raw | {SEED: noise.seed, DECISION: noise.decision}
        given |= {key: prepared.now[key].at(0)[0] for key in (TOKENS_KEY, LANGUAGE_KEY) if key in prepared.now}
        if deployed.noise == "numbers":
            given |= self.policy.random_numbers(mix_seed(noise.seed, noise.decision))
        return Observations(context, noise, tuple(given[spec.name] for spec in deployed.inputs))

    def _instructions(self, rows: int) -> list[str]:
        known = list(self.bundle.provenance.get("instructions") or [INSTRUCTION])
        return [known[row % len(known)] for row in range(rows)]

    def _raw(self, spec: TensorSpec, row_seed: Tensor, index: int) -> Tensor:
        seed = mix_seed(row_seed, index)
        if spec.dtype == "uint8":
            return row_integers(seed, 0, 256, spec.shape).to(torch.uint8)
        return self._in_its_units(spec.name, row_normal(seed, spec.shape))

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
    """Pictures (B, 3, H, W) as cameras give them, (B, H, W, 3); anything else as it is."""
    return value.permute(0, 2, 3, 1) if value.dtype == torch.uint8 else value


def largest_differences(
    reference: Reference, deployed: DeployedPolicy, run: Runner, batch_sizes: Sequence[int] = BATCH_SIZES
) -> dict[int, float]:
    """By batch size, the largest difference of an action, as the model sees actions; NaN if one is not finite."""
    differences = {}
    for rows in batch_sizes:
        observations = reference.observe(deployed, rows, seed=rows)
        difference = reference.in_units_of_the_model(run(observations.tensors) - reference.act(observations)).abs()
        differences[rows] = float("nan") if bool(difference.isnan().any()) else float(difference.max())
    return differences
