"""SmolVLM as a backbone: pictures and words in, keys and values of every layer out.

SmolVLM (Marafioti et al., 2025, arXiv:2504.05299) is a SigLIP whose patches are shuffled into few wide tokens, in front
of a SmolLM2, which has Llama's layout. Only the layers that are used are loaded, and of the last one, whose output
nothing reads, only what gives keys and values.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tempovla.model.layers.grouped_attention import Rotary, grouped_attend, join_heads, rotate, split_heads
from tempovla.model.layers.recompute import Recompute
from tempovla.model.vlm.image_tokenizer import ConvImageTokenizer
from tempovla.model.vlm.lm_attention import AUTO, register_auto_attention
from tempovla.model.vlm.preprocess import unit_pixels
from tempovla.model.vlm.pretrained import (
    architecture_of,
    config_of,
    fresh_model,
    load_model,
    read_config,
    recompute_layers,
    torch_dtype,
)
from tempovla.model.vlm.smolvlm_config import SmolVLMBackboneConfig

PURPOSE = "SmolVLM"
KeyValue = tuple[Tensor, Tensor]
"""Keys, with their positions, and values of one layer, both (B, groups, L, head_dim)."""


@dataclass(frozen=True)
class PrefixCache:
    """The keys and values of the tokens so far.

    Attributes:
        layers: keys and values of every layer.
        valid: (B, L) bool, which tokens are there.
    """

    layers: tuple[KeyValue, ...]
    valid: Tensor


class SmolVLMBackbone(Recompute):
    """The model.

    Args:
        config: which one.
        freeze: whether its weights do not learn, which decides their dtype where the config does not.
        hidden_states: whether the output of the last layer is read, too.

    Attributes:
        hidden_dim: width D of a token.
        num_image_tokens: tokens of a picture.
        config: with what was read from the model filled in; a backbone built from it reads nothing.
        text_model: the language model; LoRA adapts it.

    Raises:
        ValueError: if the model does not load, is no SmolVLM or does not fit the config.
    """

    def __init__(self, config: SmolVLMBackboneConfig, *, freeze: bool = False, hidden_states: bool = False) -> None:
        super().__init__()
        settings = _settings(config)
        text, vision = settings.text_config, settings.vision_config
        image_size, stride = config.image_size or vision.image_size, vision.patch_size * settings.scale_factor
        if image_size % stride:
            raise ValueError(
                f"vlm.image_size={image_size} is not divisible by patch_size x scale_factor = {vision.patch_size} x "
                f"{settings.scale_factor} of SmolVLM {config.model_name!r}; choose a multiple of {stride}"
            )
        dtype = config.dtype or ("bfloat16" if freeze and config.architecture is None else "float32")
        architecture = architecture_of(settings)
        model = _build(config, settings, dtype)
        self.config = dataclasses.replace(
            config,
            architecture=architecture,
            num_layers=text.num_hidden_layers,
            image_size=image_size,
            dtype=dtype,
        )
        self.image_size: int = image_size
        self.hidden_dim: int = text.hidden_size
        self.vocab_size: int = text.vocab_size
        self.head_dim: int = text.head_dim
        self.num_image_tokens = (image_size // stride) ** 2
        self.vision_model: Any = None
        self.connector: Any = None
        self.conv: ConvImageTokenizer | None = None
        if config.image_tokenizer == "conv":
            self.conv = ConvImageTokenizer(image_size, stride, self.hidden_dim)
        else:
            self.vision_model, self.connector = model.vision_model, model.connector
        self.text_model = model.text_model
        self.reads_hidden_states = hidden_states
        if not hidden_states:
            _drop_what_no_key_needs(self.text_model)

    def recompute_activations(self) -> None:
        """Keep only each layer's input for the backward pass, in the vision model and in the language model."""
        self.recompute = True
        if self.vision_model is not None:
            recompute_layers(self.vision_model, True)

    def embed_pictures(self, pictures: Sequence[Tensor], seen: Tensor) -> tuple[Tensor, Tensor]:
        """Return tokens (B, V * num_image_tokens, D) of V cameras, all in one call, and their validity.

        Args:
            pictures: (B, 3, H, W) a camera, uint8 [0, 255] or float [0, 1], of any H and W.
            seen: (B, V) bool, False where a camera gave no picture.
        """
        rows = seen[:, :, None, None, None]
        # A picture that is not there may be NaN.
        cleaned = [picture.masked_fill(~rows[:, camera], 0) for camera, picture in enumerate(pictures)]
        pixels = torch.stack([self.preprocess(picture) for picture in cleaned], dim=1)
        tokens = self._scaled(self._see(pixels.flatten(0, 1)))
        return tokens.unflatten(0, seen.shape).flatten(1, 2), seen.repeat_interleave(self.num_image_tokens, dim=1)

    def preprocess(self, pictures: Tensor) -> Tensor:
        """Return pixels (B, 3, S, S) float32 in [-1, 1] of pictures (B, 3, H, W)."""
        pixels = unit_pixels(pictures)
        if self.config.resize == "pad":
            pixels = fit_into_square(pixels, self.image_size)
        elif pixels.shape[-2:] != (self.image_size, self.image_size):
            size = (self.image_size, self.image_size)
            pixels = F.interpolate(pixels, size, mode="bilinear", antialias=True).clamp(0.0, 1.0)
        return pixels * 2.0 - 1.0

    def embed_words(self, ids: Tensor, valid: Tensor) -> Tensor:
        """Return tokens (B, L, D) of ids (B, L), of any value where they are not valid.

        Raises:
            ValueError: if an id is beyond the vocabulary (on a CPU).
        """
        ids = ids.masked_fill(~valid, 0)
        if ids.device.type == "cpu" and not torch.compiler.is_compiling() and int(ids.max()) >= self.vocab_size:
            raise ValueError(
                f"id {int(ids.max())} is beyond the vocabulary of {self.vocab_size} of SmolVLM "
                f"{self.config.model_name!r}; give its own tokenizer"
            )
        return self._scaled(self.text_model.embed_tokens(ids))

    def extend(self, tokens: Tensor, valid: Tensor, past: PrefixCache | None = None) -> tuple[Tensor, PrefixCache]:
        """Read tokens that see each other and all that was read before, but are not seen by it.

        Positions count valid tokens alone, so that those that are missing change nothing.

        Args:
            tokens: (B, L, D).
            valid: (B, L) bool.
            past: keys and values of the tokens before.

        Returns:
            The output (B, L, D) of the last layer, normed (of the last but one, where hidden states are not read), and
            keys and values of all that was read, these tokens behind the others.
        """
        hidden = tokens.to(self.text_model.embed_tokens.weight.dtype)
        positions = valid.long().cumsum(dim=1) - 1
        mask = valid[:, None, :] | torch.eye(valid.shape[1], dtype=torch.bool, device=valid.device)
        if past is not None:
            positions = positions + past.valid.sum(dim=1, keepdim=True)
            mask = torch.cat([past.valid[:, None, :].expand(-1, valid.shape[1], -1), mask], dim=2)
            valid = torch.cat([past.valid, valid], dim=1)
        rotary = self.rotary(hidden, positions.clamp(min=0))
        layers = []
        for index, layer in enumerate(self.text_model.layers):
            before = None if past is None else past.layers[index]
            hidden, key, value = self.run_layer(self._run, layer, hidden, rotary, mask[:, None], before)
            layers.append((key, value))
        return self.text_model.norm(hidden), PrefixCache(tuple(layers), valid)

    def rotary(self, like: Tensor, positions: Tensor) -> Rotary:
        """Return cosine and sine (B, L, head_dim) of positions (B, L), in the dtype of `like`."""
        return self.text_model.rotary_emb(like, positions)

    def _run(
        self, layer: Any, hidden: Tensor, rotary: Rotary, mask: Tensor, past: KeyValue | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The layer's output, and its keys and values, behind those of the past."""
        attention, normed = layer.self_attn, layer.input_layernorm(hidden)
        key = rotate(split_heads(attention.k_proj(normed), self.head_dim), rotary)
        value = split_heads(attention.v_proj(normed), self.head_dim)
        if past is not None:
            key, value = torch.cat([past[0], key], dim=2), torch.cat([past[1], value], dim=2)
        if isinstance(attention.o_proj, nn.Identity):
            return hidden, key, value
        query = rotate(split_heads(attention.q_proj(normed), self.head_dim), rotary)
        hidden = hidden + attention.o_proj(join_heads(grouped_attend(query, key, value, mask)))
        return hidden + layer.mlp(layer.post_attention_layernorm(hidden)), key, value

    def _see(self, pixels: Tensor) -> Tensor:
        if self.conv is not None:
            return self.conv.embed(pixels)
        pixels = pixels.to(self.vision_model.embeddings.patch_embedding.weight.dtype)
        return self.connector(self.vision_model(pixel_values=pixels).last_hidden_state)

    def _scaled(self, tokens: Tensor) -> Tensor:
        return tokens * self.hidden_dim**0.5 if self.config.scale_embeddings else tokens


def fit_into_square(pixels: Tensor, size: int) -> Tensor:
    """Return pictures (N, 3, H, W) as large as fits at the lower right of a black square (N, 3, size, size), as in
    LeRobot.
    """
    height, width = pixels.shape[-2:]
    if (height, width) == (size, size):
        return pixels
    ratio = max(height, width) / size
    height, width = max(1, int(height / ratio)), max(1, int(width / ratio))
    pixels = F.interpolate(pixels, (height, width), mode="bilinear", align_corners=False)
    return F.pad(pixels, (size - width, 0, size - height, 0))


def _settings(config: SmolVLMBackboneConfig) -> Any:
    """The transformers config of the whole model, cut to the layers that are used."""
    if config.architecture is not None:
        settings = config_of(config.architecture, PURPOSE)
    else:
        settings = read_config(config.model_name, None, PURPOSE)
    text: Any = getattr(settings, "text_config", None)
    if not hasattr(settings, "scale_factor") or getattr(text, "model_type", None) != "llama":
        raise ValueError(
            f"SmolVLM {config.model_name!r} is a {settings.model_type}, which has another layout; give one such as "
            "HuggingFaceTB/SmolVLM-256M-Instruct or a folder of one"
        )
    depth = text.num_hidden_layers
    count = max(1, depth // 2) if config.num_layers is None else config.num_layers
    if count > depth:
        raise ValueError(
            f"vlm.num_layers={count}: SmolVLM {config.model_name!r} has {depth} layers; choose 1 to {depth}, or null "
            "for half of them"
        )
    text.num_hidden_layers = count
    if config.rope_theta is not None:
        text.rope_parameters = {**text.rope_parameters, "rope_theta": config.rope_theta}
    return settings


def _build(config: SmolVLMBackboneConfig, settings: Any, dtype: str) -> Any:
    from transformers import AutoModel

    register_auto_attention()
    options: dict[str, Any] = {"dtype": torch_dtype(dtype), "attn_implementation": AUTO}
    if config.architecture is not None:
        return fresh_model(AutoModel, settings, PURPOSE, **options)
    return load_model(AutoModel, config.model_name, settings, PURPOSE, **options)


def _drop_what_no_key_needs(text_model: Any) -> None:
    """Weights without influence cannot learn, and several processes would wait for their gradients."""
    last = text_model.layers[-1]
    last.self_attn.q_proj, last.self_attn.o_proj = nn.Identity(), nn.Identity()
    last.post_attention_layernorm, last.mlp = nn.Identity(), nn.Identity()
    text_model.norm = nn.Identity()
