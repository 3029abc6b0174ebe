"""A policy and its transforms as one module: raw observations in, actions in the robot's units out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tempovla.control.exported.signature import (
    DECISION,
    EXECUTED,
    EXECUTED_VALID,
    FIRST,
    SEED,
    TensorSpec,
    depth_keys,
    vector_sizes,
)
from tempovla.export.memory_tensors import memory_specs, memory_state, named_tensors
from tempovla.model.vla.context_policy import base_of
from tempovla.model.vla.registry import load_policy
from tempovla.timeline import Bundle, Embodiment, StridedPolicy
from tempovla.timeline.keys import ACTION_KEY, LANGUAGE_KEY, TOKENS_KEY
from tempovla.timeline.lazy import Lazy, loaded
from tempovla.timeline.noise import mix_seed
from tempovla.transform.blind import BlankImages
from tempovla.transform.depth import ResizeDepth
from tempovla.transform.image import PictureSize, ResizeImages, resize_frames, sides
from tempovla.transform.join import JoinStreams, join_values
from tempovla.transform.normalize import Normalize
from tempovla.transform.pipeline import TransformPipeline
from tempovla.transform.text import EmbedInstruction
from tempovla.transform.tokenize import TokenizeInstruction

Noise = Literal["seed", "numbers"]
"""Where randomness comes from: seeds, from which the graph makes its numbers, or the numbers themselves."""

KNOWN_TRANSFORMS = (
    "blank_images",
    "resize_images",
    "resize_depth",
    "join_streams",
    "normalize",
    "tokenize_instruction",
    "embed_instruction",
)
"""Names of the transforms that are part of the graph, or come before it."""

EXPORTABLE = "'sagr', 'smolvla', 'statevla' and 'vla'"
"""Policies that can be exported, as messages name them."""

IN_GRAPHS: dict[str, Lazy[Callable[[Any, Embodiment], nn.Module]]] = {"sagr": "tempovla.model.vla.sagr_graph:for_graph"}
"""By the name of a policy, what gives it in the form that graphs take, for one body, where that is another module."""

StepT = TypeVar("StepT")


@runtime_checkable
class Exportable(Protocol):
    """A policy that can be exported: it decides on tensors alone, and remembers nothing."""

    def random_numbers(self, seed: Tensor) -> dict[str, Tensor]:
        """Return the random numbers of a decision, by name, each (B, ...), from its seeds (B,) int64."""

    def features_of(self, observation: Mapping[str, Tensor]) -> Any:
        """Return the action head's input from prepared observations by key, all valid."""

    def actions_from(self, features: Any, numbers: Mapping[str, Tensor]) -> Tensor:
        """Return normalised actions (B, H, A) of these features and random numbers."""


@runtime_checkable
class Remembering(Protocol):
    """A policy that can be exported with its memory."""

    context: Any
    """Gives `initial_state`, whose `parts` its own `parts` name, and says whether it `reads_actions`."""
    frame_stride: int

    def decide(
        self,
        observation: Mapping[str, Tensor],
        numbers: Mapping[str, Tensor],
        first: Tensor,
        known: Tensor | None,
        state: Any,
    ) -> tuple[Tensor, Any]:
        """Return normalised actions (B, H, A), and the next state; see `ContextPolicy.decide`."""


