"""Language models as backbones: instruction, vision and other tokens in, hidden states out."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tempovla.model.vlm.config import LLMBackboneConfig
from tempovla.model.vlm.lm_attention import AUTO, register_auto_attention
from tempovla.model.vlm.pretrained import (
    architecture_of,
    as_config,
    config_of,
    fresh_model,
    let_layers_recompute,
    load_model,
    load_tokenizer,
    read_config,
    recompute_layers,
    torch_dtype,
)

LANGUAGE_MODELS = {
    "qwen2-0.5b": "Qwen/Qwen2-0.5B",
    "qwen2-1.5b": "Qwen/Qwen2-1.5B",
    "qwen2-7b": "Qwen/Qwen2-7B",
    "qwen2.5-0.5b": "Qwen/Qwen2.5-0.5B",
    "qwen2.5-1.5b": "Qwen/Qwen2.5-1.5B",
    "qwen3-0.6b": "Qwen/Qwen3-0.6B",
    "qwen3-1.7b": "Qwen/Qwen3-1.7B",
    "llama3-8b": "meta-llama/Meta-Llama-3-8B",
    "phi-3-mini": "microsoft/Phi-3-mini-4k-instruct",
}
"""Short names of models on the Hugging Face hub; any other causal language model that transformers reads will do."""

PURPOSE = "language model"


class LanguageOutput(NamedTuple):
    """Hidden states (B, L, D) and which of them are valid (B, L) bool."""

    hidden: Tensor
    valid: Tensor


class LayerStates(NamedTuple):
    """Hidden states of every layer, each (B, L, D), the last one behind the final norm; which are valid (B, L) bool."""

    layers: tuple[Tensor, ...]
    valid: Tensor


class LLMBackbone(nn.Module):
    """A causal language model over `[vision and other tokens][text][suffix]`, whose hidden states are read.

    Args:
        config: its config, or the name of the model.
        fields: of the config, such as `freeze`, instead or beside.

    Attributes:
        hidden_dim: width D of its embeddings and hidden states.
        vocab_size: number of word pieces.
        decoder: the transformers model without head; LoRA adapts it.
        resolved_config: the config with all that was read from the model filled in; an `LLMBackbone` built from it has
            the same weights by name and reads nothing.
        tokenizer: the tokenizer that goes with the model, read at first use.

    Raises:
        ValueError: if the model does not load, is no causal language model or has no such layer.
    """

    def __init__(self, config: LLMBackboneConfig | str | None = None, **fields: Any) -> None:
        super().__init__()
        config = as_config(LLMBackboneConfig, config, fields)
        name = LANGUAGE_MODELS.get(config.model_name, config.model_name)
        register_auto_attention()
        self.decoder, self.lm_head, architecture, dtype = _build(config, name)
        self.config = dataclasses.replace(config, architecture=architecture, dtype=dtype)
        self.hidden_dim: int = self.decoder.get_input_embeddings().embedding_dim
        self.vocab_size: int = self.decoder.config.vocab_size
        self._takes_positions = "position_ids" in inspect.signature(self.decoder.forward).parameters
        _keep_layers(self.decoder, config.layer, name)
        self._recompute, self._in_training = False, True
        self._tokenizer: Any = None
        self.decoder.train(not config.freeze)
        if config.freeze:
            self.requires_grad_(False)

    @property
    def resolved_config(self) -> LLMBackboneConfig:
        """The config with architecture and dtype filled in."""
        return self.config

    @property
    def tokenizer(self) -> Any:
        """The transformers tokenizer of `model_name`, or the one that was set instead.

        Anything with `encode(text)`, which returns a list of ids, may be put there, such as
        `tempovla.transform.tokenizer.WordTokenizer` for a model that was trained from scratch.

        Raises:
            ValueError: if `model_name` has no tokenizer.
        """
        if self._tokenizer is None:
            self._tokenizer = load_tokenizer(LANGUAGE_MODELS.get(self.config.model_name, self.config.model_name))
        return self._tokenizer

    @tokenizer.setter
    def tokenizer(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer

    def __dir__(self) -> list[str]:
        """All names but `tokenizer`: when torch traces a module, it reads every attribute that is listed here."""
        return [name for name in super().__dir__() if name != "tokenizer"]

    def train(self, mode: bool = True) -> LLMBackbone:
        """Set the mode; a frozen model stays in evaluation mode."""
        super().train(mode and not self.config.freeze)
        self._in_training = mode
        self._let_frozen_layers_recompute()
        return self

    def recompute_activations(self, on: bool) -> None:
        """Keep only each layer's input for the backward pass and compute the rest again (checkpointing).

        So does a frozen model in training, through which gradients flow to what is put in.
        """
        self._recompute = on
        recompute_layers(self.decoder, on)
        self._let_frozen_layers_recompute()

    def _let_frozen_layers_recompute(self) -> None:
        if self.config.freeze:
            let_layers_recompute(self.decoder, self._recompute and self._in_training)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        vision_features: Tensor | None = None,
        suffix: Tensor | None = None,
        vision_mask: Tensor | None = None,
    ) -> LanguageOutput:
        """Return hidden states of the whole sequence, P tokens put before the text, L of text and Q put behind it.

        Positions count valid tokens only, so padding before, behind or between them changes nothing that is valid.

        Args:
            input_ids: (B, L) int64; where padded, any value.
            attention_mask: (B, L) bool, True where there is text.
            vision_features: (B, P, D), of pictures, states, memories, ...
            suffix: (B, Q, D), such as learned queries, always valid.
            vision_mask: (B, P) bool, True where `vision_features` are valid; None: all are.

        Returns:
            Hidden states (B, P + L + Q, D) in the model's dtype, and their validity.

        Raises:
            ValueError: if widths or lengths do not fit the model, or an id is beyond its vocabulary (on a CPU).
        """
        output, valid = self._decode(input_ids, attention_mask, vision_features, suffix, vision_mask)
        return LanguageOutput(output.last_hidden_state, valid)

    def layer_states(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        vision_features: Tensor | None = None,
        vision_mask: Tensor | None = None,
    ) -> LayerStates:
        """Return the hidden states behind every layer, for heads that read the model layer by layer.

        Arguments and errors are those of `forward`.
        """
        output, valid = self._decode(input_ids, attention_mask, vision_features, None, vision_mask, layers=True)
        return LayerStates(tuple(output.hidden_states[1:]), valid)

    @property
    def num_layers(self) -> int:
        """Number of layers that are run."""
        return int(self.decoder.config.num_hidden_layers)

    def embed(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Return the embeddings (B, L, D) of word pieces, (B, L) int64; where `attention_mask` is False, any value.

        Raises:
            ValueError: if an id is beyond the vocabulary (on a CPU).
        """
        ids = input_ids.masked_fill(~attention_mask, 0)
        self._check_vocabulary(ids)
        embedded: Tensor = self.decoder.get_input_embeddings()(ids)
        return embedded

    def _decode(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        vision_features: Tensor | None,
        suffix: Tensor | None,
        vision_mask: Tensor | None,
        *,
        layers: bool = False,
    ) -> tuple[Any, Tensor]:
        embeddings, valid = self._sequence(input_ids, attention_mask.bool(), vision_features, suffix, vision_mask)
        longest = getattr(self.decoder.config, "max_position_embeddings", None) or embeddings.shape[1]
        if embeddings.shape[1] > longest:
            raise ValueError(
                f"sequence of {embeddings.shape[1]} tokens is longer than the language model's {longest}; use fewer "
                "vision tokens (attention_pooling, perceiver) or a shorter text"
            )
        positions = (valid.long().cumsum(dim=1) - 1).clamp(min=0)
        options: dict[str, Any] = {"position_ids": positions} if self._takes_positions else {}
        if layers:
            options["output_hidden_states"] = True
        return self.decoder(inputs_embeds=embeddings, attention_mask=valid, use_cache=False, **options), valid

    def logits(self, hidden: Tensor) -> Tensor:
        """Return scores (..., vocab_size) of the next word piece from hidden states (..., D).

        Raises:
            ValueError: if the model was built without its head.
        """
        if not self.config.lm_head:
            raise ValueError("language.lm_head=False leaves out the head that predicts words; set it to true")
        head = self.lm_head if self.lm_head is not None else self.decoder.get_input_embeddings()
        return F.linear(hidden, head.weight)

    def _sequence(
        self,
        input_ids: Tensor,
        text_mask: Tensor,
        vision_features: Tensor | None,
        suffix: Tensor | None,
        vision_mask: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        text = self.embed(input_ids, text_mask)
        parts, masks = [text], [text_mask]
        if vision_features is not None:
            self._check_width(vision_features, "vision_features")
            if vision_mask is None:
                vision_mask = text_mask.new_ones(vision_features.shape[:2])
            else:  # what is invalid may be NaN, and a weight of zero would not hide that
                vision_features = vision_features.masked_fill(~vision_mask[..., None], 0.0)
            parts.insert(0, vision_features.to(text.dtype))
            masks.insert(0, vision_mask)
        if suffix is not None:
            self._check_width(suffix, "suffix")
            parts.append(suffix.to(text.dtype))
            masks.append(text_mask.new_ones(suffix.shape[:2]))
        return torch.cat(parts, dim=1), torch.cat(masks, dim=1)

    def _check_width(self, tokens: Tensor, name: str) -> None:
        if tokens.shape[-1] != self.hidden_dim:
            raise ValueError(
                f"{name} {tuple(tokens.shape)} do not fit language model {self.config.model_name!r} of "
                f"hidden_dim={self.hidden_dim}; project them to it"
            )

    def _check_vocabulary(self, ids: Tensor) -> None:
        on_gpu = ids.device.type != "cpu"
        if on_gpu or not ids.numel() or torch.compiler.is_compiling() or torch.jit.is_tracing():
            return
        low, high = ids.aminmax()
        if low < 0 or high >= self.vocab_size:
            raise ValueError(
                f"input_ids from {int(low)} to {int(high)} are not all in the vocabulary of {self.vocab_size} of "
                f"language model {self.config.model_name!r}; give its own tokenizer"
            )


def _build(config: LLMBackboneConfig, name: str) -> tuple[Any, Any, dict[str, Any], Literal["bfloat16", "float32"]]:
    """The decoder, its head (None without one, or where it is the embedding), architecture and dtype."""
    from transformers import AutoModel, AutoModelForCausalLM
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

    fresh = config.architecture is not None
    dtype = config.dtype or ("float32" if fresh else "bfloat16")
    if config.architecture is not None:
        settings = config_of(config.architecture, PURPOSE)
    else:
        settings = read_config(name, "text_config", PURPOSE)
    if type(settings) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise ValueError(
            f"language model {name!r} is a {settings.model_type}, not a causal language model; give one such as "
            "Qwen/Qwen2-0.5B"
        )
    architecture = architecture_of(settings)
    attention: str = AUTO if config.attention == "auto" else config.attention
    if config.attention == "auto" and getattr(settings, "attn_logit_softcapping", None):
        attention = "eager"  # fused attention cannot cap its scores
    options: dict[str, Any] = {"dtype": torch_dtype(dtype), "attn_implementation": attention}
    model_class = AutoModelForCausalLM if config.lm_head else AutoModel
    if fresh:
        model: Any = fresh_model(model_class, settings, PURPOSE, **options)
    else:
        model = load_model(model_class, name, settings, PURPOSE, **options)
    if not config.lm_head:
        return model, None, architecture, dtype
    head, embedding = model.get_output_embeddings(), model.get_input_embeddings()
    return model.base_model, None if head.weight is embedding.weight else head, architecture, dtype


def _keep_layers(decoder: Any, layer: int, name: str) -> None:
    """Drop the layers above the one that is read, and the final norm with them."""
    depth = decoder.config.num_hidden_layers
    count = layer if layer >= 0 else depth + 1 + layer
    if not 0 < count <= depth:
        raise ValueError(f"language.layer={layer}: language model {name!r} has layers 1 to {depth}; choose one of them")
    if count == depth:
        return
    if not (isinstance(getattr(decoder, "layers", None), nn.ModuleList) and hasattr(decoder, "norm")):
        raise ValueError(
            f"language.layer={layer}: only the output of a {decoder.config.model_type} can be read; set layer=-1"
        )
    decoder.layers = decoder.layers[:count]
    decoder.config.num_hidden_layers = count
    decoder.norm = nn.Identity()
