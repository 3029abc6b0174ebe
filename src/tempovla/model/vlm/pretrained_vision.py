"""Image tokens of a pretrained vision transformer (DINOv2, SigLIP, CLIP, ViT, ...), frozen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tempovla.timeline.fingerprint import model_fingerprint


class FrozenVision:
    """A pretrained vision model that is looked through, not trained.

    It is no submodule of what uses it: its weights are in no optimiser, no EMA target and no bundle, and copies of its
    user share it.

    Args:
        name_or_path: a transformers model of pictures, or of pictures and text of which the visual half is taken; with
            its image processor, which says how pictures are scaled.

    Raises:
        ValueError: if there is no such model, its checkpoint lacks weights, or it does not give one token a patch.
    """

    def __init__(self, name_or_path: str) -> None:
        self.name_or_path = name_or_path
        self.model, processor = _load(name_or_path)
        self.size = _side(name_or_path, processor)
        self.mean, self.std = (torch.tensor(processor[key])[:, None, None] for key in ("image_mean", "image_std"))
        patch = getattr(self.model.config, "patch_size", None)
        self.num_tokens = (self.size // patch) ** 2 if isinstance(patch, int) else 0
        tokens = self._tokens(torch.zeros(1, 3, self.size, self.size)) if self.num_tokens else torch.zeros(0)
        if tokens.dim() != 3 or tokens.shape[1] < self.num_tokens:
            raise ValueError(f"vision model {name_or_path!r} does not give a token for every patch; give a ViT")
        self.dim = tokens.shape[2]

    def __deepcopy__(self, memo: dict[int, Any]) -> FrozenVision:
        return self

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Patch tokens (N, num_tokens, dim), row by row, of pictures (N, 3, S, S) uint8 of any size."""
        if self.mean.device != images.device:
            self.model.to(images.device)
            self.mean, self.std = self.mean.to(images.device), self.std.to(images.device)
        pixels = images.float() / 255.0
        if pixels.shape[-1] != self.size:
            pixels = F.interpolate(pixels, (self.size, self.size), mode="bilinear", antialias=True)
        # What comes before the patches (CLS, registers) is left out.
        return self._tokens((pixels - self.mean) / self.std)[:, -self.num_tokens :]

    def _tokens(self, pixels: Tensor) -> Tensor:
        with torch.no_grad():
            return self.model(pixel_values=pixels).last_hidden_state


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
        """Tokens (N, num_tokens, embed_dim)."""
        return self.projection(self.vision(images))


def _check_fingerprint(module: nn.Module, weights: Mapping[str, Any], prefix: str, *rest: Any) -> None:
    assert isinstance(module, PretrainedImageTokenizer)
    saved = weights.get(f"{prefix}fingerprint")
    if saved is not None and not torch.equal(saved.cpu(), module.fingerprint.cpu()):
        raise ValueError(
            f"vision model {module.vision.name_or_path!r} is not the one of these weights; "
            "put that one in its place, or train anew"
        )


def _load(name_or_path: str) -> tuple[Any, dict[str, Any]]:
    """The visual model in float32, and the config of its image processor."""
    from transformers import AutoConfig, AutoModel
    from transformers.image_processing_base import ImageProcessingMixin

    try:
        config = AutoConfig.from_pretrained(name_or_path)
        config = getattr(config, "vision_config", config)
        model, loading = AutoModel.from_pretrained(
            name_or_path, config=config, dtype=torch.float32, output_loading_info=True
        )
        processor, _ = ImageProcessingMixin.get_image_processor_dict(name_or_path)
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"vision model {name_or_path!r} does not load ({reason}); give the name or folder of a transformers model, "
            "with its image processor"
        ) from None
    missing = sorted(name for name in loading["missing_keys"] if "pooler" not in name and "head" not in name)
    if missing:
        raise ValueError(f"vision model {name_or_path!r} lacks weights such as {missing[0]!r}; give a whole checkpoint")
    return model.eval().requires_grad_(False), processor


def _side(name_or_path: str, processor: Mapping[str, Any]) -> int:
    """Side of the square that the model was made for [px]."""
    for key in ("crop_size", "size"):
        size = processor.get(key)
        if isinstance(size, Mapping):
            size = size.get("height", size.get("shortest_edge"))
        if isinstance(size, int):
            return size
    raise ValueError(f"vision model {name_or_path!r}: its image processor names no size; give one that does")
