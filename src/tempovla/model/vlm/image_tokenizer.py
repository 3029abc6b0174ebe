"""Image tokenizers: pictures to a grid of tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import torch
from torch import Tensor, nn

from tempovla.model.layers.dtype import in_dtype_of

if TYPE_CHECKING:
    from tempovla.model.vlm.pretrained_vision import PretrainedImageTokenizer

ImageTokenizer: TypeAlias = "PatchImageTokenizer | ConvImageTokenizer | PretrainedImageTokenizer"


def scale_pixels(images: Tensor) -> Tensor:
    """Convert uint8 [0, 255] to float32 [-1, 1]."""
    return images.float().mul_(2.0 / 255.0).sub_(1.0)


class PatchImageTokenizer(nn.Module):
    """Non-overlapping patches through one convolution (ViT; Dosovitskiy et al., 2021).

    (N, 3, S, S) uint8 to (N, (S / patch_size)^2, embed_dim), row by row from the top left.
    """

    def __init__(self, image_size: int, patch_size: int, embed_dim: int) -> None:
        super().__init__()
        if patch_size < 1 or image_size % patch_size:
            raise ValueError(f"image_size={image_size} is not divisible by patch_size={patch_size}; change either")
        self.num_tokens = (image_size // patch_size) ** 2
        self.projection = nn.Conv2d(3, embed_dim, patch_size, stride=patch_size)
        self.position = nn.Parameter(0.02 * torch.randn(self.num_tokens, embed_dim))

    def forward(self, images: Tensor) -> Tensor:
        """Return tokens (N, num_tokens, embed_dim)."""
        return self.embed(scale_pixels(images))

    def embed(self, pixels: Tensor) -> Tensor:
        """Return tokens (N, num_tokens, embed_dim) of pixels (N, 3, S, S) in [-1, 1]."""
        return self.projection(in_dtype_of(self, pixels)).flatten(2).transpose(1, 2) + self.position


class ConvImageTokenizer(nn.Module):
    """A small stack of strided convolutions: learns from far less data than bare patches (Xiao et al., 2021).

    (N, 3, S, S) uint8 to (N, (S / patch_size)^2, embed_dim); patch_size, a power of two from 8 on, is the total
    stride: 4 in the first convolution, 2 in each that follows. Channels-last memory and no norms: on a CPU these are
    what the step costs.
    """

    def __init__(self, image_size: int, patch_size: int, embed_dim: int, width: int = 32) -> None:
        super().__init__()
        stages = patch_size.bit_length() - 2
        if patch_size < 8 or 2 ** (stages + 1) != patch_size or image_size % patch_size:
            raise ValueError(f"patch_size={patch_size} must be 8, 16, 32, ... and divide image_size={image_size}")
        self.num_tokens = (image_size // patch_size) ** 2
        layers: list[nn.Module] = [nn.Conv2d(3, width, 8, stride=4, padding=2)]
        for _ in range(stages - 1):
            layers += [nn.ReLU(), nn.Conv2d(width, 2 * width, 3, stride=2, padding=1)]
            width *= 2
        self.stem = nn.Sequential(*layers, nn.ReLU(), nn.Conv2d(width, embed_dim, 1))
        for convolution in self.stem:
            if isinstance(convolution, nn.Conv2d):
                nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
        self.stem.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.position = nn.Parameter(0.02 * torch.randn(self.num_tokens, embed_dim))

    def forward(self, images: Tensor) -> Tensor:
        """Return tokens (N, num_tokens, embed_dim)."""
        return self.embed(scale_pixels(images))

    def embed(self, pixels: Tensor) -> Tensor:
        """Return tokens (N, num_tokens, embed_dim) of pixels (N, 3, S, S) in [-1, 1]."""
        pixels = in_dtype_of(self, pixels).contiguous(memory_format=torch.channels_last)
        return self.stem(pixels).flatten(2).transpose(1, 2) + self.position


IMAGE_TOKENIZER_REGISTRY: dict[str, type[PatchImageTokenizer] | type[ConvImageTokenizer]] = {
    "patch": PatchImageTokenizer,
    "conv": ConvImageTokenizer,
}
"""Those that are trained from scratch; each is built as `Tokenizer(image_size, patch_size, embed_dim)`."""


def build_image_tokenizer(
    kind: str, image_size: int, patch_size: int, embed_dim: int, vision_model: str | None = None
) -> ImageTokenizer:
    """Return a tokenizer (N, 3, S, S) uint8 to (N, num_tokens, embed_dim), by name.

    Args:
        kind: name in `IMAGE_TOKENIZER_REGISTRY`, or `pretrained` for the frozen `vision_model`.
        image_size: side of the square pictures [px].
        patch_size: side of the patch behind one token [px]; a pretrained model has its own.
        embed_dim: width of a token.
        vision_model: name or folder of a transformers model.

    Raises:
        ValueError: if the name is unknown, or there is a vision model without use or none to use.
    """
    kinds = [*IMAGE_TOKENIZER_REGISTRY, "pretrained"]
    if kind not in kinds:
        raise ValueError(f"model.image_tokenizer={kind!r} is unknown; choose from {kinds}")
    if kind != "pretrained":
        if vision_model is not None:
            raise ValueError(f"model.vision_model={vision_model!r} needs model.image_tokenizer=pretrained; set it")
        return IMAGE_TOKENIZER_REGISTRY[kind](image_size, patch_size, embed_dim)
    if vision_model is None:
        raise ValueError("model.image_tokenizer=pretrained needs model.vision_model; name a model or its folder")
    from tempovla.model.vlm.pretrained_vision import PretrainedImageTokenizer

    return PretrainedImageTokenizer(vision_model, embed_dim)
