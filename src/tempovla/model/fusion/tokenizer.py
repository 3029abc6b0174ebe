"""One sequence of tokens from all modalities, in the order that a causal encoder needs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tempovla.model.layers.dtype import in_dtype_of
from tempovla.model.layers.mlp import mlp
from tempovla.model.vlm.image_tokenizer import build_image_tokenizer


class MultiModalTokenizer(nn.Module):
    """Tokens in the order language (1), robot state (1), every camera in turn (N each), CLS (1).

    A causal encoder so reads the pictures knowing the instruction and the arm's pose, and CLS sees it all.

    Args:
        num_cameras: pictures per observation; all cameras share one tokenizer and differ by a learned camera embedding.
        image_tokenizer: which one, see `build_image_tokenizer`.
        image_size: side of the square pictures [px].
        patch_size: side of the patch behind one token [px].
        embed_dim: width D of a token.
        lang_emb_dim: size of the sentence embedding.
        robot_state_dim: size of the proprioceptive state.
        vision_model: name or folder of the frozen model behind a pretrained tokenizer.
    """

    def __init__(
        self,
        *,
        num_cameras: int,
        image_tokenizer: str,
        image_size: int,
        patch_size: int,
        embed_dim: int,
        lang_emb_dim: int,
        robot_state_dim: int,
        vision_model: str | None = None,
    ) -> None:
        super().__init__()
        self.language = nn.Linear(lang_emb_dim, embed_dim)
        self.robot_state = mlp((robot_state_dim, embed_dim, embed_dim))
        self.image = build_image_tokenizer(image_tokenizer, image_size, patch_size, embed_dim, vision_model)
        self.camera = nn.Parameter(0.02 * torch.randn(num_cameras, embed_dim))
        self.cls = nn.Parameter(0.02 * torch.randn(embed_dim))
        self.num_tokens = 3 + num_cameras * self.image.num_tokens

    def forward(self, language: Tensor, robot_state: Tensor, images: Sequence[Tensor]) -> Tensor:
        """Tokens (B, L, D) from language (B, E), robot state (B, R) and one picture (B, 3, S, S) uint8 a camera."""
        batch = language.shape[0]
        # One picture expanded over the rows, as a blind policy gets, is looked at once.
        same = all(picture.stride(0) == 0 for picture in images)
        seen = [picture[:1] for picture in images]
        tokens = self.image(torch.cat(seen if same else list(images)))
        pictures = tokens.unflatten(0, (len(images), -1)).expand(-1, batch, -1, -1)
        pictures = (pictures + self.camera[:, None, None]).transpose(0, 1).flatten(1, 2)
        language, robot_state = in_dtype_of(self.language, language), in_dtype_of(self.robot_state, robot_state)
        head = torch.stack([self.language(language), self.robot_state(robot_state)], dim=1)
        return torch.cat([head, pictures, self.cls.to(pictures.dtype).expand(batch, 1, -1)], dim=1)
