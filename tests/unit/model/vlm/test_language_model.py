"""Language models by folder and by architecture: transformers' own numbers, whatever is padded."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import torch
from tests.chats import save_chat_tokenizer
from tests.rounding import tolerance
from tests.tiny_models import LANGUAGE_KINDS, language_architecture, language_model, save_language

from tempovla.model.vlm.language_model import LANGUAGE_MODELS, LLMBackbone, LLMBackboneConfig
from tempovla.timeline.config import config_from_json, config_to_json
from tempovla.transform.tokenizer import TransformersTokenizer, WordTokenizer


def backbone(folder: str, **changes: Any) -> LLMBackbone:
    return LLMBackbone(LLMBackboneConfig(folder, **{"dtype": "float32", **changes})).eval()


def words(*shape: int) -> torch.Tensor:
    return torch.randint(1, 60, shape, generator=torch.Generator().manual_seed(0))


def vision(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def everywhere(ids: torch.Tensor) -> torch.Tensor:
    return torch.ones_like(ids, dtype=torch.bool)


@pytest.mark.parametrize("kind", LANGUAGE_KINDS)
@pytest.mark.parametrize("attention", ["auto", "sdpa", "eager"])
def test_hidden_states_are_those_of_the_plain_call(tmp_path, kind, attention):
    model = backbone(save_language(tmp_path, kind), attention=attention)
    ids = words(2, 7)
    with torch.no_grad():
        output = model(ids, everywhere(ids))
        expected = language_model(kind)(input_ids=ids, output_hidden_states=True).hidden_states[-1]
    assert output.hidden.shape == (2, 7, model.hidden_dim) == (2, 7, 32)
    assert output.valid.all()
    assert model.vocab_size == 60
    torch.testing.assert_close(output.hidden, expected, rtol=1e-4, atol=1e-4)


def test_the_tokenizer_is_read_from_the_models_folder_when_it_is_asked_for(tmp_path):
    folder = save_language(tmp_path)
    save_chat_tokenizer(tmp_path)
    model = backbone(folder)
    assert model.tokenizer.encode("put the can") == TransformersTokenizer(folder).encode("put the can")
    assert model.tokenizer is model.tokenizer


def test_a_model_without_a_tokenizer_says_so_and_takes_another(tmp_path):
    model = backbone(save_language(tmp_path))
    assert all(hasattr(model, name) for name in dir(model))  # so torch traces a module
    with pytest.raises(ValueError, match=r"holds no tokenizer .* or set the model's tokenizer"):
        _ = model.tokenizer
    model.tokenizer = WordTokenizer(60)
    assert model.tokenizer.encode("put") == WordTokenizer(60).encode("put")
    assert "tokenizer" not in " ".join(model.state_dict())


@pytest.mark.parametrize("kind", LANGUAGE_KINDS)
def test_an_inner_layer_is_that_of_the_plain_call_and_nothing_above_it_is_kept(tmp_path, kind):
    folder = save_language(tmp_path, kind)
    ids = words(2, 7)
    with torch.no_grad():
        expected = language_model(kind)(input_ids=ids, output_hidden_states=True).hidden_states
    for layer, index in ((1, 1), (2, 2), (-2, 2), (-3, 1)):
        model = backbone(folder, layer=layer)
        torch.testing.assert_close(model(ids, everywhere(ids)).hidden, expected[index], rtol=1e-4, atol=1e-4)
        assert len(model.decoder.layers) == index
    for layer in (0, 4, -4):
        with pytest.raises(
            ValueError, match=rf"language.layer={layer}: language model .* has layers 1 to 3; choose one"
        ):
            backbone(folder, layer=layer)


@pytest.mark.parametrize("kind", LANGUAGE_KINDS)
def test_words_are_predicted_as_by_the_plain_call(tmp_path, kind):
    model = backbone(save_language(tmp_path, kind), lm_head=True)
    assert (model.lm_head is None) == (kind == "qwen2")  # whose head is the embedding
    ids = words(2, 7)
    with torch.no_grad():
        logits = model.logits(model(ids, everywhere(ids)).hidden)
        expected = language_model(kind)(input_ids=ids).logits
    torch.testing.assert_close(logits, expected, rtol=1e-3, atol=1e-3)


def test_without_its_head_a_model_predicts_no_words(tmp_path):
    model = backbone(save_language(tmp_path, "llama"))
    assert not any("lm_head" in name for name in model.state_dict())
    with pytest.raises(ValueError, match=r"language.lm_head=False leaves out the head .*; set it to true"):
        model.logits(torch.zeros(1, 32))
    with pytest.raises(ValueError, match=r"language.layer=-2 has no head that predicts words; set lm_head=False"):
        LLMBackboneConfig(layer=-2, lm_head=True)


@pytest.mark.parametrize("attention", ["auto", "sdpa", "eager"])
@pytest.mark.parametrize("kind", LANGUAGE_KINDS)
def test_padding_anywhere_changes_nothing_that_is_valid(kind, attention):
    """On the left and on the right of the text, and inside the vision tokens; also not the gradients."""
    architecture = language_architecture(kind)
    torch.manual_seed(0)
    model = LLMBackbone(LLMBackboneConfig("tiny", attention=attention, architecture=architecture))
    ids, seen, suffix = words(1, 4), vision(1, 3, 32), vision(1, 2, 32)

    def run(*inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = inputs[2].clone().requires_grad_()
        hidden, valid = model(*inputs[:2], features, inputs[3], inputs[4])
        hidden[valid].square().sum().backward()
        assert features.grad is not None
        return hidden[valid], features.grad[inputs[4]]

    plain = run(ids, everywhere(ids), seen, suffix, torch.ones(1, 3, dtype=torch.bool))
    holes = torch.full((1, 5, 32), torch.nan)
    keep = torch.tensor([[True, False, True, True, False]])
    holes[keep] = seen[0]
    for left, right in ((0, 3), (3, 0), (2, 2)):
        padded = torch.cat([torch.full((1, left), 59), ids, torch.full((1, right), -1)], dim=1)
        mask = torch.tensor([[False] * left + [True] * 4 + [False] * right])
        for got, expected in zip(run(padded, mask, holes, suffix, keep), plain, strict=True):
            torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)
    weights = [weight.grad for weight in model.parameters()]
    assert all(gradient is not None and gradient.isfinite().all() for gradient in weights)


def test_vision_stands_before_the_text_and_the_suffix_behind_it():
    torch.manual_seed(0)
    model = LLMBackbone(LLMBackboneConfig("tiny", architecture=language_architecture()))
    ids, seen, suffix = words(2, 4), vision(2, 3, 32), vision(2, 2, 32)
    hidden, valid = model(ids, everywhere(ids), seen, suffix)
    assert hidden.shape == (2, 9, 32)
    assert valid.shape == (2, 9)

    def moved(*inputs: torch.Tensor) -> list[bool]:
        other = model(inputs[0], everywhere(ids), *inputs[1:]).hidden
        return ((other - hidden).abs().amax(dim=(0, 2)) > 1e-6).tolist()

    assert moved(ids, seen + torch.randn(2, 3, 1), suffix) == [True] * 9
    assert moved(ids.flip(1), seen, suffix) == [False] * 3 + [True] * 6
    assert moved(ids, seen, suffix + 1) == [False] * 7 + [True] * 2


def test_rows_of_a_batch_do_not_notice_each_other():
    torch.manual_seed(0)
    model = LLMBackbone(LLMBackboneConfig("tiny", architecture=language_architecture()))
    ids, seen = words(3, 5), vision(3, 2, 32)
    mask = torch.tensor([[True] * 5, [True, True, False, False, False], [False] * 5])
    together = model(ids, mask, seen).hidden
    assert together.isfinite().all()
    for row in range(3):
        alone = model(ids[row : row + 1], mask[row : row + 1], seen[row : row + 1])
        torch.testing.assert_close(together[row][alone.valid[0]], alone.hidden[0][alone.valid[0]], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("kind", LANGUAGE_KINDS)
def test_the_plain_formula_that_training_in_bfloat16_uses_on_a_cpu_is_fused_attention(kind, padded):
    ids, seen = words(2, 5), vision(2, 3, 32)
    mask = everywhere(ids)
    mask[1, 3:] = not padded
    found = {}
    for attention in ("auto", "sdpa"):
        torch.manual_seed(0)
        model = LLMBackbone(LLMBackboneConfig("tiny", attention=attention, architecture=language_architecture(kind)))
        with torch.autocast("cpu", torch.bfloat16):
            hidden, valid = model(ids, mask, seen)
        hidden[valid].float().square().sum().backward()
        gradient = torch.cat([weight.grad.flatten() for weight in model.parameters()])
        found[attention] = (hidden[valid].float(), gradient)
    for got, expected in zip(found["auto"], found["sdpa"], strict=True):
        assert (got - expected).norm() < tolerance(torch.bfloat16, roundings=10) * expected.norm()


def test_a_frozen_model_passes_gradients_to_what_is_put_in(tmp_path):
    model = backbone(save_language(tmp_path), freeze=True).train()
    assert not model.decoder.training
    seen = vision(1, 3, 32).requires_grad_()
    model(words(1, 4), torch.ones(1, 4), seen).hidden.sum().backward()
    assert seen.grad is not None
    assert seen.grad.abs().sum() > 0
    assert not any(weight.requires_grad for weight in model.parameters())


def test_recomputed_activations_give_the_same_gradients():
    torch.manual_seed(0)
    model = LLMBackbone(LLMBackboneConfig("tiny", architecture=language_architecture()))
    ids, found = words(2, 5), []
    for on in (False, True):
        model.recompute_activations(on)
        model.zero_grad()
        model(ids, everywhere(ids)).hidden.square().sum().backward()
        found.append([weight.grad.clone() for weight in model.parameters() if weight.grad is not None])
    assert len(found[0]) == len(list(model.parameters()))
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


def kept_bytes(model: LLMBackbone, run: Callable[[], torch.Tensor]) -> tuple[torch.Tensor, int]:
    """What `run` gives, and how much it keeps for the backward pass beside the model's weights."""
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = run()
    weights = {weight.untyped_storage().data_ptr() for weight in model.parameters()}
    return output, sum(size for place, size in kept.items() if place not in weights)


