"""Image tokens of pretrained vision models, made on the spot and saved as the hub has them."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.contract.samples import random_sample
from tests.tiny import default_statevla_config

from tempovla.model.vla.registry import load_weights
from tempovla.model.vla.statevla import StateVLA
from tempovla.model.vla.statevla_config import StateVLAConfig
from tempovla.model.vlm.image_tokenizer import build_image_tokenizer
from tempovla.model.vlm.pretrained_vision import FrozenVision, PretrainedImageTokenizer
from tempovla.objective import Objective

SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
MEAN, STD = [0.4, 0.5, 0.6], [0.2, 0.25, 0.3]


def build_clip() -> Any:
    from transformers import CLIPConfig, CLIPModel

    text = {**SMALL, "vocab_size": 9, "projection_dim": 12}
    vision = {**SMALL, "image_size": 24, "patch_size": 8, "projection_dim": 12}
    return CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=12)), 24


def build_siglip() -> Any:
    from transformers import SiglipConfig, SiglipModel

    vision = {**SMALL, "image_size": 24, "patch_size": 8}
    return SiglipModel(SiglipConfig(text_config={**SMALL, "vocab_size": 9}, vision_config=vision)), 24


def build_dinov2() -> Any:
    """Made for 40 px, and used at 24, as its processor says."""
    from transformers import Dinov2Config, Dinov2Model

    return Dinov2Model(Dinov2Config(**{**SMALL, "mlp_ratio": 2}, image_size=40, patch_size=8)), 24


def build_dinov2_with_registers() -> Any:
    from transformers import Dinov2WithRegistersConfig, Dinov2WithRegistersModel

    sizes = {**SMALL, "mlp_ratio": 2, "num_register_tokens": 3}
    return Dinov2WithRegistersModel(Dinov2WithRegistersConfig(**sizes, image_size=24, patch_size=8)), 24


BUILDERS = {
    "clip": build_clip,
    "siglip": build_siglip,
    "dinov2": build_dinov2,
    "dinov2_with_registers": build_dinov2_with_registers,
}


def save(folder: Path, kind: str = "dinov2", seed: int = 0) -> str:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model, size = BUILDERS[kind]()
    model.eval().save_pretrained(folder)
    sides = {"height": size, "width": size}
    processor = {"image_mean": MEAN, "image_std": STD, "crop_size": sides, "size": {"shortest_edge": size + 4}}
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return str(folder)


def pictures(count: int = 2, size: int = 24) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize("kind", BUILDERS)
def test_patch_tokens_are_those_of_the_saved_model_on_pictures_scaled_as_it_was_trained(tmp_path, kind):
    vision = FrozenVision(save(tmp_path, kind))
    tokens = vision(pictures())
    assert tokens.shape == (2, 9, 16)
    model, _ = BUILDERS[kind]()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model, _ = BUILDERS[kind]()
    scaled = (pictures() / 255.0 - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
    visual = getattr(model.eval(), "vision_model", model)
    with torch.no_grad():
        expected = visual(pixel_values=scaled).last_hidden_state[:, -9:]
    torch.testing.assert_close(tokens, expected, rtol=0, atol=1e-5)


def test_pictures_of_another_size_are_resized_to_the_models(tmp_path):
    vision = FrozenVision(save(tmp_path))
    grey = torch.full((1, 3, 10, 10), 128, dtype=torch.uint8)
    torch.testing.assert_close(vision(grey), vision(torch.full((1, 3, 24, 24), 128, dtype=torch.uint8)))


def config(folder: str) -> StateVLAConfig:
    vision = {"image_size": 24, "image_tokenizer": "pretrained", "vision_model": folder}
    return default_statevla_config(cameras=("observation.images.front",), lang_emb_dim=5, **vision)


SHAPES = {"observation.state": (3,), "observation.images.front": (3, 24, 24), "action": (4,), "language": (5,)}


def test_the_vision_model_is_shared_and_frozen_and_in_no_bundle(tmp_path):
    policy = StateVLA(config(save(tmp_path)), 1).train()
    online, target = policy.encoder.tokenizer.image, policy.target_encoder.module.tokenizer.image
    assert online.vision is target.vision
    assert copy.deepcopy(policy).encoder.tokenizer.image.vision is online.vision
    assert not online.vision.model.training
    assert not any(weight.requires_grad for weight in online.vision.model.parameters())
    names = [name for name in policy.state_dict() if "tokenizer.image" in name]
    parts = ("encoder", "target_encoder.module")
    assert sorted(names) == sorted(
        f"{part}.tokenizer.image.{name}"
        for part in parts
        for name in ("fingerprint", "projection.bias", "projection.weight")
    )


@pytest.mark.parametrize("phase", [1, 2])
def test_a_policy_trains_on_top_of_it_and_leaves_it_as_it_is(tmp_path, phase):
    policy = StateVLA(replace(config(save(tmp_path)), freeze_encoder=False), phase)
    torch.nn.init.normal_(policy.flow_policy.velocity_out.weight)
    vision = policy.encoder.tokenizer.image.vision
    before = {name: value.clone() for name, value in vision.model.state_dict().items()}
    sample = random_sample(policy.windows(), SHAPES, rows=3)
    Objective()(policy(sample)).total.backward()
    policy.after_step(1)
    assert policy.encoder.tokenizer.image.projection.weight.grad.abs().sum() > 0
    assert all(torch.equal(value, before[name]) for name, value in vision.model.state_dict().items())
    assert policy.encoder.tokenizer.num_tokens == 3 + 9


def test_weights_go_with_their_vision_model_alone(tmp_path):
    policy = StateVLA(config(save(tmp_path / "one")))
    weights = policy.state_dict()
    save(tmp_path / "same")
    save(tmp_path / "other", seed=1)
    load_weights(StateVLA(config(str(tmp_path / "same"))), weights, "bundle")
    with pytest.raises(ValueError, match=r"other' is not the one of these weights; put that one in its place"):
        load_weights(StateVLA(config(str(tmp_path / "other"))), weights, "bundle")


def test_a_vision_model_that_is_not_whole_or_not_there_is_refused_in_one_line(tmp_path):
    from safetensors.torch import load_file, save_file

    with pytest.raises(ValueError, match=r"config\.json: no such file; give the folder of a vision model as") as error:
        FrozenVision(str(tmp_path))
    assert "\n" not in str(error.value)
    name = save(tmp_path / "model")
    (tmp_path / "model" / "preprocessor_config.json").rename(tmp_path / "kept.json")
    with pytest.raises(ValueError, match="with its image processor"):
        FrozenVision(name)
    (tmp_path / "kept.json").rename(tmp_path / "model" / "preprocessor_config.json")
    weights = load_file(tmp_path / "model" / "model.safetensors")
    del weights["encoder.layer.1.mlp.fc1.weight"]
    save_file(weights, tmp_path / "model" / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"lacks weights such as 'encoder.layer.1.mlp.fc1.weight'; give a whole"):
        FrozenVision(name)


def test_a_model_without_a_token_a_patch_is_refused(tmp_path):
    from transformers import ResNetConfig, ResNetModel

    ResNetModel(ResNetConfig(embedding_size=8, hidden_sizes=[8, 8], depths=[1, 1])).save_pretrained(tmp_path)
    processor = {"image_mean": MEAN, "image_std": STD, "size": 24}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(processor))
    with pytest.raises(ValueError, match="does not give a token for every patch; give a ViT"):
        FrozenVision(str(tmp_path))


def test_the_tokenizer_is_chosen_by_name_and_a_vision_model_belongs_to_one_of_them(tmp_path):
    assert isinstance(build_image_tokenizer("pretrained", 24, 8, 8, save(tmp_path)), PretrainedImageTokenizer)
    with pytest.raises(ValueError, match=r"image_tokenizer=pretrained needs model.vision_model; name a model"):
        build_image_tokenizer("pretrained", 24, 8, 8)
    with pytest.raises(ValueError, match=r"vision_model='x' needs model.image_tokenizer=pretrained; set it"):
        build_image_tokenizer("patch", 24, 8, 8, "x")
    with pytest.raises(ValueError, match=r"image_tokenizer='vit' is unknown; choose from \['patch', 'conv', 'pretr"):
        build_image_tokenizer("vit", 24, 8, 8)
