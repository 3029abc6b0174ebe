"""Patch tokens of a transformers vision transformer (SigLIP, CLIP, DINOv2, ViT, ...)."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor, nn

from tempovla.model.vlm.pretrained import config_of, fresh_model, load_model, read_config

PURPOSE = "vision model"


def vision_config(name_or_path: str) -> Any:
    """Return the transformers config of a vision model, or of the visual half of one of pictures and text.

    Raises:
        ValueError: if there is no such model.
    """
    config = read_config(name_or_path, "vision_config", PURPOSE)
    if hasattr(config, "vision_use_head"):
        config.vision_use_head = False  # SigLIP's pooled output is not read
    return config


class TransformersVision(nn.Module):
    """Pixels (N, 3, S, S), scaled as the model was trained, to patch tokens (N, num_tokens, hidden_dim).

    Row by row from the top left, without CLS and registers.

    Args:
        name_or_path: where the weights are, and what messages call the model.
        config: its transformers config, see `vision_config`; or as plain values, for fresh weights.
        image_size: side S [px]; positions are interpolated if the model was made for another one.
        layer: index of the hidden states that are read; -1 is the model's output, -2 what goes into its last layer.

    Raises:
        ValueError: if the model does not load, has no such layer or does not give one token a patch.
    """

    def __init__(self, name_or_path: str, config: Any, image_size: int, layer: int = -1) -> None:
        from transformers import AutoModel

        super().__init__()
        if isinstance(config, dict):
            self.model = fresh_model(AutoModel, config_of(config, PURPOSE), PURPOSE, dtype=torch.float32)
        else:
            self.model = load_model(
                AutoModel, name_or_path, config, PURPOSE, may_lack=("pooler", "head."), dtype=torch.float32
            )
        config = self.model.config
        self.layer = layer
        depth = getattr(config, "num_hidden_layers", 0)
        if not -depth - 1 <= layer < 0 and layer != -1:
            raise ValueError(
                f"layer={layer} of vision model {name_or_path!r} is not in [{-depth - 1}, -1]; count from the last"
            )
        takes = inspect.signature(self.model.forward).parameters
        other_size = image_size != getattr(config, "image_size", image_size)
        # What has no such parameter interpolates by itself, as DINOv2 does, or needs not, as with rotary positions.
        self.options = {"interpolate_pos_encoding": True} if other_size and "interpolate_pos_encoding" in takes else {}
        patch = getattr(config, "patch_size", None)
        self.num_tokens = (image_size // patch) ** 2 if isinstance(patch, int) else 0
        self.hidden_dim = 0
        self.model.eval()
        tokens = torch.zeros(0)
        if self.num_tokens:
            with torch.no_grad():
                tokens = self._hidden(torch.zeros(1, 3, image_size, image_size))
        if tokens.dim() != 3 or tokens.shape[1] < self.num_tokens:
            raise ValueError(f"vision model {name_or_path!r} does not give a token for every patch; give a ViT")
        self.hidden_dim = tokens.shape[2]

    def forward(self, pixels: Tensor) -> Tensor:
        """Return patch tokens (N, num_tokens, hidden_dim)."""
        # What comes before the patches (CLS, registers) is left out.
        return self._hidden(pixels)[:, -self.num_tokens :]

    def _hidden(self, pixels: Tensor) -> Tensor:
        if self.layer == -1:
            return self.model(pixel_values=pixels, **self.options).last_hidden_state
        output = self.model(pixel_values=pixels, output_hidden_states=True, **self.options)
        return output.hidden_states[self.layer]
