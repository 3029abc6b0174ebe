"""Policies as folders: `save_pretrained` writes one, `from_pretrained` reads it or a checkpoint of training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from torch import nn

from tempovla.model.vla.context_policy import in_saved_context
from tempovla.model.vla.pretrained_io import read_config, read_weights, save_model
from tempovla.model.vla.weights import load_weights
from tempovla.timeline.hub import from_disk_alone


class SavedPolicy(nn.Module):
    """A policy that is saved and loaded as a whole, in its context if it has one.

    A policy gives `kind`, its name in `POLICY_REGISTRY`, and `config_class`, and sets `config`, which has `context`
    if the policy can be put into one.
    """

    kind: ClassVar[str]
    config_class: ClassVar[type[Any]]
    config: Any

    def save_pretrained(self, folder: str | Path) -> None:
        """Write `config.json` and `model.safetensors`, of the policy that sees one frame alone."""
        config = replace(self.config, context=None) if hasattr(self.config, "context") else self.config
        save_model(folder, self.kind, config, self.state_dict())

    @classmethod
    def from_pretrained(cls, folder: str | Path, **fields: Any) -> Any:
        """Read what `save_pretrained` wrote or a checkpoint of training, in evaluation mode.

        What was saved in a context comes back in it, as a `ContextPolicy`.

        Args:
            folder: where it is.
            fields: of the config, instead of what is saved.

        Raises:
            ValueError: if the folder is none of these or of another policy, or its weights do not fit the config.
        """
        config = replace(read_config(folder, cls.config_class, cls.kind), **fields)
        weights = read_weights(folder)
        with from_disk_alone():  # what the folder's config names
            policy = in_saved_context(cls(config), weights)
        load_weights(policy, weights, str(folder))
        return policy.eval()
