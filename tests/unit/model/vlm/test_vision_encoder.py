"""Vision encoders by folder, by architecture, from scratch and of a user's own."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
import torch
from tests.tiny_models import MEAN, STD, VISION_KINDS, VISION_SIZES, pictures, save_vision, smooth_pictures
from torch import nn

from tempovla.model.vlm import vision_encoder
from tempovla.model.vlm.vision_encoder import ENCODER_REGISTRY, VisionEncoder, VisionEncoderConfig
from tempovla.timeline.config import config_from_json, config_to_json


def hidden_states(folder: str, pixels: torch.Tensor, **options: Any) -> tuple[torch.Tensor, ...]:
    """Of the saved model's visual half, by transformers, and its output last."""
    from transformers import AutoModel

    model = AutoModel.from_pretrained(folder).eval()
    with torch.no_grad():
        output = getattr(model, "vision_model", model)(pixel_values=pixels, output_hidden_states=True, **options)
    return (*output.hidden_states[:-1], output.last_hidden_state)


def processed(folder: str, images: torch.Tensor) -> torch.Tensor:
    from transformers import AutoImageProcessor

    processor = AutoImageProcessor.from_pretrained(folder)
    return processor([image.numpy() for image in images], return_tensors="pt", input_data_format="channels_first")[
        "pixel_values"
    ]


@pytest.mark.parametrize("kind", VISION_KINDS)
def test_tokens_are_those_of_transformers_on_its_own_image_processors_pictures(tmp_path, kind):
    folder = save_vision(tmp_path, kind)
    encoder = VisionEncoder(VisionEncoderConfig(folder))
    images = pictures(2, 3, 24, 24)
    tokens = encoder(images)
    assert tokens.shape == (2, encoder.num_tokens, encoder.hidden_dim) == (2, 9, 16)
    expected = hidden_states(folder, processed(folder, images))[-1][:, -9:]
    torch.testing.assert_close(tokens, expected, rtol=0, atol=1e-5)


def test_width_and_freezing_may_follow_the_name(tmp_path):
    encoder = VisionEncoder(save_vision(tmp_path), 12, False)
    assert encoder(pictures(2, 3, 24, 24)).shape == (2, 9, 12)
    assert (encoder.config.output_dim, encoder.config.freeze) == (12, False)


@pytest.mark.parametrize(("kind", "policy"), [("siglip", "stretch"), ("clip", "crop")])
def test_pictures_of_another_shape_give_nearly_the_same_tokens_as_by_the_image_processor(tmp_path, kind, policy):
    folder = save_vision(tmp_path, kind)
    images = smooth_pictures(50, 70, count=2)
    tokens = VisionEncoder(VisionEncoderConfig(folder, resize=policy))(images)
    expected = hidden_states(folder, processed(folder, images))[-1][:, -9:]
    torch.testing.assert_close(tokens, expected, rtol=0, atol=0.06)
    assert expected.std() > 0.3


@pytest.mark.parametrize("kind", VISION_KINDS)
def test_an_inner_layer_can_be_read(tmp_path, kind):
    folder = save_vision(tmp_path, kind)
    pixels = processed(folder, pictures(2, 3, 24, 24))
    for layer in (-2, -3):
        tokens = VisionEncoder(VisionEncoderConfig(folder, layer=layer))(pictures(2, 3, 24, 24))
        torch.testing.assert_close(tokens, hidden_states(folder, pixels)[layer][:, -9:], rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match=r"layer=-4 of vision model .* is not in \[-3, -1\]; count from the last"):
        VisionEncoder(VisionEncoderConfig(folder, layer=-4))


