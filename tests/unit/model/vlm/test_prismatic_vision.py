"""The fused vision transformers against transformers' own DINOv2 and SigLIP."""

from dataclasses import replace

import pytest
import torch
from tests.openvla_tiny import DINO, SIGLIP
from torch import nn
from transformers import Dinov2WithRegistersConfig, Dinov2WithRegistersModel, SiglipVisionConfig, SiglipVisionModel

from tempovla.model.vlm.preprocess import resize_square
from tempovla.model.vlm.prismatic_vision import PrismaticVision, PrismaticViT, PrismaticViTConfig

IMAGES = torch.rand(2, 3, 28, 28, generator=torch.Generator().manual_seed(0))


def randomized(module: nn.Module) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        for weight in module.parameters():
            nn.init.normal_(weight, std=0.3)
    return module.eval()


def copy_block(block: nn.Module, norms: tuple[nn.Module, nn.Module], qkv: list[nn.Linear], out: nn.Linear, mlp) -> None:
    """Put our weights into the layers of a transformers block."""
    own = (block.norm1, block.norm2, block.attn.proj, *block.mlp.children())
    for ours, theirs in zip(own, (*norms, out, *mlp), strict=True):
        theirs.load_state_dict(ours.state_dict())
    weights, biases = block.attn.qkv.weight.chunk(3), block.attn.qkv.bias.chunk(3)
    for layer, weight, bias in zip(qkv, weights, biases, strict=True):
        layer.load_state_dict({"weight": weight, "bias": bias})


def scaled(images: torch.Tensor, config: PrismaticViTConfig) -> torch.Tensor:
    return (images - torch.tensor(config.mean)[:, None, None]) / torch.tensor(config.std)[:, None, None]


@torch.no_grad()
def test_dinov2_gives_the_patch_tokens_that_transformers_gives_before_its_last_block():
    config = replace(DINO, mlp_dim=32)
    ours = randomized(PrismaticViT(config))
    sizes = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "image_size": 28, "patch_size": 14}
    theirs = Dinov2WithRegistersModel(Dinov2WithRegistersConfig(**sizes, mlp_ratio=2, num_register_tokens=4)).eval()
    embeddings = theirs.embeddings
    embeddings.cls_token.copy_(ours.cls_token)
    embeddings.register_tokens.copy_(ours.reg_token)
    # Transformers adds a position to the class token, timm's variant with registers does not.
    embeddings.position_embeddings.copy_(torch.cat([torch.zeros(1, 1, 16), ours.pos_embed], dim=1))
    embeddings.patch_embeddings.projection.load_state_dict(ours.patch_embed.proj.state_dict())
    for block, layer in zip(ours.blocks, theirs.encoder.layer, strict=True):
        qkv = [layer.attention.q_proj, layer.attention.k_proj, layer.attention.v_proj]
        copy_block(block, (layer.norm1, layer.norm2), qkv, layer.attention.o_proj, (layer.mlp.fc1, layer.mlp.fc2))
        layer.layer_scale1.lambda1.copy_(block.ls1.scale_factor)
        layer.layer_scale2.lambda1.copy_(block.ls2.scale_factor)
    expected = theirs(scaled(IMAGES, config), output_hidden_states=True).hidden_states[-2][:, 5:]
    assert torch.allclose(ours(IMAGES), expected, atol=1e-5)


@torch.no_grad()
def test_siglip_gives_the_patch_tokens_that_transformers_gives_before_its_last_block():
    ours = randomized(PrismaticViT(SIGLIP))
    sizes = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "image_size": 28, "patch_size": 14}
    theirs = SiglipVisionModel(SiglipVisionConfig(**sizes, intermediate_size=24, hidden_act="gelu")).eval()
    inner = getattr(theirs, "vision_model", theirs)
    inner.embeddings.position_embedding.weight.copy_(ours.pos_embed[0])
    inner.embeddings.patch_embedding.load_state_dict(ours.patch_embed.proj.state_dict())
    for block, layer in zip(ours.blocks, inner.encoder.layers, strict=True):
        attention = layer.self_attn
        qkv = [attention.q_proj, attention.k_proj, attention.v_proj]
        norms = (layer.layer_norm1, layer.layer_norm2)
        copy_block(block, norms, qkv, attention.out_proj, (layer.mlp.fc1, layer.mlp.fc2))
    expected = theirs(scaled(IMAGES, SIGLIP), output_hidden_states=True).hidden_states[-2]
    assert torch.allclose(ours(IMAGES), expected, atol=1e-5)


def test_tokens_of_both_are_joined_and_bytes_are_the_same_as_fractions():
    vision = randomized(PrismaticVision(DINO, replace(SIGLIP, embed_dim=8)))
    images = (IMAGES * 255).round()
    tokens = vision(images.to(torch.uint8))
    assert tokens.shape == (2, 4, 24)
    assert torch.equal(tokens, vision(images / 255))
    assert torch.equal(tokens[..., :16], vision.featurizer(images / 255))


def test_what_is_not_run_does_not_learn():
    vision = randomized(PrismaticVision(DINO, SIGLIP))
    vision(IMAGES).square().sum().backward()
    assert [name for name, w in vision.named_parameters() if w.requires_grad and w.grad is None] == []
    still = {name.split(".")[1] for name, w in vision.named_parameters() if not w.requires_grad}
    assert still == {"blocks", "norm", "attn_pool"}
    assert [n for n, w in vision.named_parameters() if "blocks" in n and not w.requires_grad and ".2." not in n] == []


def test_pictures_of_another_shape_are_stretched():
    vision = randomized(PrismaticVision(DINO, SIGLIP))
    wide = torch.rand(1, 3, 20, 50, generator=torch.Generator().manual_seed(2))
    assert torch.equal(vision(wide), vision(resize_square(wide, 28, "stretch")))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image_size": 30}, "image_size=30 is no multiple of patch_size=14"),
        ({"num_heads": 3}, "embed_dim=16 is no multiple of num_heads=3"),
        ({"depth": 1}, "depth=1 has no block before the last"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        replace(DINO, **options)


def test_featurizers_of_other_grids_are_refused():
    with pytest.raises(ValueError, match="4 and 16 patches"):
        PrismaticVision(DINO, replace(SIGLIP, image_size=56))
