"""Vision encoder, projector and language model as one: pictures and words to features for acting."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import torch
from torch import Tensor, nn

from tempovla.model.vlm.config import VLMConfig
from tempovla.model.vlm.language_model import LanguageOutput, LayerStates, LLMBackbone
from tempovla.model.vlm.vision_encoder import VisionEncoder
from tempovla.model.vlm.vision_projector import build_projector


class VLMOutput(NamedTuple):
    """The read-out: tokens (B, M, hidden_dim) and their validity (B, M) bool.

    M is `num_queries`, 1 (`last`, `mean`) or the length of the whole sequence (`all_tokens`).
    """

    tokens: Tensor
    valid: Tensor

    @property
    def features(self) -> Tensor:
        """(B, hidden_dim): the mean over valid tokens."""
        return mean_of_valid(self.tokens, self.valid)


class VLMModel(nn.Module):
    """`[vision tokens of every camera][extra tokens][text][queries]` through a language model, and a read-out.

    Attributes:
        vision, projector, language: the parts.
        hidden_dim: width of the features.
        resolved_config: the config with all that was read from the models filled in; a `VLMModel` built from it has the
            same weights by name and reads nothing.

    Raises:
        ValueError: if a part does not load or the parts do not fit.
    """

    def __init__(self, config: VLMConfig) -> None:
        super().__init__()
        self.vision = VisionEncoder(config.vision)
        self.language = LLMBackbone(config.language)
        dim = self.language.hidden_dim
        self.projector = build_projector(config.projector, self.vision.hidden_dim, dim, config.projector_options)
        self.camera = nn.Parameter(0.02 * torch.randn(config.num_cameras, dim)) if config.num_cameras > 1 else None
        self.queries = (
            nn.Parameter(0.02 * torch.randn(config.num_queries, dim)) if config.readout == "queries" else None
        )
        self.hidden_dim = config.readout_dim or dim
        self.readout_norm = nn.Identity() if config.readout == "layers" else nn.LayerNorm(dim)
        self.readout = nn.Identity() if config.readout_dim is None else nn.Linear(dim, config.readout_dim)
        self.config = dataclasses.replace(
            config, vision=self.vision.resolved_config, language=self.language.resolved_config
        )

    @property
    def resolved_config(self) -> VLMConfig:
        """The config with what was read from the models filled in."""
        return self.config

    @property
    def num_vision_tokens(self) -> int:
        """Tokens of all cameras in the language model's sequence."""
        return self.config.num_cameras * self.projector.num_output_tokens(self.vision.num_tokens)

    def recompute_activations(self, on: bool) -> None:
        """Trade time for memory in the language model's backward pass."""
        self.language.recompute_activations(on)

    def forward(
        self,
        images: Tensor,
        input_ids: Tensor,
        attention_mask: Tensor,
        extra_tokens: Tensor | None = None,
        *,
        image_mask: Tensor | None = None,
        extra_mask: Tensor | None = None,
    ) -> VLMOutput:
        """Return features of an observation.

        Args:
            images: (B, V, 3, H, W) of V = `num_cameras`, or (B, 3, H, W) of one; uint8 [0, 255] or float [0, 1].
            input_ids: (B, L) int64; where padded, any value.
            attention_mask: (B, L) bool, True where there is text.
            extra_tokens: (B, E, language.hidden_dim), such as the robot's state or a memory.
            image_mask: (B, V) bool, False where a camera gave no picture; None: all did.
            extra_mask: (B, E) bool; None: all are valid.

        Raises:
            ValueError: if a shape does not fit, or the read-out is `layers`, for which there is `layers`.
        """
        if self.config.readout == "layers":
            raise ValueError("readout=layers gives the states of every layer by VLMModel.layers(); call that")
        prefix, prefix_mask = self.prefix(images, extra_tokens, image_mask=image_mask, extra_mask=extra_mask)
        suffix = None if self.queries is None else self.queries.expand(input_ids.shape[0], -1, -1)
        return self._read(self.language(input_ids, attention_mask, prefix, suffix, prefix_mask))

    def layers(self, prefix: Tensor, prefix_mask: Tensor, input_ids: Tensor, attention_mask: Tensor) -> LayerStates:
        """Return the hidden states of every layer over what stands before the text, and the text.

        Args:
            prefix: (B, P, D), as `prefix` gives it.
            prefix_mask: (B, P) bool.
            input_ids: (B, L) int64; where padded, any value.
            attention_mask: (B, L) bool, True where there is text.
        """
        return self.language.layer_states(input_ids, attention_mask, prefix, prefix_mask)

    def lm_hidden(
        self, images: Tensor, input_ids: Tensor, attention_mask: Tensor, *, image_mask: Tensor | None = None
    ) -> Tensor:
        """Return hidden states (B, L, D) of the text, which follows the pictures; arguments as of `forward`.

        Raises:
            ValueError: if a shape does not fit.
        """
        prefix, prefix_mask = self.prefix(images, image_mask=image_mask)
        hidden, _ = self.language(input_ids, attention_mask, prefix, vision_mask=prefix_mask)
        return hidden[:, prefix.shape[1] :]

    def lm_logits(
        self, images: Tensor, input_ids: Tensor, attention_mask: Tensor, *, image_mask: Tensor | None = None
    ) -> Tensor:
        """Return scores (B, L, vocab_size) of the word piece after each one of the text, which follows the pictures.

        Raises:
            ValueError: if a shape does not fit, or `language.lm_head` is false.
        """
        return self.language.logits(self.lm_hidden(images, input_ids, attention_mask, image_mask=image_mask))

    def prefix(
        self,
        images: Tensor,
        extra_tokens: Tensor | None = None,
        *,
        image_mask: Tensor | None = None,
        extra_mask: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return tokens (B, P, D) that stand before the text, and their validity (B, P) bool; arguments as of
        `forward`.
        """
        _, tokens, mask = self.see(images, image_mask)
        if extra_tokens is None:
            return tokens, mask
        if extra_mask is None:
            extra_mask = mask.new_ones(extra_tokens.shape[:2])
        if extra_tokens.shape[-1] != tokens.shape[-1]:
            raise ValueError(
                f"extra_tokens {tuple(extra_tokens.shape)} have another width than the language model, "
                f"{tokens.shape[-1]}; project them to it"
            )
        return torch.cat([tokens, extra_tokens.to(tokens.dtype)], dim=1), torch.cat([mask, extra_mask], dim=1)

    def see(
        self,
        images: Tensor,
        image_mask: Tensor | None = None,
        vision: nn.Module | None = None,
        projector: nn.Module | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the tokens of all pictures: as the vision encoder gives them (B, V * N, vision.hidden_dim), behind the
        projector (B, V * M, language.hidden_dim), and the validity of these (B, V * M) bool.

        Args:
            images: as of `forward`.
            image_mask: as of `forward`.
            vision: an encoder in the place of this model's, such as a copy of it.
            projector: likewise.
        """
        if images.dim() == 4:
            images = images[:, None]
        batch, cameras = images.shape[:2]
        if images.dim() != 5 or cameras != self.config.num_cameras:
            raise ValueError(
                f"images {tuple(images.shape)} are not (B, {self.config.num_cameras}, 3, H, W); give one picture for "
                "each camera, or set num_cameras"
            )
        if image_mask is None:
            image_mask = torch.ones(batch, cameras, dtype=torch.bool, device=images.device)
        elif images.is_floating_point():  # a picture that is not there may be NaN
            images = images.masked_fill(~image_mask[:, :, None, None, None], 0.0)
        raw = (self.vision if vision is None else vision)(images)
        seen = raw.flatten(0, 1)
        mask = image_mask.flatten()[:, None].expand(-1, seen.shape[1])
        project = self.projector if projector is None else projector
        tokens = project(seen, mask).unflatten(0, (batch, cameras))
        if self.camera is not None:
            tokens = tokens + self.camera[:, None]
        return raw.flatten(1, 2), tokens.flatten(1, 2), self.projector.output_mask(mask).reshape(batch, -1)

    def _read(self, output: LanguageOutput) -> VLMOutput:
        hidden, valid = output
        if self.queries is not None:
            hidden, valid = hidden[:, -len(self.queries) :], valid[:, -len(self.queries) :]
        elif self.config.readout == "last":
            places = torch.arange(valid.shape[1], device=valid.device)
            last = torch.where(valid, places, 0).amax(dim=1)
            hidden = hidden.gather(1, last[:, None, None].expand(-1, -1, hidden.shape[2]))
            valid = valid.any(1, True)
        assert isinstance(self.readout_norm, nn.LayerNorm)
        hidden = self.readout_norm(hidden.to(self.readout_norm.weight.dtype))
        if self.config.readout == "mean":
            hidden, valid = mean_of_valid(hidden, valid)[:, None], valid.any(1, True)
        return VLMOutput(self.readout(hidden), valid)


def mean_of_valid(tokens: Tensor, valid: Tensor) -> Tensor:
    """Return (B, D): the mean of tokens (B, M, D) where `valid` (B, M); zero where none is."""
    total = tokens.masked_fill(~valid[..., None], 0.0).sum(dim=1)
    return total / valid.sum(dim=1, keepdim=True).clamp(min=1)
