"""A tiny SmolVLA with random weights, and a tiny SmolVLM to build one on, in the layout of the published ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tempovla.model.vla.smolvla_config import SmolVLAConfig
from tempovla.model.vla.smolvla_wrapper import SmolVLAWrapper
from tempovla.model.vlm.smolvlm_config import SmolVLMBackboneConfig
from tempovla.timeline import TimelineSample
from tempovla.timeline.keys import ACTION_KEY, STATE_KEY, TOKENS_KEY

FRONT, WRIST = "observation.images.front", "observation.images.wrist"
SHAPES = {STATE_KEY: (3,), FRONT: (3, 16, 16), WRIST: (3, 16, 16), ACTION_KEY: (4,), TOKENS_KEY: (6,)}
VISION = {
    "hidden_size": 8,
    "intermediate_size": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 16,
    "patch_size": 4,
}
TEXT = {
    "model_type": "llama",
    "vocab_size": 16,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 4,
    "max_position_embeddings": 64,
    "rope_parameters": {"rope_type": "default", "rope_theta": 500.0},
}


def architecture(kind: str = "smolvlm", **text: Any) -> dict[str, Any]:
    """Plain values: 16 patches of a picture of 16 px, which become 4 tokens of 16 dimensions."""
    return {"model_type": kind, "scale_factor": 2, "vision_config": VISION, "text_config": {**TEXT, **text}}


def tiny_config(vlm: dict[str, Any] | None = None, **fields: Any) -> SmolVLAConfig:
    """Two cameras, a language model of two layers out of three, actions of 4 dimensions out of 6."""
    backbone = {"architecture": architecture(), "num_layers": 2} | (vlm or {})
    settings = {"cameras": (FRONT, WRIST), "robot_state_dim": 3, "action_dim": 4, "chunk_size": 5, "max_state_dim": 6}
    settings |= {"max_action_dim": 6, "max_instruction_tokens": 6, "num_steps": 3, "expert_width_multiplier": 0.5}
    return SmolVLAConfig(SmolVLMBackboneConfig(**backbone), **(settings | fields))


def excite(module: torch.nn.Module) -> None:
    """Weights large enough that all that is read matters."""
    for weight in module.parameters():
        if weight.dim() > 1:
            torch.nn.init.normal_(weight, std=0.3)


def tiny_policy(seed: int = 0, vlm: dict[str, Any] | None = None, **fields: Any) -> SmolVLAWrapper:
    """The policy in evaluation mode."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        policy = SmolVLAWrapper(tiny_config(vlm, **fields))
        excite(policy)
    return policy.eval()


def smolvlm(kind: str = "smolvlm", seed: int = 0) -> Any:
    """A whole model of transformers', with its head."""
    from transformers import AutoConfig, AutoModelForImageTextToText

    settings = architecture(kind)
    config = AutoConfig.for_model(settings.pop("model_type"), **settings)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = AutoModelForImageTextToText.from_config(config)
        excite(model)
    return model.float().eval()


def save_smolvlm(folder: Path, kind: str = "smolvlm", seed: int = 0) -> str:
    """The folder, with a model in it."""
    smolvlm(kind, seed).save_pretrained(folder)
    return str(folder)


def act(policy: SmolVLAWrapper, sample: TimelineSample, seed: int = 0) -> Tensor:
    state = policy.with_seeds(policy.initial_state(sample.batch_size), torch.full((sample.batch_size,), seed))
    return policy.act(sample.context, state)[0].value
