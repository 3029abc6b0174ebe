"""The two vision transformers of Prismatic models, side by side (Karamcheti et al., 2024).

Sizes and the names of the weights are those of timm's `vit_large_patch14_reg4_dinov2.lvd142m` (DINOv2; Oquab et al.,
2023; with registers, Darcet et al., 2023) and `vit_so400m_patch14_siglip_224` (SigLIP; Zhai et al., 2023) in timm
0.9.16, with one change that Prismatic's checkpoints have: LayerScale's weight is called `scale_factor`. LayerNorm's
epsilon is 1e-6 and GELU the exact one, for SigLIP too, as in that version of timm.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tempovla.model.layers.recompute import Recompute
from tempovla.model.layers.transformer import attend
from tempovla.model.vlm.preprocess import resize_square, unit_pixels

LAYER_NORM_EPSILON = 1e-6


@dataclass(frozen=True)
class PrismaticViTConfig:
    """Sizes of one vision transformer and the scaling of its pictures; the defaults are those of DINOv2's ViT-L/14 at
    224 px.

    Attributes:
        image_size: side of the square picture [px].
        patch_size: side of a patch [px].
        embed_dim: width of a token.
        depth: number of blocks; the last is not run, as it is the one before it whose tokens are read.
        num_heads: attention heads.
        mlp_dim: width of the feed-forward layers.
        class_token: whether there is one.
        num_registers: tokens beside it that stand for no patch.
        layer_scale: whether what a block adds is scaled by learned factors.
        attention_pool: whether the checkpoint has SigLIP's pooling, which is not run either.
        mean: of every colour, in [0, 1].
        std: of every colour.
    """

    image_size: int = 224
    patch_size: int = 14
    embed_dim: int = 1024
    depth: int = 24
    num_heads: int = 16
    mlp_dim: int = 4096
    class_token: bool = True
    num_registers: int = 4
    layer_scale: bool = True
    attention_pool: bool = False
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)

    def __post_init__(self) -> None:
        if self.image_size % self.patch_size:
            raise ValueError(f"image_size={self.image_size} is no multiple of patch_size={self.patch_size}")
        if self.embed_dim % self.num_heads:
            raise ValueError(f"embed_dim={self.embed_dim} is no multiple of num_heads={self.num_heads}")
        if self.depth < 2:
            raise ValueError(f"depth={self.depth} has no block before the last; give at least 2")

    @property
    def num_patches(self) -> int:
        """Patches of a picture."""
        return (self.image_size // self.patch_size) ** 2


DINOV2_LARGE = PrismaticViTConfig()
SIGLIP_SO400M = PrismaticViTConfig(
    embed_dim=1152,
    depth=27,
    mlp_dim=4304,
    class_token=False,
    num_registers=0,
    layer_scale=False,
    attention_pool=True,
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
)
FEATURIZERS = {
    "vit_large_patch14_reg4_dinov2.lvd142m": DINOV2_LARGE,
    "vit_so400m_patch14_siglip_224": SIGLIP_SO400M,
}
"""timm's name to sizes."""


