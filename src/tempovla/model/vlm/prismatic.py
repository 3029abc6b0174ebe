"""Prismatic's vision-language model: patch tokens of two vision transformers, projected in front of a Llama-2's words.

Karamcheti et al., 2024. The names of the weights are those of the checkpoints that OpenVLA publishes:
``vision_backbone.featurizer.*`` (DINOv2), ``vision_backbone.fused_featurizer.*`` (SigLIP), ``projector.fc1`` to ``fc3``
and ``language_model.*`` (transformers' Llama).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tempovla.model.vlm.pretrained import config_of, fresh_model, recompute_layers
from tempovla.model.vlm.prismatic_vision import (
    DINOV2_LARGE,
    SIGLIP_SO400M,
    PrismaticVision,
    PrismaticViT,
    PrismaticViTConfig,
)

PURPOSE = "language model"

LLAMA_2_7B: Mapping[str, Any] = {
    "model_type": "llama",
    "vocab_size": 32064,
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "rms_norm_eps": 1e-6,
    "max_position_embeddings": 2048,
    "bos_token_id": 1,
    "pad_token_id": 32000,
}
"""What OpenVLA's config makes of Llama-2: 32000 words and 64 more rows for the padding token, and an epsilon of 1e-6,
transformers' default, where Meta's own is 1e-5."""


@dataclass(frozen=True)
class PrismaticConfig:
    """Sizes of the model; as they stand, those of OpenVLA-7B.

    Attributes:
        featurizer: the first vision transformer.
        fused_featurizer: the second one.
        language: the language model as a transformers config, in plain JSON values, with its `model_type`.
        dtype: of the weights.
    """

    featurizer: PrismaticViTConfig = DINOV2_LARGE
    fused_featurizer: PrismaticViTConfig = SIGLIP_SO400M
    language: Mapping[str, Any] = field(default_factory=lambda: dict(LLAMA_2_7B))
    dtype: Literal["bfloat16", "float32"] = "float32"


class PrismaticProjector(nn.Module):
    """Patch tokens (B, N, vision_dim) to the width of words (B, N, language_dim)."""

    def __init__(self, vision_dim: int, language_dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(vision_dim, 4 * vision_dim)
        self.fc2 = nn.Linear(4 * vision_dim, language_dim)
        self.fc3 = nn.Linear(language_dim, language_dim)

    def forward(self, x: Tensor) -> Tensor:
        """Return projected tokens."""
        return self.fc3(F.gelu(self.fc2(F.gelu(self.fc1(x)))))


class PrismaticVLM(nn.Module):
    """The model. The language model's head runs only where words are predicted.

    Attributes:
        bos_token: the word that every sentence begins with; the picture comes after it.

    Raises:
        ValueError: if `config.language` is no config of a causal language model.
    """

    def __init__(self, config: PrismaticConfig) -> None:
        from transformers import AutoModelForCausalLM

        super().__init__()
        self.config = config
        self.vision_backbone = PrismaticVision(config.featurizer, config.fused_featurizer)
        settings = config_of(config.language, PURPOSE)
        self.language_model = fresh_model(AutoModelForCausalLM, settings, PURPOSE)
        self.bos_token = self.language_model.config.bos_token_id
        language_dim = self.language_model.config.hidden_size
        self.projector = PrismaticProjector(self.vision_backbone.embed_dim, language_dim)
        self.to(getattr(torch, config.dtype))

    def enable_gradient_checkpointing(self) -> None:
        """Compute the activations of all layers again in the backward pass instead of keeping them."""
        for module in self.modules():
            if isinstance(module, PrismaticViT):
                module.recompute = True
        recompute_layers(self.language_model, True)

    def parts_with_adapters(self) -> list[nn.Module]:
        """Return the parts whose linear layers low-rank adapters go beside: all that is run but the language model's
        head.
        """
        backbone = self.vision_backbone
        blocks = [*backbone.featurizer.used_blocks, *backbone.fused_featurizer.used_blocks]
        return [*blocks, self.projector, self.language_model.model]

    def embed(self, images: Tensor, tokens: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """Return embeddings (B, 1 + N + L, D) of `[bos][picture][words]`, and where they are valid (B, 1 + N + L).

        Args:
            images: (B, 3, H, W), uint8 [0, 255] or float [0, 1].
            tokens: (B, L) ids, without the first word `bos_token`.
            valid: (B, L) bool, False where there is no word, anywhere in the row.

        Raises:
            ValueError: if an id is not in the vocabulary.
        """
        words = self.embed_words(torch.where(valid, tokens, 0))
        first = self.embed_words(torch.full_like(tokens[:, :1], self.bos_token))
        picture = self.projector(self.vision_backbone(images))
        seen = valid.new_ones(len(valid), 1 + picture.shape[1])
        return torch.cat([first, picture, words], dim=1), torch.cat([seen, valid], dim=1)

    def embed_words(self, tokens: Tensor) -> Tensor:
        """Return embeddings (B, L, D) of ids (B, L)."""
        table = self.language_model.get_input_embeddings()
        if tokens.device.type == "cpu" and tokens.numel():
            low, high = (int(x) for x in tokens.aminmax())
            if low < 0 or high >= table.num_embeddings:
                raise ValueError(
                    f"token ids {low} to {high} are not in the vocabulary of {table.num_embeddings}; "
                    "use the tokenizer of this model"
                )
        return table(tokens)

    def logits(self, embeddings: Tensor, valid: Tensor, last: int) -> Tensor:
        """Return scores (B, last, V) of the words that follow each of the last positions.

        Args:
            embeddings: (B, L, D).
            valid: (B, L) bool; what is not valid is seen by nothing, and positions are counted without it.
            last: number of positions.
        """
        hidden = self.language_model.model(
            inputs_embeds=embeddings, attention_mask=valid.long(), position_ids=_positions(valid), use_cache=False
        ).last_hidden_state
        return self.language_model.lm_head(hidden[:, -last:])

    def generate(self, embeddings: Tensor, valid: Tensor, length: int, tokens: range) -> Tensor:
        """Return the `length` likeliest words (B, length), one after the other, that follow; every word is one of
        `tokens`.

        Args:
            embeddings: (B, L, D); the last position is valid in every row.
            valid: (B, L) bool.
            length: number of words; no end of the sentence is waited for.
            tokens: the ids to choose from.
        """
        from transformers import DynamicCache

        cache, positions, chosen = DynamicCache(config=self.language_model.config), _positions(valid), []
        for _ in range(length):
            hidden = self.language_model.model(
                inputs_embeds=embeddings,
                attention_mask=valid.long(),
                position_ids=positions,
                past_key_values=cache,
                use_cache=True,
            ).last_hidden_state
            scores = self.language_model.lm_head(hidden[:, -1])[:, tokens.start : tokens.stop]
            chosen.append(scores.argmax(dim=-1, keepdim=True) + tokens.start)
            embeddings = self.embed_words(chosen[-1])
            valid = torch.cat([valid, valid.new_ones(len(valid), 1)], dim=1)
            positions = positions[:, -1:] + 1
        return torch.cat(chosen, dim=1)


def _positions(valid: Tensor) -> Tensor:
    return (valid.long().cumsum(dim=1) - 1).clamp(min=0)
