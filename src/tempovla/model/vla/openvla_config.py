"""Sizes and prompt of OpenVLA."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tempovla.model.vla.lora_config import LoRAConfig
from tempovla.model.vlm.prismatic import PrismaticConfig
from tempovla.timeline.keys import IMAGE_KEY_PREFIX

OPENVLA_PROMPT = "In: What action should the robot take to {instruction}?\nOut:"


def openvla_prompt(instruction: str) -> str:
    """Return OpenVLA's prompt for an instruction: the sentence that it was trained with, in small letters."""
    return OPENVLA_PROMPT.format(instruction=instruction.strip().lower())


@dataclass(frozen=True)
class OpenVLAConfig:
    """Sizes of the model; the defaults are those of OpenVLA-7B.

    Attributes:
        vlm: the vision-language model.
        camera: the one image stream that the model sees.
        action_dim: number of action dimensions. Each dimension is one word.
        num_bins: number of action tokens.
        padding_tokens: rows of the embedding table beyond the tokenizer's words.
        empty_token: the word between the prompt and the actions (a single space of Llama-2).
        norm_stats: statistics of the actions of each dataset, by its name, as the checkpoint has them; see
            `ActionStatistics`.
        has_gripper: whether the robot's last action dimension is a binary gripper in {-1, +1}, which is not normalised.
        lora: adapters. Only these learn; with None all weights learn.
    """

    vlm: PrismaticConfig = field(default_factory=PrismaticConfig)
    camera: str = IMAGE_KEY_PREFIX + "front"
    action_dim: int = 7
    num_bins: int = 256
    padding_tokens: int = 64
    empty_token: int = 29871
    norm_stats: Mapping[str, Any] = field(default_factory=dict)
    has_gripper: bool = False
    lora: LoRAConfig | None = None

    def __post_init__(self) -> None:
        if self.action_dim < 1:
            raise ValueError(f"action_dim={self.action_dim} must be at least 1")
