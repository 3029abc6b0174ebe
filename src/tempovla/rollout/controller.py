"""A trained policy behind its transforms: raw context in, actions in the robot's units out."""

from __future__ import annotations

from typing import Any

import torch

from tempovla.model.vla.registry import load_policy
from tempovla.timeline import ActionChunk, Bundle, Context, Policy
from tempovla.transform.pipeline import TransformPipeline


class Controller:
    """Transform, act, transform back: what control shares with training is the very same object.

    Args:
        policy: a trained policy, in evaluation mode.
        transform: the transforms it was trained behind.
        bundle: where windows and embodiment come from.
    """

    def __init__(self, policy: Policy[Any], transform: TransformPipeline, bundle: Bundle) -> None:
        self.policy = policy
        self.transform = transform
        self.windows = bundle.windows
        self.embodiment = bundle.embodiment

    @classmethod
    def from_bundle(cls, bundle: Bundle) -> Controller:
        """Build policy and transforms from what training saved."""
        return cls(load_policy(bundle), TransformPipeline.from_json(bundle.transform), bundle)

    def initial_state(self, batch_size: int) -> Any:
        """State of rows that have seen nothing."""
        return self.policy.initial_state(batch_size)

    @torch.inference_mode()
    def act(self, context: Context, state: Any) -> tuple[ActionChunk, Any]:
        """Actions (B, H, A) in the robot's units from a raw context, and the next state.

        Raises:
            ValueError: if the observations lack a stream that the policy needs.
        """
        prepared = self.transform.forward_context(context)
        present = {*prepared.now, *prepared.past}
        missing = [w.key for w in self.windows if w.key not in present and min(w.offsets) <= 0 and w.key != "action"]
        if missing:
            given = sorted({*context.now, *context.past})
            raise ValueError(f"the policy needs streams {missing}, but is given {given}; choose matching cameras")
        chunk, state = self.policy.act(prepared, state)
        return self.transform.inverse(chunk), state