@pytest.mark.parametrize("kind", LANGUAGE_KINDS)
def test_a_frozen_model_recomputes_activations_too_and_gradients_reach_what_is_put_in(kind):
    torch.manual_seed(0)
    architecture = language_architecture(kind, attention_dropout=0.5)
    model = LLMBackbone(LLMBackboneConfig("tiny", freeze=True, architecture=architecture))
    ids, found, kept = words(2, 5), [], []
    for on in (False, True):
        model.recompute_activations(on)
        model.train()
        vision = torch.randn(2, 30, model.hidden_dim, generator=torch.Generator().manual_seed(0), requires_grad=True)
        output, size = kept_bytes(model, lambda seen=vision: model(ids, everywhere(ids), seen).hidden)
        output.square().sum().backward()
        found.append((output.detach(), vision.grad))
        kept.append(size)
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))
    assert found[0][1].abs().sum() > 0
    assert 0 < kept[1] < 0.4 * kept[0]


def test_a_frozen_model_recomputes_in_training_alone_and_drops_nothing_out():
    model = LLMBackbone(LLMBackboneConfig("tiny", freeze=True, architecture=language_architecture()))
    layer = model.decoder.layers[0]
    assert not layer.training
    model.recompute_activations(True)  # a fresh module is in training mode
    assert layer.training
    assert not any(part.training for part in layer.modules() if part is not layer)
    assert not model.eval().decoder.layers[0].training
    assert model.train().decoder.layers[0].training
    model.recompute_activations(False)
    assert not layer.training