class DeployedPolicy(nn.Module):
    """The exported module. It computes in float32; every observation counts as valid.

    Args:
        bundle: what training saved.
        image_shapes: height and width of every camera's raw pictures, and of its depth [px], by key.
        noise: `seed` takes `seed` and `decision`, (B,) int64 both; `numbers` takes the random numbers.

    Attributes:
        inputs: what `forward` takes, in this order: pictures (B, 3, H, W) uint8, depth (B, 1, H, W) float32 [m], the
            robot's state in its own units and under the dataset's own names, the instruction as the model reads it,
            what the noise comes from, if there is any, and of a policy that remembers `executed_actions` and
            `executed_valid` (if it reads actions), `first` and its memory.
        output: actions (B, H, A) in the robot's units.
        memory: what goes from a decision to the next; the graph's further outputs.
        frame_stride: control steps from one decision to the next, where only one number will do.
        assets: files that the transforms need, such as a tokenizer's.

    Raises:
        ValueError: if the policy or one of its transforms cannot be exported, or a weight does not fit.
    """

    def __init__(self, bundle: Bundle, image_shapes: Mapping[str, tuple[int, int]], noise: Noise = "seed") -> None:
        super().__init__()
        check_bundle(bundle)
        self.policy = exportable_policy(bundle)
        pipeline = TransformPipeline.of(bundle)
        self.steps, self.assets = pipeline.steps, pipeline.assets()
        self.noise = noise
        self.blank = {camera: step.size for step in self._all(BlankImages) for camera in step.cameras}
        self.depths = tuple(key for key in depth_keys(bundle) if key in image_shapes)
        self.cameras = tuple(key for key in image_shapes if key not in self.depths)
        sizes = [step.size for step in self._all(ResizeImages)]
        self.resize = nn.ModuleList(_resizing(image_shapes[camera], sizes) for camera in self.cameras)
        self.numbers = self.policy.random_numbers(torch.zeros(1, dtype=torch.int64))
        self.remembers = isinstance(self.policy, Remembering)
        self.nothing = self.policy.context.initial_state(1) if self.remembers else None
        self.memory = memory_specs(self.policy) if self.remembers else ()
        self.frame_stride = self.policy.frame_stride if self.remembers else None
        action_dim = bundle.embodiment.action_dim
        self.inputs = (*self._observed(bundle, image_shapes), *self._random(), *self._remembered(action_dim))
        offsets = next(window.offsets for window in bundle.windows if window.key == ACTION_KEY)
        horizon = sum(offset >= 0 for offset in offsets)
        self.output = TensorSpec(ACTION_KEY, (horizon, action_dim), "float32")

    def _observed(self, bundle: Bundle, image_shapes: Mapping[str, tuple[int, int]]) -> list[TensorSpec]:
        specs = [TensorSpec(camera, (3, *image_shapes[camera]), "uint8") for camera in self.cameras]
        specs += [TensorSpec(depth, (1, *image_shapes[depth]), "float32") for depth in self.depths]
        specs += [TensorSpec(key, (size,), "float32") for key, size in vector_sizes(bundle).items()]
        specs += [TensorSpec(TOKENS_KEY, (step.max_length,), "int64") for step in self._all(TokenizeInstruction)]
        specs += [TensorSpec(LANGUAGE_KEY, (step.embedder.dim,), "float32") for step in self._all(EmbedInstruction)]
        return specs

    def _random(self) -> list[TensorSpec]:
        if not self.numbers:
            return []
        if self.noise == "seed":
            return [TensorSpec(SEED, (), "int64"), TensorSpec(DECISION, (), "int64")]
        return [
            TensorSpec(name, tuple(number.shape[1:]), str(number.dtype).removeprefix("torch."))
            for name, number in self.numbers.items()
        ]

    def _remembered(self, action_dim: int) -> list[TensorSpec]:
        if not self.remembers:
            return []
        executed = []
        if self.policy.context.reads_actions:
            stride = self.policy.frame_stride
            executed = [TensorSpec(EXECUTED, (stride, action_dim), "float32"), TensorSpec(EXECUTED_VALID, (), "bool")]
        return [*executed, TensorSpec(FIRST, (), "bool"), *(spec.input for spec in self.memory)]

    def forward(self, *tensors: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Return actions (B, H, A) in the robot's units, and the new memory if any. Each input is one tensor."""
        given = {spec.name: tensor for spec, tensor in zip(self.inputs, tensors, strict=True)}
        batch = tensors[0].shape[0]
        seen = dict(given)
        for join in self._all(JoinStreams):
            for key, (own, *_) in join.forms.items():
                seen[key] = join_values([given[part.key] for part in own], own)
        seen |= self.pictures(tensors)
        for camera, size in self.blank.items():
            seen[camera] = torch.zeros(1, 3, size, size, dtype=torch.uint8).expand(batch, -1, -1, -1)
        for depth in self._all(ResizeDepth):
            seen |= {key: depth.resized(given[key]) for key in depth.keys if key in given}
            if depth.blank:
                assert depth.size is not None
                seen |= {key: torch.zeros(batch, 1, depth.size, depth.size) for key in depth.keys}
        if EXECUTED in given:
            seen[ACTION_KEY] = given[EXECUTED]
        for step in self._all(Normalize):
            seen |= {key: step.normalized(key, value) for key, value in seen.items() if key in step.offset}
        numbers = self._numbers(given)
        if not self.remembers:
            return self._in_units(self.policy.actions_from(self.policy.features_of(seen), numbers))
        assert self.nothing is not None
        memory = memory_state(self.nothing, [given[spec.input.name] for spec in self.memory])
        actions, after = self.policy.decide(seen, numbers, given[FIRST], given.get(EXECUTED_VALID), memory)
        return (self._in_units(actions), *(tensor for _, tensor in named_tensors(self.policy, after)))

    def pictures(self, tensors: Sequence[Tensor]) -> dict[str, Tensor]:
        """Return the pictures (B, 3, S, S) uint8 that the policy reads, by camera. Each input is one tensor."""
        given = {spec.name: tensor for spec, tensor in zip(self.inputs, tensors, strict=True)}
        return {camera: resize(given[camera]) for camera, resize in zip(self.cameras, self.resize, strict=True)}

    def _in_units(self, actions: Tensor) -> Tensor:
        for step in self._all(Normalize):
            actions = step.denormalized(ACTION_KEY, actions) if ACTION_KEY in step.offset else actions
        return actions

    def _numbers(self, given: Mapping[str, Tensor]) -> dict[str, Tensor]:
        if not self.numbers or self.noise == "numbers":
            return {name: given[name] for name in self.numbers}
        return self.policy.random_numbers(mix_seed(given[SEED], given[DECISION]))

    def _all(self, kind: type[StepT]) -> list[StepT]:
        return [step for step in self.steps if isinstance(step, kind)]


def exportable_policy(bundle: Bundle) -> Any:
    """Return the policy of a bundle in float32, in evaluation mode, with adapters merged.

    Raises:
        ValueError: if it cannot be exported, saying why and what can.
    """
    policy = load_policy(bundle).float()
    if getattr(getattr(policy, "config", None), "lora", None) is not None:
        policy.merge_lora()
    if bundle.policy in IN_GRAPHS:
        made: Any = loaded(IN_GRAPHS[bundle.policy])(policy, bundle.embodiment)
        return made.eval().requires_grad_(False)
    base = base_of(policy)
    if policy is base and isinstance(policy, StridedPolicy) and policy.frame_stride is not None:
        raise ValueError(
            f"policy {bundle.policy!r} cannot be exported: it has a memory of its own; give it a model.context instead"
        )
    if not isinstance(base, Exportable):
        raise ValueError(
            f"policy {bundle.policy!r} cannot be exported: {type(base).__name__} has no features_of, actions_from and "
            f"random_numbers; policies {EXPORTABLE} have"
        )
    return policy.requires_grad_(False)


def check_bundle(bundle: Bundle) -> None:
    """Refuse a bundle whose description rules an export out, before weights are loaded.

    Raises:
        ValueError: naming the policy, stream or transform, and what can be exported.
    """
    if bundle.policy == "openvla":
        raise ValueError(
            "policy 'openvla' cannot be exported: it writes its actions word by word with a language model that keeps "
            f"keys and values; policies {EXPORTABLE} can"
        )
    if bundle.policy == "driving":
        raise ValueError(
            "policy 'driving' cannot be exported yet: graphs take neither points of sensors nor calibrations of "
            f"cameras; policies {EXPORTABLE} can"
        )
    seen = [window for window in bundle.windows if window.key != ACTION_KEY]
    past = sorted({window.key for window in seen if min(window.offsets) < 0})
    if past:
        raise ValueError(f"policy {bundle.policy!r} cannot be exported: it reads the past of {past}; train one without")
    names = [step["name"] for step in bundle.transform["steps"]]
    if "per_dataset" in names:
        raise ValueError(
            "a policy that learned from several datasets cannot be exported: a graph moves one body; train on one"
        )
    unknown = [name for name in names if name not in KNOWN_TRANSFORMS]
    if unknown:
        raise ValueError(
            f"{Path(bundle.origin) / 'transform.json'}: transforms {unknown} cannot be exported; those that can are "
            f"{sorted(KNOWN_TRANSFORMS)}"
        )


class Resize(nn.Module):
    """Antialiased bilinear resizing as two products with fixed matrices, which every runtime computes alike."""

    def __init__(self, shape: tuple[int, int], size: PictureSize) -> None:
        super().__init__()
        for name, side, wanted in zip(("rows", "columns"), shape, sides(size), strict=True):
            self.register_buffer(name, _bilinear(side, wanted), persistent=False)

    rows: Tensor
    columns: Tensor

    def forward(self, frames: Tensor) -> Tensor:
        """Convert uint8 frames (B, 3, H, W) to (B, 3, *size)."""
        resized = self.rows @ frames.float() @ self.columns.T
        return resized.round().clamp(0, 255).to(torch.uint8)


class Boxes(nn.Module):
    """`resize_frames` where it keeps the picture or takes whole boxes of it: the very same arithmetic."""

    def __init__(self, size: PictureSize) -> None:
        super().__init__()
        self.size = size

    def forward(self, frames: Tensor) -> Tensor:
        """Convert uint8 frames (B, 3, H, W) to (B, 3, *size)."""
        return resize_frames(frames, self.size)


def _resizing(shape: tuple[int, int], sizes: Sequence[PictureSize | None]) -> nn.Module:
    size = next((size for size in sizes if size is not None), None)
    if size is None:
        return nn.Identity()
    whole = all(side % wanted == 0 for side, wanted in zip(shape, sides(size), strict=True))
    return Boxes(size) if whole else Resize(shape, size)


def _bilinear(side: int, size: int) -> Tensor:
    """Weights (size, side) of the old pixels in the new ones."""
    identity = torch.eye(side)[None, None]
    return F.interpolate(identity, (size, side), mode="bilinear", antialias=True, align_corners=False)[0, 0]
