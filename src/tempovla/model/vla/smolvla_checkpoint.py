"""SmolVLA's checkpoints as LeRobot publishes them: config.json and model.safetensors, read by name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from tempovla.model.vla.pretrained_io import CONFIG, read_weights
from tempovla.model.vla.smolvla_config import SmolVLAConfig
from tempovla.model.vla.weights import load_weights
from tempovla.model.vlm.pretrained import architecture_of, read_config
from tempovla.model.vlm.smolvlm_config import SmolVLMBackboneConfig
from tempovla.storage.json_files import read_json
from tempovla.timeline.keys import ACTION_KEY, IMAGE_KEY_PREFIX, STATE_KEY

REMEDY = "give the name or folder of a SmolVLA checkpoint, such as lerobot/smolvla_base"
HOMES = {
    "model.vlm_with_expert.vlm.model.": "vlm.",
    "model.vlm_with_expert.lm_expert.": "expert.",
    "model.state_proj.": "state_proj.",
    "model.action_": "expert.action_",
}
"""How a weight's name begins there, and here."""
SAME = (
    "chunk_size",
    "max_state_dim",
    "max_action_dim",
    "num_steps",
    "expert_width_multiplier",
    "min_period",
    "max_period",
    "freeze_vision_encoder",
    "train_expert_only",
    "train_state_proj",
)
"""Settings that have one name there and here."""
ROPE_THETA = 10_000.0
"""LeRobot's attention has this base of the rotary positions whatever the language model was trained with."""
NOT_BUILT = {"add_image_special_tokens": False, "adapt_to_pi_aloha": False, "use_delta_joint_actions_aloha": False}
STATISTICS = re.compile(r"(un)?normalize_(inputs|targets|outputs)\.")
"""Names of statistics, which early checkpoints hold among their weights."""


def is_lerobot(folder: Path) -> bool:
    """Return whether a folder holds a checkpoint of LeRobot's."""
    path = folder / CONFIG
    return path.is_file() and read_json(path, remedy=REMEDY).get("type") == "smolvla"


def lerobot_config(
    folder: Path, vlm_model_name: str | None = None, fields: Mapping[str, Any] | None = None
) -> SmolVLAConfig:
    """Return the config of a checkpoint of LeRobot's.

    Args:
        folder: where it is.
        vlm_model_name: name or folder of the SmolVLM whose config.json gives the sizes; None takes the one that the
            checkpoint names.
        fields: fields of the config that replace the checkpoint's, such as `cameras`.

    Raises:
        ValueError: if it needs a part that is not built here, or names no action.
    """
    where = folder / CONFIG
    given = read_json(where, remedy=REMEDY)
    for name, built in NOT_BUILT.items():
        if given.get(name, built) != built:
            raise ValueError(f"{where}: {name} is {given[name]!r}, and only {built!r} is built; {REMEDY}")
    inputs, outputs = given.get("input_features") or {}, given.get("output_features") or {}
    if ACTION_KEY not in outputs:
        raise ValueError(f"{where}: output_features name no {ACTION_KEY!r}; {REMEDY}")
    sizes = {name: given[name] for name in SAME if name in given}
    every = given.get("self_attn_every_n_layers", SmolVLAConfig.self_attn_every_n_layers)
    if "cross" not in given.get("attention_mode", "cross_attn"):
        every = 1
    frozen = (fields or {}).get("train_expert_only", given.get("train_expert_only", True))
    padded = given.get("resize_imgs_with_padding") or [None]
    name = vlm_model_name or given.get("vlm_model_name", SmolVLMBackboneConfig.model_name)
    vlm = SmolVLMBackboneConfig(
        name,
        architecture=architecture_of(read_config(name, None, "SmolVLM")),
        num_layers=_positive(given.get("num_vlm_layers", SmolVLMBackboneConfig.num_layers)),
        image_size=padded[0],
        dtype="bfloat16" if frozen else "float32",
        scale_embeddings=True,
        rope_theta=ROPE_THETA,
    )
    sizes |= {
        "vlm": vlm,
        "cameras": tuple(sorted(key for key in inputs if key.startswith(IMAGE_KEY_PREFIX))),
        "robot_state_dim": inputs[STATE_KEY]["shape"][0] if STATE_KEY in inputs else None,
        "action_dim": outputs[ACTION_KEY]["shape"][0],
        "has_gripper": False,
        "max_instruction_tokens": given.get("tokenizer_max_length", SmolVLAConfig.max_instruction_tokens),
        "num_expert_layers": _positive(given.get("num_expert_layers")),
        "self_attn_every_n_layers": max(0, every),
    }
    return SmolVLAConfig(**sizes | dict(fields or {}))


def load_lerobot(policy: nn.Module, folder: Path) -> None:
    """Give a policy the weights of a checkpoint of LeRobot's; statistics and what no key needs are passed over.

    Args:
        policy: built from `lerobot_config`.
        folder: where the checkpoint is.

    Raises:
        ValueError: naming the first weight that is missing, unknown or of another shape.
    """
    weights: dict[str, Tensor] = {}
    last = len(policy.get_submodule("vlm.text_model.layers")) - 1  # type: ignore[arg-type]
    unread = rf"layers\.{last}\.(self_attn\.[qo]_proj|mlp|post_attention_layernorm)"
    idle = re.compile(rf"model\.vlm_with_expert\.vlm\.(lm_head|model\.text_model\.(norm|{unread}))\.")
    for name, value in read_weights(folder).items():
        name = name.replace("model._orig_mod.", "model.")  # of a model that torch.compile went over
        if not (STATISTICS.match(name) or idle.match(name)):
            weights[_here(name)] = value
    load_weights(policy, weights, str(folder))


def _here(name: str) -> str:
    for there, here in HOMES.items():
        if name.startswith(there):
            return here + name.removeprefix(there)
    return name


def _positive(count: int | None) -> int | None:
    """LeRobot writes 0 or -1 for as many as there are."""
    return count if count is not None and count > 0 else None