def test_transformers_says_nothing_of_old_names(recwarn, monkeypatch):
    said = []
    monkeypatch.setattr("transformers.modeling_utils.logger.warning_once", lambda text, *more: said.append(text))
    model = LLMBackbone(LLMBackboneConfig("tiny", architecture=language_architecture()))
    model.recompute_activations(True)
    model.recompute_activations(False)
    assert [text for text in [*said, *(str(w.message) for w in recwarn)] if "deprecated" in text] == []


@pytest.mark.parametrize("kind", LANGUAGE_KINDS)
@pytest.mark.parametrize("changes", [{}, {"layer": 2}, {"lm_head": True}])
def test_the_resolved_config_survives_json_and_builds_the_same_model_without_its_folder(tmp_path, kind, changes):
    model = backbone(save_language(tmp_path / "model", kind), **changes)
    (tmp_path / "model").rename(tmp_path / "away")
    config = config_from_json(LLMBackboneConfig, json.loads(json.dumps(config_to_json(model.resolved_config))))
    again = LLMBackbone(config).eval()
    again.load_state_dict(model.state_dict())
    ids = words(2, 5)
    assert torch.equal(again(ids, everywhere(ids)).hidden, model(ids, everywhere(ids)).hidden)
    assert again.resolved_config == config


def test_pretrained_weights_are_bfloat16_and_fresh_ones_float32_unless_told(tmp_path):
    folder = save_language(tmp_path)
    assert LLMBackbone(LLMBackboneConfig(folder)).resolved_config.dtype == "bfloat16"
    model = LLMBackbone(LLMBackboneConfig("tiny", architecture=language_architecture()))
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}
    low = LLMBackbone(LLMBackboneConfig("tiny", dtype="bfloat16", architecture=language_architecture()))
    assert low(words(1, 3), torch.ones(1, 3), vision(1, 2, 32)).hidden.dtype == torch.bfloat16


def test_short_names_are_those_of_the_hub(monkeypatch, tmp_path):
    monkeypatch.setitem(LANGUAGE_MODELS, "qwen2-0.5b", save_language(tmp_path))
    assert backbone("qwen2-0.5b").hidden_dim == 32


def test_what_does_not_fit_is_refused_in_one_line():
    model = LLMBackbone(LLMBackboneConfig("tiny", architecture=language_architecture()))
    ids = words(1, 4)
    with pytest.raises(
        ValueError, match=r"vision_features \(1, 3, 16\) do not fit language model 'tiny' of hidden_dim=32"
    ):
        model(ids, everywhere(ids), vision(1, 3, 16))
    with pytest.raises(ValueError, match=r"suffix \(1, 3, 8\) do not fit language model 'tiny'.*; project them to it"):
        model(ids, everywhere(ids), suffix=vision(1, 3, 8))
    with pytest.raises(
        ValueError, match=r"input_ids from 1 to 60 are not all in the vocabulary of 60 .* own tokenizer"
    ):
        model(torch.tensor([[1, 60]]), torch.ones(1, 2))
    with pytest.raises(ValueError, match=r"sequence of 65 tokens is longer than the language model's 64; use fewer"):
        model(ids, everywhere(ids), vision(1, 61, 32))
    with pytest.raises(
        ValueError, match=r"language.attention='flash' is unknown; choose from \['auto', 'sdpa', 'eager'"
    ):
        LLMBackboneConfig(attention="flash")  # type: ignore[arg-type]
