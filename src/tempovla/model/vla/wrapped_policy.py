"""Methods of a policy around another that delegate to the inner one: adapters, gradient checkpointing, files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from tempovla.model.layers.recompute import Recompute
from tempovla.model.temporal.context import ContextModule
from tempovla.model.vla.pretrained_io import save_model


class WrappedPolicy(nn.Module):
    """A policy that sees one frame, `base`, and a `context` around it."""

    base: Any
    context: ContextModule

    @property
    def config(self) -> Any:
        """The config of the policy inside, with that of its context."""
        return replace(self.base.config, context=self.context.config)

    def enable_gradient_checkpointing(self) -> None:
        """Keep only each layer's input for the backward pass, and compute the rest again; gradients are the same."""
        self.base.enable_gradient_checkpointing()
        for module in self.context.modules():
            if isinstance(module, Recompute):
                module.recompute = True

    def enable_lora(self, r: int = 16, alpha: float = 32.0, target_modules: tuple[str, ...] = ()) -> None:
        """Put adapters into the language model of the policy inside; see `ChunkPolicy.enable_lora`.

        Raises:
            ValueError: if the features are frozen, there are adapters already, or no layer has such a name.
        """
        if self.context.config.freeze_base:
            raise ValueError("context.freeze_base=true keeps the features as they are; set it to false to adapt them")
        self.base.enable_lora(r, alpha, target_modules)

    def merge_lora(self) -> None:
        """Add the adapters to the language model's weights: the same outputs, without them."""
        self.base.merge_lora()

    def save_pretrained(self, folder: str | Path) -> None:
        """Write `config.json` and `model.safetensors`, the context included; the class of `base` reads them."""
        save_model(folder, self.base.kind, self.config, self.state_dict())
