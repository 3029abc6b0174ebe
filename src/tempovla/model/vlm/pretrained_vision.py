"""Image tokens of a pretrained vision transformer (DINOv2, SigLIP, CLIP, ViT, ...), frozen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from tempovla.model.layers.dtype import in_dtype_of
from tempovla.model.vlm.preprocess import processor_scale, processor_size, resize_square, unit_pixels
from tempovla.model.vlm.pretrained import read_image_processor
from tempovla.model.vlm.pretrained_encoder import TransformersVision, vision_config
from tempovla.timeline.fingerprint import model_fingerprint


class FrozenVision:
    """A frozen pretrained vision model.

    It is no submodule of what uses it: its weights are in no optimiser, no EMA target and no bundle, and copies of its
    user share it. (A `VisionEncoder` is a submodule, and may learn.)

    Args:
        name_or_path: a transformers model of pictures, or of pictures and text of which the visual half is taken; with
            its image processor, which says how pictures are scaled.

    Raises:
        ValueError: if there is no such model, its checkpoint lacks weights, or it does not give one token a patch.
    """

    def __init__(self, name_or_path: str) -> None:
        self.name_or_path = name_or_path
        config, processor = vision_config(name_or_path), read_image_processor(name_or_path)
        self.size = processor_size(name_or_path, processor)
        scale = processor_scale(name_or_path, processor)
        self.mean, self.std = (torch.tensor(values)[:, None, None] for values in scale)
        self.model = TransformersVision(name_or_path, config, self.size).eval().requires_grad_(False)
        self.num_tokens, self.dim = self.model.num_tokens, self.model.hidden_dim

    def __deepcopy__(self, memo: dict[int, Any]) -> FrozenVision:
        return self

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Patch tokens (N, num_tokens, dim), row by row, of pictures (N, 3, S, S) uint8 of any size."""
        if self.mean.device != images.device:
            self.model.to(images.device)
            self.mean, self.std = self.mean.to(images.device), self.std.to(images.device)
        pixels = resize_square(unit_pixels(images), self.size, "stretch")
        return self.model((pixels - self.mean) / self.std)


class PretrainedImageTokenizer(nn.Module):
    """Tokens of a frozen vision model, projected to the width of the others.

    (N, 3, S, S) uint8 to (N, num_tokens, embed_dim). What is learned and saved is the projection, together with the
    fingerprint of the vision model: with another one the weights are refused.
    """

    fingerprint: Tensor

    def __init__(self, vision_model: str, embed_dim: int) -> None:
        super().__init__()
        self.vision = FrozenVision(vision_model)
        self.num_tokens = self.vision.num_tokens
        self.projection = nn.Linear(self.vision.dim, embed_dim)
        digits = bytes.fromhex(model_fingerprint(vision_model))
        self.register_buffer("fingerprint", torch.tensor(list(digits), dtype=torch.uint8))
        self.register_load_state_dict_pre_hook(_check_fingerprint)

    def forward(self, images: Tensor) -> Tensor:
        """Return tokens (N, num_tokens, embed_dim)."""
        return self.projection(in_dtype_of(self.projection, self.vision(images)))


def _check_fingerprint(module: nn.Module, weights: Mapping[str, Any], prefix: str, *rest: Any) -> None:
    assert isinstance(module, PretrainedImageTokenizer)
    saved = weights.get(f"{prefix}fingerprint")
    if saved is not None and not torch.equal(saved.cpu(), module.fingerprint.cpu()):
        raise ValueError(
            f"vision model {module.vision.name_or_path!r} is not the one of these weights; "
            "put that one in its place, or train anew"
        )
