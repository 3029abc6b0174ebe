"""Vision encoder, projector and language model as one."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
import torch
from tests.tiny_models import language_architecture, pictures, save_language, save_vision
from torch.profiler import ProfilerActivity, profile

from tempovla.model.vlm.language_model import LLMBackboneConfig
from tempovla.model.vlm.vision_encoder import VisionEncoderConfig
from tempovla.model.vlm.vision_projector import PROJECTOR_REGISTRY
from tempovla.model.vlm.vlm_model import VLMConfig, VLMModel
from tempovla.timeline.config import config_from_json, config_to_json

OPTIONS: dict[str, dict[str, int]] = {
    "mlp": {},
    "attention_pooling": {"num_queries": 3, "num_heads": 4},
    "perceiver": {"num_latents": 3, "num_heads": 4},
}
READOUTS = ("queries", "last", "mean", "all_tokens")
IMAGES = pictures(2, 2, 3, 16, 16)
WORDS = torch.randint(0, 60, (2, 5), generator=torch.Generator().manual_seed(0))
MASK = torch.tensor([[True] * 5, [True, True, True, False, False]])
EXTRA = torch.randn(2, 2, 32, generator=torch.Generator().manual_seed(0))


def config(projector: str = "mlp", lm_head: bool = False, **changes: Any) -> VLMConfig:
    settings: dict[str, Any] = {
        "vision": VisionEncoderConfig("conv", image_size=16, patch_size=8, output_dim=12),
        "language": LLMBackboneConfig("tiny", lm_head=lm_head, architecture=language_architecture()),
        "projector": projector,
        "projector_options": OPTIONS[projector],
        "num_cameras": 2,
        "num_queries": 4,
    }
    return VLMConfig(**{**settings, **changes})


def build(projector: str = "mlp", **changes: Any) -> VLMModel:
    torch.manual_seed(0)
    return VLMModel(config(projector, **changes))


@pytest.mark.parametrize("projector", PROJECTOR_REGISTRY)
@pytest.mark.parametrize(("readout", "count"), [*zip(READOUTS, (4, 1, 1, None), strict=True)])
def test_what_is_read_has_its_size(projector, readout, count):
    model = build(projector, readout=readout, readout_dim=10)
    assert model.num_vision_tokens == (8 if projector == "mlp" else 6)
    output = model(IMAGES, WORDS, MASK, EXTRA)
    tokens = count or model.num_vision_tokens + 2 + 5
    assert output.tokens.shape == (2, tokens, model.hidden_dim) == (2, tokens, 10)
    assert output.valid.shape == (2, tokens)
    assert output.valid.sum() == 2 * tokens - (2 if readout == "all_tokens" else 0)
    assert output.features.shape == (2, 10)
    torch.testing.assert_close(output.features[1], output.tokens[1][output.valid[1]].mean(dim=0))
    assert build(projector, readout=readout).hidden_dim == 32


def test_the_sequence_is_vision_of_every_camera_then_extra_tokens_text_and_queries():
    model = build()
    prefix, valid = model.prefix(IMAGES, EXTRA)
    assert prefix.shape == (2, 10, 32)
    assert valid.all()
    for camera in (0, 1):
        alone = model.projector(model.vision(IMAGES[:, camera])) + model.camera[camera]
        torch.testing.assert_close(prefix[:, 4 * camera : 4 * camera + 4], alone, rtol=1e-4, atol=1e-5)
    assert torch.equal(prefix[:, 8:], EXTRA)
    hidden, _ = model.language(WORDS, MASK, prefix, model.queries.expand(2, -1, -1))
    torch.testing.assert_close(model(IMAGES, WORDS, MASK, EXTRA).tokens, model.readout_norm(hidden[:, -4:]))


@pytest.mark.parametrize("readout", READOUTS)
def test_all_read_outs_are_those_of_the_hidden_states(readout):
    model = build(readout=readout)
    suffix = None if model.queries is None else model.queries.expand(2, -1, -1)
    hidden, _ = model.language(WORDS, MASK, model.prefix(IMAGES)[0], suffix)
    hidden = model.readout_norm(hidden)
    expected = {
        "queries": hidden[1, -4:],
        "last": hidden[1, 10:11],
        "mean": hidden[1, :11].mean(dim=0, keepdim=True),
        "all_tokens": hidden[1],
    }[readout]
    torch.testing.assert_close(model(IMAGES, WORDS, MASK).tokens[1], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("projector", PROJECTOR_REGISTRY)
@pytest.mark.parametrize("readout", READOUTS)
def test_what_is_invalid_changes_neither_features_nor_gradients(projector, readout):
    model = build(projector, readout=readout)
    image_mask, extra_mask = torch.tensor([[True, False], [True, True]]), torch.tensor([[True, False], [False, True]])
    found = []
    for junk in (0.0, 1.0, torch.nan):
        images = torch.where(image_mask[:, :, None, None, None], IMAGES / 255.0, junk)
        extra = torch.where(extra_mask[:, :, None], EXTRA, junk)
        words = torch.where(MASK, WORDS, -1 if junk else 7)
        model.zero_grad()
        output = model(images, words, MASK, extra, image_mask=image_mask, extra_mask=extra_mask)
        output.features.square().sum().backward()
        found.append([output.features.detach(), *(weight.grad.clone() for weight in model.parameters())])
    assert all(value.isfinite().all() for value in found[0])
    for other in found[1:]:
        assert all(torch.equal(one, two) for one, two in zip(found[0], other, strict=True))


@pytest.mark.parametrize("readout", READOUTS)
def test_padding_of_the_text_on_either_side_changes_nothing(readout):
    model = build(readout=readout)
    plain = model(IMAGES[:1], WORDS[:1], torch.ones(1, 5)).features
    for left, right in ((0, 4), (4, 0), (1, 2)):
        words = torch.cat([torch.full((1, left), 9), WORDS[:1], torch.full((1, right), -1)], dim=1)
        mask = torch.tensor([[False] * left + [True] * 5 + [False] * right])
        torch.testing.assert_close(model(IMAGES[:1], words, mask).features, plain, rtol=1e-4, atol=1e-5)


def test_rows_are_the_same_one_by_one_and_the_encoder_is_called_once(tmp_path):
    model = VLMModel(
        config(
            vision=VisionEncoderConfig(save_vision(tmp_path / "v")),
            projector="perceiver",
            projector_options={"num_latents": 4},
        )
    )
    calls = []
    model.vision.encoder.register_forward_hook(lambda module, inputs, output: calls.append(len(inputs[0])))
    together = model(IMAGES, WORDS, MASK).tokens
    assert calls == [4]
    for row in range(2):
        alone = model(IMAGES[row : row + 1], WORDS[row : row + 1], MASK[row : row + 1]).tokens
        torch.testing.assert_close(together[row : row + 1], alone, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("projector", PROJECTOR_REGISTRY)
@pytest.mark.parametrize("readout", READOUTS)
def test_every_weight_that_may_learn_gets_a_gradient(projector, readout):
    model = build(projector, readout=readout, readout_dim=6)
    model(IMAGES, WORDS, MASK).features.square().sum().backward()
    assert [name for name, weight in model.named_parameters() if weight.grad is None] == []


def test_words_are_predicted_from_pictures_and_the_words_before():
    model = build(lm_head=True)
    logits = model.lm_logits(IMAGES, WORDS, MASK)
    assert logits.shape == (2, 5, 60)
    later = WORDS.clone()
    later[:, 3] = (later[:, 3] + 1) % 60
    changed = (model.lm_logits(IMAGES, later, MASK) - logits).abs().amax(dim=2)[0] > 1e-6
    assert changed.tolist() == [False] * 3 + [True] * 2
    assert (model.lm_logits(255 - IMAGES, WORDS, MASK) - logits).abs().amax(dim=2).min() > 1e-6


def test_pretrained_parts_are_frozen_as_told_and_mixed_precisions_meet(tmp_path):
    language = LLMBackboneConfig(save_language(tmp_path / "l"), freeze=True)
    model = VLMModel(config(vision=VisionEncoderConfig(save_vision(tmp_path / "v")), language=language)).train()
    output = model(IMAGES, WORDS, MASK)
    assert output.tokens.dtype == torch.float32
    output.features.square().sum().backward()
    parts = {name.split(".")[0] for name, weight in model.named_parameters() if weight.grad is not None}
    assert parts == {"camera", "projector", "queries", "readout_norm"}


def test_the_resolved_config_survives_json_and_needs_no_folders(tmp_path):
    vision, language = save_vision(tmp_path / "one" / "v"), save_language(tmp_path / "one" / "l", "phi3")
    model = VLMModel(config(vision=VisionEncoderConfig(vision), language=LLMBackboneConfig(language, layer=2)))
    (tmp_path / "one").rename(tmp_path / "away")
    resolved = config_from_json(VLMConfig, json.loads(json.dumps(config_to_json(model.resolved_config))))
    again = VLMModel(resolved)
    again.load_state_dict(model.state_dict())
    assert torch.equal(again.eval()(IMAGES, WORDS, MASK).tokens, model.eval()(IMAGES, WORDS, MASK).tokens)
    assert again.resolved_config == resolved


def test_recomputed_activations_give_the_same_gradients():
    model, found = build(), []
    for on in (False, True):
        model.recompute_activations(on)
        model.zero_grad()
        model(IMAGES, WORDS, MASK).features.square().sum().backward()
        found.append([weight.grad.clone() for weight in model.parameters()])
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


@pytest.mark.parametrize("padded", [False, True])
def test_deeper_models_hold_no_more_copies_of_the_vision_tokens(padded):
    """Looking without learning, the most that is held at once does not grow with the number of layers."""
    mask = MASK if padded else torch.ones_like(MASK)
    peaks = []
    for depth in (2, 6):
        language = LLMBackboneConfig("tiny", architecture=language_architecture(num_hidden_layers=depth))
        model = build(language=language).eval()
        with torch.no_grad():
            model(IMAGES, WORDS, mask)
            with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
                model(IMAGES, WORDS, mask)
        events = [event for event in recorded.profiler.kineto_results.events() if event.name() == "[memory]"]
        held = itertools.accumulate(event.nbytes() for event in sorted(events, key=lambda event: event.start_ns()))
        peaks.append(max(held))
    assert peaks[0] == peaks[1] > 0


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (
            (IMAGES[:, :1], WORDS, MASK),
            r"images \(2, 1, 3, 16, 16\) are not \(B, 2, 3, H, W\); give one picture for each camera",
        ),
        ((IMAGES[:, 0], WORDS, MASK), r"are not \(B, 2, 3, H, W\)"),
        ((IMAGES, WORDS, MASK, EXTRA[..., :5]), r"extra_tokens \(2, 2, 5\) have another width .*, 32; project them"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(inputs, message):
    with pytest.raises(ValueError, match=message):
        build()(*inputs)


def test_wrong_settings_are_refused():
    with pytest.raises(ValueError, match="readout='cls' is unknown; choose from queries, last, mean, all_tokens"):
        config(readout="cls")
    with pytest.raises(ValueError, match="num_cameras=0 must be at least 1"):
        config(num_cameras=0)


def test_weights_of_a_model_with_another_language_model_are_refused_in_one_line():
    other = build(language=LLMBackboneConfig("tiny", architecture=language_architecture(hidden_size=64)))
    weights = {name: value for name, value in other.state_dict().items() if name.startswith("projector.")}
    with pytest.raises(ValueError, match="between a vision model of 12 and a language model of 32; give the models"):
        build().load_state_dict(weights, strict=False)
