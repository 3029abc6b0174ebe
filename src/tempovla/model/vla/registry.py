"""Whole policies by name, and how to build one from a bundle."""

from __future__ import annotations

import math
from typing import Any

from torch import nn

from tempovla.model.vla.context_policy import in_saved_context
from tempovla.model.vla.multi_sensor_config import MultiSensorVLAConfig
from tempovla.model.vla.multi_sensor_vla import MultiSensorVLA
from tempovla.model.vla.openvla_config import OpenVLAConfig
from tempovla.model.vla.openvla_wrapper import OpenVLAWrapper
from tempovla.model.vla.sagr import SAGR
from tempovla.model.vla.sagr_config import SAGRConfig
from tempovla.model.vla.smolvla_config import SmolVLAConfig
from tempovla.model.vla.smolvla_wrapper import SmolVLAWrapper
from tempovla.model.vla.statevla import StateVLA
from tempovla.model.vla.statevla_config import StateVLAConfig
from tempovla.model.vla.vla_config import VLAConfig
from tempovla.model.vla.vla_model import VLAModel
from tempovla.model.vla.weights import WeightsFollow, load_weights
from tempovla.model.vla.world_model_config import WorldModelConfig
from tempovla.model.vla.world_model_policy import WorldModelPolicy
from tempovla.storage.said_by import said_by
from tempovla.timeline import Bundle
from tempovla.timeline.config import config_from_json
from tempovla.timeline.hub import from_disk_alone
from tempovla.timeline.keys import ACTION_KEY

POLICY_REGISTRY: dict[str, tuple[type[nn.Module], type[Any]]] = {
    "driving": (MultiSensorVLA, MultiSensorVLAConfig),
    "openvla": (OpenVLAWrapper, OpenVLAConfig),
    "sagr": (SAGR, SAGRConfig),
    "smolvla": (SmolVLAWrapper, SmolVLAConfig),
    "statevla": (StateVLA, StateVLAConfig),
    "vla": (VLAModel, VLAConfig),
    "world-model": (WorldModelPolicy, WorldModelConfig),
}
"""Name to the policy's class and the class of its config; the policy is built as `Policy(config)`."""


VLM = "vlm"
"""The kind of bundles with a vision-language model, which `tempovla train align` and `instruct` save."""


def check_is_policy(bundle: Bundle, where: str) -> None:
    """Refuse a bundle that is no policy.

    Raises:
        ValueError: naming the checkpoint, `where`, and the remedy.
    """
    if bundle.policy == VLM:
        raise ValueError(
            f"{where}: a vision-language model, which has not learned to act; train a policy that starts from it with "
            f"`tempovla train vla --pretrained-vlm {where}`"
        )


def load_policy(bundle: Bundle) -> Any:
    """Return the policy of a bundle with its weights, in evaluation mode.

    Models that its config names are read from the disk alone; see `tempovla.timeline.hub`.

    Raises:
        ValueError: if it is no policy, its name is unknown, or config or weights do not fit it.
    """
    where = bundle.origin or "checkpoint"
    check_is_policy(bundle, where)
    if bundle.policy not in POLICY_REGISTRY:
        raise ValueError(
            f"{where}: policy {bundle.policy!r} is unknown; registered are {sorted(POLICY_REGISTRY)}; import the "
            "module that registers it (on the command line, --plugin MODULE), or copy the checkpoint again"
        )
    policy_class, config_class = POLICY_REGISTRY[bundle.policy]
    with said_by(bundle.origin or bundle.policy, remedy="copy the checkpoint again"):
        config = config_from_json(config_class, bundle.config, "config")
        with WeightsFollow(sum(weight.numel() for weight in bundle.weights.values())), from_disk_alone():
            policy = in_saved_context(policy_class(config), bundle.weights)
    load_weights(policy, bundle.weights, bundle.origin or bundle.policy)
    return policy.eval()


def check_body(bundle: Bundle, where: str) -> None:
    """Refuse a bundle whose windows or body nothing can act with.

    Raises:
        ValueError: naming the checkpoint, `where`, the value, and the remedy.
    """
    body, keys = bundle.embodiment, [window.key for window in bundle.windows]
    if ACTION_KEY not in keys:
        raise ValueError(f"{where}: its windows are of {keys}, none of {ACTION_KEY!r}; copy the checkpoint again")
    if not (math.isfinite(body.rate_hz) and body.rate_hz > 0):
        raise ValueError(f"{where}: embodiment.rate_hz={body.rate_hz} is no control rate; copy the checkpoint again")
    for name, least in (("action_dim", 1), ("state_dim", 0)):
        if getattr(body, name) < least:
            raise ValueError(
                f"{where}: embodiment.{name}={getattr(body, name)} must be at least {least}; copy the checkpoint again"
            )


def check_has_learned_to_act(bundle: Bundle, where: str) -> None:
    """Refuse a bundle that has not been trained to act.

    Raises:
        ValueError: naming the checkpoint, `where`, and the remedy.
    """
    check_is_policy(bundle, where)
    if bundle.provenance.get("phase") == 1:
        raise ValueError(f"{where}: a checkpoint of phase 1 has not learned to act yet; train phase 2 and give that")
