"""Whole policies by name, and how to build one from a bundle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from tempovla.model.vla.statevla import StateVLA
from tempovla.model.vla.statevla_config import StateVLAConfig
from tempovla.timeline import Bundle
from tempovla.timeline.config import config_from_json

POLICY_REGISTRY: dict[str, tuple[type[nn.Module], type[Any]]] = {
    "statevla": (StateVLA, StateVLAConfig),
}
"""Name to the policy's class and the class of its config; the policy is built as `Policy(config)`."""


def load_policy(bundle: Bundle) -> Any:
    """The policy of a bundle with its weights, in evaluation mode.

    Raises:
        ValueError: if the policy's name is unknown, or config or weights do not fit it.
    """
    if bundle.policy not in POLICY_REGISTRY:
        raise ValueError(f"policy {bundle.policy!r} is unknown; registered are {sorted(POLICY_REGISTRY)}")
    policy_class, config_class = POLICY_REGISTRY[bundle.policy]
    policy = policy_class(config_from_json(config_class, bundle.config, bundle.policy))
    load_weights(policy, bundle.weights, bundle.policy)
    return policy.eval()


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
