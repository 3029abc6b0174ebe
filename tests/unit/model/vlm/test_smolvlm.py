"""SmolVLM as a backbone, beside transformers' own."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests import smolvla_tiny
from tests.tiny_models import pictures, save_language
from torch import Tensor

from tempovla.model.vlm.smolvlm import PrefixCache, SmolVLMBackbone, fit_into_square
from tempovla.model.vlm.smolvlm_config import SmolVLMBackboneConfig


@pytest.fixture(scope="module", params=["smolvlm", "idefics3"])
def kind(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def folder(kind, tmp_path_factory) -> str:
    return smolvla_tiny.save_smolvlm(tmp_path_factory.mktemp(kind), kind)


def load(name: str, *, freeze: bool = False, hidden_states: bool = True, **fields) -> SmolVLMBackbone:
    config = SmolVLMBackboneConfig(name, **{"num_layers": 2, "dtype": "float32", **fields})
    return SmolVLMBackbone(config, freeze=freeze, hidden_states=hidden_states).eval()


def all_valid(tokens: Tensor) -> Tensor:
    return torch.ones(tokens.shape[:2], dtype=torch.bool)


def tokens(length: int = 7) -> Tensor:
    return torch.randn(2, length, 16, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def test_picture_tokens_are_those_of_transformers(folder, kind):
    backbone, whole = load(folder), smolvla_tiny.smolvlm(kind)
    seen = [pictures(3, 3, 16, 16), pictures(3, 3, 16, 16, seed=1)]
    given, valid = backbone.embed_pictures(seen, torch.ones(3, 2, dtype=torch.bool))
    pixels = torch.stack(seen, dim=1).float() / 127.5 - 1
    expected = torch.stack(whole.model.get_image_features(pixel_values=pixels).pooler_output)
    assert given.shape == (3, 2 * 4, 16)
    assert valid.all()
    torch.testing.assert_close(given, expected.reshape(given.shape))


@torch.no_grad()
def test_one_token_at_a_time_is_the_causal_language_model(folder, kind):
    backbone, whole = load(folder), smolvla_tiny.smolvlm(kind)
    text = whole.model.text_model
    output = text(inputs_embeds=tokens(), output_hidden_states=True, use_cache=True)
    cache, given = None, []
    for token in tokens().split(1, dim=1):
        hidden, cache = backbone.extend(token, all_valid(token), cache)
        given.append(hidden)
    assert len(text.layers) == 3  # of which two are used
    torch.testing.assert_close(torch.cat(given, dim=1), text.norm(output.hidden_states[2]), atol=1e-5, rtol=1e-5)
    assert isinstance(cache, PrefixCache)
    for index, (key, value) in enumerate(cache.layers):
        torch.testing.assert_close(key, output.past_key_values.layers[index].keys)
        torch.testing.assert_close(value, output.past_key_values.layers[index].values)


@torch.no_grad()
def test_tokens_of_one_block_see_each_other_and_what_was_before(folder, kind):
    backbone, text = load(folder, num_layers=3), smolvla_tiny.smolvlm(kind).model.text_model
    block = torch.tensor([0, 0, 0, 0, 1, 1, 2])
    mask = (block[:, None] >= block)[None, None].expand(2, 1, -1, -1)
    scores = torch.zeros(mask.shape).masked_fill(~mask, torch.finfo(torch.float32).min)
    expected = text(inputs_embeds=tokens(), attention_mask=scores, use_cache=False).last_hidden_state
    cache, given = None, []
    for part in tokens().split([4, 2, 1], dim=1):
        hidden, cache = backbone.extend(part, all_valid(part), cache)
        given.append(hidden)
    torch.testing.assert_close(torch.cat(given, dim=1), expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_tokens_that_are_not_valid_change_nothing_that_is():
    backbone = smolvla_tiny.tiny_policy(cloning_weight=1.0).vlm
    valid = torch.tensor([[True, False, True, True, False, True, True]] * 2)
    hidden, cache = backbone.extend(tokens(), valid)
    fewer = tokens()[:, valid[0]]
    expected, short = backbone.extend(fewer, all_valid(fewer))
    torch.testing.assert_close(hidden[:, valid[0]], expected)
    torch.testing.assert_close(cache.layers[1][0][:, :, valid[0]], short.layers[1][0])
    assert torch.isfinite(hidden).all()


def test_all_cameras_are_seen_in_one_call(monkeypatch):
    backbone = smolvla_tiny.tiny_policy().vlm
    calls, see = [], backbone._see
    monkeypatch.setattr(backbone, "_see", lambda pixels: calls.append(tuple(pixels.shape)) or see(pixels))
    given, _ = backbone.embed_pictures([pictures(2, 3, 30, 40), pictures(2, 3, 8, 8)], torch.ones(2, 2).bool())
    assert calls == [(4, 3, 16, 16)]
    assert given.shape == (2, 8, 16)


@torch.no_grad()
def test_a_picture_that_is_not_there_may_be_anything():
    backbone = smolvla_tiny.tiny_policy().vlm
    seen = torch.tensor([[True], [False]])
    first, second = torch.rand(2, 3, 16, 16), torch.rand(2, 3, 16, 16)
    first[1], second[0] = float("nan"), first[0]
    given, valid = backbone.embed_pictures([first], seen)
    assert torch.equal(given, backbone.embed_pictures([second], seen)[0])
    assert valid.tolist() == [[True] * 4, [False] * 4]


def test_pictures_are_fitted_in_at_the_lower_right_with_black_around():
    backbone = smolvla_tiny.tiny_policy().vlm
    pixels = backbone.preprocess(torch.full((1, 3, 20, 40), 255, dtype=torch.uint8))
    assert pixels.shape == (1, 3, 16, 16)
    assert (pixels[:, :, :8] == -1).all()
    assert (pixels[:, :, 8:] == 1).all()
    assert fit_into_square(torch.zeros(1, 3, 640, 480), 512).shape == (1, 3, 512, 512)
    assert fit_into_square(torch.zeros(1, 3, 1, 999), 16).shape == (1, 3, 16, 16)
    stretched = smolvla_tiny.tiny_policy(vlm={"resize": "stretch"}).vlm
    assert (stretched.preprocess(torch.full((1, 3, 20, 40), 255, dtype=torch.uint8)) > 0.999).all()


@torch.no_grad()
def test_embeddings_are_scaled_and_positions_have_another_base_if_asked(folder):
    plain, other = load(folder), load(folder, scale_embeddings=True, rope_theta=77.0)
    ids, seen = torch.arange(6).expand(2, -1), torch.ones(2, 6, dtype=torch.bool)
    torch.testing.assert_close(other.embed_words(ids, seen), 4.0 * plain.embed_words(ids, seen))
    picture, one = [pictures(2, 3, 16, 16)], torch.ones(2, 1, dtype=torch.bool)
    torch.testing.assert_close(other.embed_pictures(picture, one)[0], 4.0 * plain.embed_pictures(picture, one)[0])
    assert plain.text_model.config.rope_parameters["rope_theta"] == 500.0
    frequency = other.text_model.rotary_emb.inv_freq
    torch.testing.assert_close(frequency, torch.tensor([1.0, 77.0**-0.5]))


def test_what_no_key_needs_is_not_there_and_what_is_frozen_is_in_bfloat16(folder):
    backbone, whole = load(folder, hidden_states=False, freeze=True, dtype=None), load(folder)
    missing = set(whole.state_dict()) - set(backbone.state_dict())
    assert "text_model.norm.weight" in missing
    assert {name.split(".")[3] for name in missing - {"text_model.norm.weight"}} == {
        "self_attn",
        "mlp",
        "post_attention_layernorm",
    }
    assert all(".layers.1." in name for name in missing - {"text_model.norm.weight"})
    assert {weight.dtype for weight in backbone.parameters()} == {torch.bfloat16}
    assert backbone.config.dtype == "bfloat16"
    given, _ = backbone.embed_pictures([pictures(1, 3, 16, 16)], torch.ones(1, 1).bool())
    assert backbone.extend(given, all_valid(given))[1].layers[1][0].dtype == torch.bfloat16
    assert {weight.dtype for weight in load(folder, dtype=None).parameters()} == {torch.float32}


@torch.no_grad()
def test_a_backbone_from_the_config_of_another_has_the_same_weights_by_name(folder):
    backbone = load(folder, num_layers=None)
    assert backbone.config.num_layers == 1  # half of three
    again = SmolVLMBackbone(replace(backbone.config, model_name="nowhere"), hidden_states=True).eval()
    again.load_state_dict(backbone.state_dict())
    assert again.config == replace(backbone.config, model_name="nowhere")
    assert torch.equal(
        again.extend(tokens(), all_valid(tokens()))[0], backbone.extend(tokens(), all_valid(tokens()))[0]
    )


def test_convolutions_stand_in_for_the_vision_transformer():
    backbone = smolvla_tiny.tiny_policy(vlm={"image_tokenizer": "conv"}).vlm
    given, _ = backbone.embed_pictures([pictures(2, 3, 16, 16)], torch.ones(2, 1).bool())
    assert given.shape == (2, 4, 16)
    assert not [name for name in backbone.state_dict() if name.startswith(("vision_model", "connector"))]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_layers": 4}, "vlm.num_layers=4: SmolVLM '.*' has 3 layers; choose 1 to 3, or null"),
        ({"image_size": 20}, "vlm.image_size=20 is not divisible by patch_size x scale_factor = 4 x 2 of SmolVLM"),
        ({"num_layers": 0}, "vlm.num_layers=0 must be at least 1"),
        ({"resize": "crop"}, r"vlm.resize='crop' is unknown; choose from \['pad', 'stretch'\]"),
        ({"image_tokenizer": "conv"}, "vlm.image_tokenizer=conv trains from scratch; give vlm.architecture"),
    ],
)
def test_what_does_not_fit_is_named_in_one_line(folder, fields, message):
    with pytest.raises(ValueError, match=message) as error:
        load(folder, **fields)
    assert "\n" not in str(error.value)


def test_what_does_not_load_is_named_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    language = save_language(tmp_path / "qwen2")
    for name, message in (
        ("no/such-model", "SmolVLM 'no/such-model' does not load .*give the name or folder of a transformers model"),
        (str(tmp_path), r"config\.json: no such file; give the folder of a SmolVLM as save_pretrained writes it"),
        (language, "SmolVLM '.*' is a qwen2, which has another layout; give one such as HuggingFaceTB/SmolVLM-256M"),
    ):
        with pytest.raises(ValueError, match=message) as error:
            load(name)
        assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match="id 16 is beyond the vocabulary of 16 of SmolVLM"):
        smolvla_tiny.tiny_policy().vlm.embed_words(torch.tensor([[16]]), torch.ones(1, 1).bool())


def test_a_language_model_of_another_width_than_the_weights_is_named(tmp_path):
    folder = Path(smolvla_tiny.save_smolvlm(tmp_path / "smolvlm"))
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["hidden_size"] = 32
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(
        ValueError, match=r"does not load \(weight 'connector.* is \(16, 32\), but \(32, 32\) by config.json\); give"
    ):
        load(str(folder))