class _LayerScale(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.scale_factor = nn.Parameter(torch.full((dim,), 1e-5))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale_factor


class _Mlp(nn.Module):
    def __init__(self, dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden_dim)
        self.fc2 = nn.Linear(hidden_dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class _Attention(nn.Module):
    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.qkv(x).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        return self.proj(attend(query, key, value, causal=False).transpose(1, 2).flatten(2))


class _Block(nn.Module):
    def __init__(self, config: PrismaticViTConfig) -> None:
        super().__init__()
        dim = config.embed_dim
        self.norm1 = nn.LayerNorm(dim, eps=LAYER_NORM_EPSILON)
        self.attn = _Attention(dim, config.num_heads)
        self.ls1 = _LayerScale(dim) if config.layer_scale else nn.Identity()
        self.norm2 = nn.LayerNorm(dim, eps=LAYER_NORM_EPSILON)
        self.mlp = _Mlp(dim, config.mlp_dim)
        self.ls2 = _LayerScale(dim) if config.layer_scale else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.ls1(self.attn(self.norm1(x)))
        return x + self.ls2(self.mlp(self.norm2(x)))


class _PatchEmbedding(nn.Module):
    def __init__(self, dim: int, patch_size: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, dim, patch_size, patch_size)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x).flatten(2).transpose(1, 2)


class _UnusedAttentionPool(nn.Module):
    """Holds the weights of SigLIP's pooling, so that checkpoints load and are written whole."""

    def __init__(self, config: PrismaticViTConfig) -> None:
        super().__init__()
        dim = config.embed_dim
        self.latent = nn.Parameter(torch.zeros(1, 1, dim))
        self.q = nn.Linear(dim, dim)
        self.kv = nn.Linear(dim, 2 * dim)
        self.proj = nn.Linear(dim, dim)
        self.norm = nn.LayerNorm(dim, eps=LAYER_NORM_EPSILON)
        self.mlp = _Mlp(dim, config.mlp_dim)


def _tokens(count: int, dim: int) -> nn.Parameter:
    return nn.Parameter(0.02 * torch.randn(1, count, dim))


class PrismaticViT(Recompute):
    """A vision transformer whose patch tokens are read before its last block, without a norm.

    The checkpoint's last block, final norm and pooling are there, but never run nor trained.
    """

    def __init__(self, config: PrismaticViTConfig) -> None:
        super().__init__()
        self.config = config
        dim = config.embed_dim
        self.cls_token = _tokens(1, dim) if config.class_token else None
        self.reg_token = _tokens(config.num_registers, dim) if config.num_registers else None
        self.pos_embed = _tokens(config.num_patches, dim)
        self.patch_embed = _PatchEmbedding(dim, config.patch_size)
        self.blocks = nn.ModuleList(_Block(config) for _ in range(config.depth))
        self.norm = nn.LayerNorm(dim, eps=LAYER_NORM_EPSILON)
        self.attn_pool = _UnusedAttentionPool(config) if config.attention_pool else None
        for unused in (self.blocks[-1], self.norm, self.attn_pool):
            if unused is not None:
                unused.requires_grad_(False)

    @property
    def used_blocks(self) -> list[nn.Module]:
        """All but the last."""
        return list(self.blocks)[:-1]

    def forward(self, pixels: Tensor) -> Tensor:
        """Return patch tokens (B, N, D) of pictures (B, 3, S, S) in [0, 1]; S is `image_size`."""
        mean, std = (torch.tensor(x, device=pixels.device)[:, None, None] for x in (self.config.mean, self.config.std))
        x = self.patch_embed(((pixels - mean) / std).to(self.pos_embed.dtype)) + self.pos_embed
        before = [token.expand(len(x), -1, -1) for token in (self.cls_token, self.reg_token) if token is not None]
        x = torch.cat([*before, x], dim=1)
        for block in self.used_blocks:
            x = self.run_layer(block, x)
        return x[:, -self.config.num_patches :]


class PrismaticVision(nn.Module):
    """Patch tokens of both transformers, joined in their last dimension."""

    def __init__(self, featurizer: PrismaticViTConfig, fused_featurizer: PrismaticViTConfig) -> None:
        super().__init__()
        if featurizer.num_patches != fused_featurizer.num_patches:
            raise ValueError(
                f"the featurizers see {featurizer.num_patches} and {fused_featurizer.num_patches} patches; "
                "give them the same number"
            )
        self.featurizer = PrismaticViT(featurizer)
        self.fused_featurizer = PrismaticViT(fused_featurizer)
        self.num_patches = featurizer.num_patches
        self.embed_dim = featurizer.embed_dim + fused_featurizer.embed_dim

    def forward(self, images: Tensor) -> Tensor:
        """Return tokens (B, N, embed_dim) of pictures (B, 3, H, W), uint8 [0, 255] or float [0, 1], stretched to
        squares.
        """
        pixels = unit_pixels(images)
        towers = (self.featurizer, self.fused_featurizer)
        return torch.cat([tower(resize_square(pixels, tower.config.image_size, "stretch")) for tower in towers], dim=-1)
