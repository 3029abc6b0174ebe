"""Weights by name: loading those that must fit exactly."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn


def load_weights(policy: nn.Module, weights: Mapping[str, Tensor], where: str) -> None:
    """Load weights that must fit exactly; `where` they come from is for the message.

    Raises:
        ValueError: naming the first weight that is missing, unknown or of another shape.
    """
    own = policy.state_dict()
    for key in sorted({*own, *weights}):
        if key not in weights:
            raise ValueError(f"{where}: lacks weight {key!r}; give a checkpoint of this config")
        if key not in own:
            raise ValueError(f"{where}: has weight {key!r} of another model; give a checkpoint of this config")
        if own[key].shape != weights[key].shape:
            raise ValueError(
                f"{where}: weight {key!r} is {tuple(weights[key].shape)}, but {tuple(own[key].shape)} in the model; "
                "give a checkpoint of this config"
            )
    policy.load_state_dict(weights)
