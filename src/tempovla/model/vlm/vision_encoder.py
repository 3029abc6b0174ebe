"""Vision encoders: pictures of any size to patch tokens, from pretrained models or trained from scratch."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor, nn

from tempovla.model.layers.dtype import in_dtype_of
from tempovla.model.vlm.config import VisionEncoderConfig
from tempovla.model.vlm.image_tokenizer import ConvImageTokenizer, PatchImageTokenizer
from tempovla.model.vlm.preprocess import processor_scale, processor_size, resize_square, unit_pixels
from tempovla.model.vlm.pretrained import architecture_of, as_config, read_image_processor
from tempovla.model.vlm.pretrained_encoder import TransformersVision, vision_config

VISION_MODELS = {
    "siglip-base": "google/siglip-base-patch16-224",
    "siglip-large": "google/siglip-large-patch16-256",
    "clip-vit-b": "openai/clip-vit-base-patch16",
    "clip-vit-l": "openai/clip-vit-large-patch14",
    "dinov2-base": "facebook/dinov2-base",
    "dinov2-large": "facebook/dinov2-large",
}
"""Short names of models on the Hugging Face hub; any other name or folder that AutoModel reads will do."""

HALF = (0.5, 0.5, 0.5)


class ConvEncoder(ConvImageTokenizer):
    """A small stack of strided convolutions that trains from scratch: pixels (N, 3, S, S) in [-1, 1] to tokens."""

    def __init__(self, config: VisionEncoderConfig) -> None:
        self.hidden_dim = config.output_dim or 256
        super().__init__(config.image_size or 224, config.patch_size, self.hidden_dim)

    def forward(self, images: Tensor) -> Tensor:
        """Return tokens (N, num_tokens, hidden_dim)."""
        return self.embed(images)


class PatchEncoder(PatchImageTokenizer):
    """One linear layer a patch that trains from scratch: pixels (N, 3, S, S) in [-1, 1] to tokens."""

    def __init__(self, config: VisionEncoderConfig) -> None:
        self.hidden_dim = config.output_dim or 256
        super().__init__(config.image_size or 224, config.patch_size, self.hidden_dim)

    def forward(self, images: Tensor) -> Tensor:
        """Return tokens (N, num_tokens, hidden_dim)."""
        return self.embed(images)


ENCODER_REGISTRY: dict[str, type[nn.Module]] = {
    "conv": ConvEncoder,
    "patch": PatchEncoder,
}
"""Encoders by name, open to your own. One is built as `Encoder(config)`; its `forward` takes pixels (N, 3, S, S) scaled
by the config's mean and std ([-1, 1] unless these say otherwise) and gives tokens (N, num_tokens, hidden_dim)."""


