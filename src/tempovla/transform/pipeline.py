"""A list of transforms, applied in order, undone in reverse, and saved as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tempovla.timeline import ActionChunk, Context, Tracks, Transform
from tempovla.timeline.sample import TimelineSample
from tempovla.transform.blind import BlankImages
from tempovla.transform.gripper import RemapGripper
from tempovla.transform.image import CropImages, ResizeImages
from tempovla.transform.normalize import Normalize
from tempovla.transform.text import EmbedInstruction
from tempovla.transform.tokenize import TokenizeInstruction

TRANSFORM_REGISTRY: dict[str, type[Any]] = {
    "blank_images": BlankImages,
    "resize_images": ResizeImages,
    "crop_images": CropImages,
    "remap_gripper": RemapGripper,
    "normalize": Normalize,
    "embed_instruction": EmbedInstruction,
    "tokenize_instruction": TokenizeInstruction,
}


class TransformPipeline:
    """Transforms in order; itself a `Transform`."""

    def __init__(self, steps: Sequence[Transform]) -> None:
        self.steps = tuple(steps)

    def forward(self, context: Context, future: Tracks) -> tuple[Context, Tracks]:
        """Apply every step in order."""
        for step in self.steps:
            context, future = step.forward(context, future)
        return context, future

    def forward_sample(self, sample: TimelineSample) -> TimelineSample:
        """Apply every step to a training sample."""
        context, future = self.forward(sample.context, sample.future)
        return TimelineSample(context, future, sample.seed)

    def forward_context(self, context: Context) -> Context:
        """Apply every step to what control sees."""
        return self.forward(context, {})[0]

    def inverse(self, action: ActionChunk) -> ActionChunk:
        """Undo every step on actions, last step first."""
        for step in reversed(self.steps):
            action = step.inverse(action)
        return action

    def to_json(self) -> dict[str, Any]:
        """All steps with their statistics; `from_json` reads it back."""
        names = {kind: name for name, kind in TRANSFORM_REGISTRY.items()}
        return {"steps": [{"name": names[type(step)], **step.to_json()} for step in self.steps]}  # type: ignore[attr-defined]

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> TransformPipeline:
        """Read what `to_json` wrote.

        Raises:
            ValueError: if a step's name is not in `TRANSFORM_REGISTRY`, or its fields are not its own.
        """
        try:
            return cls([_step_from_json(**entry) for entry in data["steps"]])
        except (KeyError, TypeError) as error:
            raise ValueError(f"transforms are not readable ({error!r}); copy the bundle again") from None


def _step_from_json(name: str, **fields: Any) -> Transform:
    if name not in TRANSFORM_REGISTRY:
        raise ValueError(f"transform {name!r} is unknown; registered are {sorted(TRANSFORM_REGISTRY)}")
    return TRANSFORM_REGISTRY[name].from_json(fields)