@pytest.mark.parametrize("kind", VISION_KINDS)
def test_another_size_interpolates_positions(tmp_path, kind):
    folder = save_vision(tmp_path, kind)
    encoder = VisionEncoder(VisionEncoderConfig(folder, image_size=40))
    images = pictures(1, 3, 40, 40)
    pixels = (images / 255.0 - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
    options = {} if "dinov2" in kind else {"interpolate_pos_encoding": True}
    torch.testing.assert_close(
        encoder(images), hidden_states(folder, pixels, **options)[-1][:, -25:], rtol=0, atol=1e-5
    )


def test_all_cameras_go_through_the_encoder_in_one_call_and_give_what_each_gives_alone(tmp_path):
    encoder = VisionEncoder(VisionEncoderConfig(save_vision(tmp_path)))
    calls = []
    encoder.encoder.register_forward_hook(lambda module, inputs, output: calls.append(len(inputs[0])))
    images = pictures(2, 3, 3, 30, 40)
    together = encoder(images)
    assert calls == [6]
    assert together.shape == (2, 3, 9, 16)
    for camera in range(3):
        torch.testing.assert_close(together[:, camera], encoder(images[:, camera]), rtol=0, atol=1e-5)


def test_a_frozen_encoder_learns_nothing_and_stays_in_evaluation_mode(tmp_path):
    encoder = VisionEncoder(VisionEncoderConfig(save_vision(tmp_path))).train()
    assert encoder.training
    assert not any(module.training for module in encoder.encoder.modules())
    assert not any(weight.requires_grad for weight in encoder.parameters())
    assert not encoder(pictures(1, 3, 24, 24)).requires_grad


@pytest.mark.parametrize("kind", VISION_KINDS)
def test_every_weight_that_may_learn_gets_a_gradient(tmp_path, kind):
    encoder = VisionEncoder(VisionEncoderConfig(save_vision(tmp_path, kind), freeze=False, output_dim=7))
    assert all(module.training for module in encoder.modules())
    encoder(pictures(1, 3, 24, 24)).square().sum().backward()
    learning = {name: weight.grad for name, weight in encoder.named_parameters() if weight.requires_grad}
    assert len(learning) > 30
    assert all(gradient is not None for gradient in learning.values())
    still = {name for name, weight in encoder.named_parameters() if not weight.requires_grad}
    assert {name.split(".")[-2] for name in still} <= {
        "post_layernorm",
        "embeddings",
    }  # CLIP's pooler, DINO's mask token


def test_the_width_of_a_pretrained_encoder_is_changed_by_a_layer_that_learns(tmp_path):
    encoder = VisionEncoder(VisionEncoderConfig(save_vision(tmp_path), output_dim=5))
    assert encoder.hidden_dim == 5
    encoder(pictures(1, 3, 24, 24)).sum().backward()
    assert [name for name, weight in encoder.named_parameters() if weight.grad is not None] == [
        "projection.weight",
        "projection.bias",
    ]


@pytest.mark.parametrize("kind", VISION_KINDS)
def test_the_resolved_config_survives_json_and_builds_the_same_encoder_without_its_folder(tmp_path, kind):
    encoder = VisionEncoder(VisionEncoderConfig(save_vision(tmp_path / "model", kind), resize="pad"))
    data = json.loads(json.dumps(config_to_json(encoder.resolved_config)))
    (tmp_path / "model").rename(tmp_path / "away")
    config = config_from_json(VisionEncoderConfig, data)
    assert (config.image_size, config.mean, config.std, config.freeze) == (24, MEAN, STD, True)
    again = VisionEncoder(config)
    again.load_state_dict(encoder.state_dict())
    images = pictures(2, 3, 31, 45)
    assert torch.equal(again(images), encoder(images))
    assert again.resolved_config == config


def test_an_architecture_builds_fresh_weights_that_learn():
    architecture = {"model_type": "siglip_vision_model", **VISION_SIZES, "image_size": 16, "patch_size": 8}
    encoder = VisionEncoder(VisionEncoderConfig("mine", architecture=architecture))
    assert encoder(pictures(2, 3, 16, 16)).shape == (2, 4, 16)
    assert all(weight.requires_grad for weight in encoder.encoder.model.encoder.parameters())
    assert encoder.resolved_config.mean == (0.5, 0.5, 0.5)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"mean": (0.5, 0.5)}, r"vision.mean=\[0.5, 0.5\] must be three numbers, one of each colour"),
        ({"std": (0.5, 0.0, 0.5)}, r"vision.std=\[0.5, 0.0, 0.5\] must be three numbers above 0, one of each colour"),
        ({"mean": (0.5, 0.5, float("nan"))}, "vision.mean=.*nan.* must be three numbers"),
    ],
)
def test_scales_that_no_picture_has_are_refused(options, told):
    with pytest.raises(ValueError, match=told):
        VisionEncoderConfig("conv", **options)


@pytest.mark.parametrize("name", ["conv", "patch"])
def test_encoders_from_scratch_see_pixels_from_minus_one_to_one_and_learn(name):
    encoder = VisionEncoder(VisionEncoderConfig(name, image_size=32, patch_size=8, output_dim=12))
    assert (encoder.num_tokens, encoder.hidden_dim, encoder.resolved_config.freeze) == (16, 12, False)
    images = pictures(2, 3, 3, 32, 32)
    tokens = encoder(images)
    expected = encoder.encoder.embed(images.flatten(0, 1) / 127.5 - 1).unflatten(0, (2, 3))
    torch.testing.assert_close(tokens, expected, rtol=0, atol=1e-5)
    tokens.square().sum().backward()
    assert all(weight.grad is not None for weight in encoder.parameters())
    with pytest.raises(ValueError, match=f"model_name={name} .*freeze"):
        VisionEncoderConfig(name, freeze=True)


def test_an_encoder_of_your_own_is_used_by_its_name(monkeypatch):
    class Colours(nn.Module):
        def __init__(self, config: VisionEncoderConfig) -> None:
            super().__init__()
            self.linear = nn.Linear(3, 6)

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            return self.linear(pixels.flatten(2).transpose(1, 2))

    monkeypatch.setitem(ENCODER_REGISTRY, "my_encoder", Colours)
    encoder = VisionEncoder(VisionEncoderConfig(model_name="my_encoder", image_size=4))
    assert (encoder.num_tokens, encoder.hidden_dim) == (16, 6)
    red = torch.zeros(1, 3, 4, 4)
    red[:, 0] = 1
    expected = encoder.encoder.linear(torch.tensor([1.0, -1.0, -1.0]))
    torch.testing.assert_close(encoder(red)[0, 5], expected)
    assert not VisionEncoder(VisionEncoderConfig("my_encoder", image_size=4, freeze=True))(red).requires_grad


def test_short_names_are_those_of_the_hub(monkeypatch, tmp_path):
    folder = save_vision(tmp_path)
    monkeypatch.setitem(vision_encoder.VISION_MODELS, "siglip-base", folder)
    assert VisionEncoder(VisionEncoderConfig()).num_tokens == 9


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"resize": "squash"}, "vision.resize='squash' is unknown; choose from stretch, pad, crop"),
        ({"image_size": 0}, "vision.image_size=0 must be at least 1"),
    ],
)
def test_wrong_settings_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        replace(VisionEncoderConfig("conv"), **change)


def test_images_of_another_shape_are_refused():
    encoder = VisionEncoder(VisionEncoderConfig("patch", image_size=16))
    with pytest.raises(ValueError, match=r"images \(2, 16, 16, 3\) are neither \(B, 3, H, W\)"):
        encoder(pictures(2, 16, 16, 3))
