"""A tiny OpenVLA with random weights, in the layout of the published one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from tempovla.model.vla.openvla_config import OpenVLAConfig, openvla_prompt
from tempovla.model.vla.openvla_wrapper import OpenVLAWrapper
from tempovla.model.vlm.prismatic import PrismaticConfig
from tempovla.model.vlm.prismatic_vision import DINOV2_LARGE, SIGLIP_SO400M

SMALL = {"image_size": 28, "embed_dim": 16, "depth": 3, "num_heads": 2, "mlp_dim": 24}
DINO = replace(DINOV2_LARGE, **SMALL)
SIGLIP = replace(SIGLIP_SO400M, **SMALL)
LANGUAGE = {
    "model_type": "llama",
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-6,
    "bos_token_id": 1,
    "pad_token_id": None,
}
FRONT = "observation.images.front"
STATISTICS = {
    "bridge": {"action": {"q01": [-1.0, 0.0, 0.0], "q99": [3.0, 0.5, 1.0], "mask": [True, True, False]}},
    "toto": {"action": {"q01": [-2.0, -2.0, -2.0], "q99": [2.0, 2.0, 2.0]}},
}


def tiny_config(**options: Any) -> OpenVLAConfig:
    """40 words, of which 16 are actions, and 24 more rows; three dimensions of action."""
    settings = {"action_dim": 3, "num_bins": 16, "padding_tokens": 24, "empty_token": 7, "norm_stats": STATISTICS}
    return OpenVLAConfig(PrismaticConfig(DINO, SIGLIP, LANGUAGE), FRONT, **{**settings, **options})


def tiny_policy(seed: int = 0, **options: Any) -> OpenVLAWrapper:
    """The policy in evaluation mode, with weights large enough that its words depend on what it sees."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        policy = OpenVLAWrapper(tiny_config(**options)).eval()
        for name, weight in policy.named_parameters():
            if weight.dim() > 1:
                torch.nn.init.normal_(weight, std=0.3)
            elif name.endswith("scale_factor"):
                torch.nn.init.ones_(weight)
    return policy


BOS = 1


def save_tokenizer(folder: Path, *instructions: str) -> list[str]:
    """Every word of the prompt and of the instructions has an id below the action's words; the words, by id."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    told = " ".join(openvla_prompt(instruction) for instruction in instructions)
    words = ["<unk>", "<s>", *dict.fromkeys(told.replace("?", " ?").replace(":", " :").split())]
    backend = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, "<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation()])
    backend.post_processor = processors.TemplateProcessing("<s> $A", special_tokens=[("<s>", BOS)])
    PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>", bos_token="<s>").save_pretrained(folder)
    return words


def save_published(folder: Path, *instructions: str, **options: Any) -> OpenVLAWrapper:
    """Weights, config and tokenizer in one folder, as on the hub; the policy that was saved."""
    policy = tiny_policy(**options)
    policy.save_pretrained(folder)
    save_tokenizer(folder, *instructions)
    return policy