class VisionEncoder(nn.Module):
    """Pictures of one or several cameras to patch tokens, all cameras in one call of the encoder.

    Args:
        config: its config, or the name of the model.
        output_dim: replaces that of the config, if given.
        freeze: replaces that of the config, if given.
        fields: further fields of the config, instead or beside.

    Attributes:
        num_tokens: tokens a picture.
        hidden_dim: width of a token.
        resolved_config: the config with all that was read from the model filled in; a `VisionEncoder` built from it has
            the same weights by name and reads nothing.

    Raises:
        ValueError: if the model does not load or does not fit the config.
    """

    def __init__(
        self,
        config: VisionEncoderConfig | str | None = None,
        output_dim: int | None = None,
        freeze: bool | None = None,
        **fields: Any,
    ) -> None:
        super().__init__()
        given = {"output_dim": output_dim, "freeze": freeze}
        fields |= {name: value for name, value in given.items() if value is not None}
        config = as_config(VisionEncoderConfig, config, fields)
        self.encoder: Any
        if config.model_name in ENCODER_REGISTRY:
            if config.architecture is not None:
                raise ValueError(f"vision.architecture goes with a transformers model, not {config.model_name!r}")
            config = dataclasses.replace(config, image_size=config.image_size or 224)
            self.encoder = ENCODER_REGISTRY[config.model_name](config)
        else:
            config, self.encoder = _build_pretrained(config)
        learns = not config.freeze
        self.config = dataclasses.replace(config, mean=config.mean or HALF, std=config.std or HALF, freeze=not learns)
        self.encoder.eval()
        self.num_tokens, width = self._shape_of_tokens()
        self.hidden_dim = config.output_dim or width
        self.projection = nn.Linear(width, self.hidden_dim) if width != self.hidden_dim else nn.Identity()
        for name, values in (("mean", self.config.mean), ("std", self.config.std)):
            self.register_buffer(name, torch.tensor(values)[:, None, None], persistent=False)
        if learns:
            self._leave_out_what_no_token_needs()
            self.encoder.train()
        else:
            self.encoder.requires_grad_(False)

    mean: Tensor
    std: Tensor

    @property
    def resolved_config(self) -> VisionEncoderConfig:
        """The config with architecture, size, scale and freezing filled in."""
        return self.config

    def train(self, mode: bool = True) -> VisionEncoder:
        """Set the mode; a frozen encoder stays in evaluation mode."""
        super().train(mode)
        if self.config.freeze:
            self.encoder.eval()
        return self

    def forward(self, images: Tensor) -> Tensor:
        """Return patch tokens, row by row from the top left, without CLS and registers.

        Args:
            images: (B, C, H, W), or (B, V, C, H, W) of V cameras; uint8 [0, 255] or float [0, 1], of any H and W.

        Returns:
            (B, num_tokens, hidden_dim), or (B, V, num_tokens, hidden_dim).

        Raises:
            ValueError: if the images have another shape or type.
        """
        if images.dim() not in (4, 5) or images.shape[-3] != 3:
            raise ValueError(f"images {tuple(images.shape)} are neither (B, 3, H, W) nor (B, V, 3, H, W)")
        pixels = in_dtype_of(self.encoder, self.preprocess(images.flatten(0, -4)))
        tokens = self.projection(in_dtype_of(self.projection, self._encode(pixels)))
        return tokens if images.dim() == 4 else tokens.unflatten(0, images.shape[:2])

    def preprocess(self, images: Tensor) -> Tensor:
        """Return pixels (N, 3, S, S) float32 as the encoder wants them, of images (N, 3, H, W)."""
        assert self.config.image_size is not None
        pixels = resize_square(unit_pixels(images), self.config.image_size, self.config.resize)
        return (pixels - self.mean) / self.std

    def _encode(self, pixels: Tensor) -> Tensor:
        if not self.config.freeze:
            return self.encoder(pixels)
        with torch.no_grad():
            return self.encoder(pixels)

    def _shape_of_tokens(self) -> tuple[int, int]:
        with torch.no_grad():
            tokens = self.encoder(self._one_picture())
        if not isinstance(tokens, Tensor) or tokens.dim() != 3:
            raise ValueError(f"encoder {self.config.model_name!r} must give tokens (N, num_tokens, hidden_dim)")
        return tokens.shape[1], tokens.shape[2]

    def _leave_out_what_no_token_needs(self) -> None:
        """Weights without influence, such as a pooler's, cannot learn, and several processes would wait for them."""
        weights = [weight for weight in self.encoder.parameters() if weight.requires_grad]
        total = self.encoder(self._one_picture()).sum()
        for weight, gradient in zip(weights, torch.autograd.grad(total, weights, allow_unused=True), strict=True):
            weight.requires_grad_(gradient is not None)

    def _one_picture(self) -> Tensor:
        assert self.config.image_size is not None
        return torch.zeros(1, 3, self.config.image_size, self.config.image_size)


def _build_pretrained(config: VisionEncoderConfig) -> tuple[VisionEncoderConfig, TransformersVision]:
    """A transformers model, and the config with what was read from it filled in."""
    architecture = config.architecture
    if architecture is not None:
        size = config.image_size or architecture.get("image_size", 224)
        config = dataclasses.replace(config, image_size=size, freeze=bool(config.freeze))
        return config, TransformersVision(config.model_name, dict(architecture), size, config.layer)
    name = VISION_MODELS.get(config.model_name, config.model_name)
    transformers_config = vision_config(name)
    if None in (config.image_size, config.mean, config.std):
        processor = read_image_processor(name)
        mean, std = processor_scale(name, processor)
        config = dataclasses.replace(
            config,
            image_size=config.image_size or processor_size(name, processor),
            mean=config.mean or mean,
            std=config.std or std,
        )
    assert config.image_size is not None
    encoder = TransformersVision(name, transformers_config, config.image_size, config.layer)
    config = dataclasses.replace(
        config, architecture=architecture_of(encoder.model.config), freeze=config.freeze is not False
    )
    return config, encoder
