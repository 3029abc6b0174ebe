"""What cannot be loaded is told in one line that says what to do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.tiny_models import language_architecture, save_language, save_vision

from tempovla.model.vlm.convert_weights import convert_weights
from tempovla.model.vlm.language_model import LLMBackbone, LLMBackboneConfig
from tempovla.model.vlm.vision_encoder import VisionEncoder, VisionEncoderConfig


def vision(name: str) -> VisionEncoder:
    return VisionEncoder(VisionEncoderConfig(name))


def language(name: str) -> LLMBackbone:
    return LLMBackbone(LLMBackboneConfig(name))


LOADERS = pytest.mark.parametrize(("load", "save"), [(vision, save_vision), (language, save_language)])
Load, Save = Callable[[str], object], Callable[[Path], str]


def refusal(load: Load, name: str) -> str:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - what it says is looked at by the caller
        load(name)
    message = str(caught.value)
    assert "\n" not in message
    assert name in message
    return message


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@pytest.mark.parametrize("load", [vision, language])
def test_a_model_of_the_hub_without_a_network(load):
    message = refusal(load, "nobody/no-such-model")
    assert "model 'nobody/no-such-model' does not load (" in message
    assert message.endswith(
        "give the name or folder of a transformers model; without a network (or with HF_HUB_OFFLINE=1), a folder or a "
        "model that was downloaded before"
    )


@pytest.mark.parametrize("load", [vision, language])
def test_a_folder_that_is_not_there(load, tmp_path):
    assert "there is no such folder" in refusal(load, str(tmp_path / "not" / "here"))
    assert "there is no such folder" in refusal(load, str(tmp_path / "neither"))


@pytest.mark.parametrize("load", [vision, language])
def test_a_folder_without_a_model(load, tmp_path):
    message = refusal(load, str(tmp_path))
    assert message.startswith(f"{tmp_path / 'config.json'}: no such file; give the folder of a ")
    assert message.endswith("as save_pretrained writes it")


@LOADERS
def test_weights_in_a_pickle_are_not_read_but_converted_by_the_command_that_is_named(load: Load, save: Save, tmp_path):
    folder = save(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    torch.save(weights, tmp_path / "pytorch_model.bin")
    (tmp_path / "model.safetensors").unlink()
    assert refusal(load, folder) == (
        f"{folder}: its weights are in pytorch_model.bin, a pickle, which could run code and is not opened; convert "
        f"them with `tempovla convert weights {folder}`"
    )
    convert_weights(folder)
    converted = load_file(tmp_path / "model.safetensors")
    assert {name: value.tolist() for name, value in converted.items()} == {
        name: value.tolist() for name, value in weights.items()
    }
    load(folder)


@LOADERS
def test_weights_that_are_cut_short(load: Load, save: Save, tmp_path):
    folder = save(tmp_path)
    whole = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    message = refusal(load, folder)
    assert message.startswith(f"{tmp_path / 'model.safetensors'}: not readable (")
    assert message.endswith("copy the model again")


@LOADERS
def test_weights_that_are_missing(load: Load, save: Save, tmp_path):
    folder = save(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    gone = sorted(name for name in weights if "layers.1" in name and "text" not in name)[0]
    del weights[gone]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    assert "lacks weights such as" in (message := refusal(load, folder))
    assert message.endswith("give a whole checkpoint")


@LOADERS
def test_weights_of_another_size_than_the_config_says(load: Load, save: Save, tmp_path):
    folder = save(tmp_path)
    config = (tmp_path / "config.json").read_text()
    larger = config.replace('"intermediate_size": 32', '"intermediate_size": 40').replace(
        '"intermediate_size": 48', '"intermediate_size": 40'
    )
    assert larger != config
    (tmp_path / "config.json").write_text(larger)
    assert "does not load (" in refusal(load, folder)


def test_a_head_that_is_missing(tmp_path):
    folder = save_language(tmp_path, "llama")
    weights = load_file(tmp_path / "model.safetensors")
    del weights["lm_head.weight"]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    LLMBackbone(LLMBackboneConfig(folder))
    with pytest.raises(ValueError, match=r"lacks weights such as 'lm_head.weight'; give a whole checkpoint"):
        LLMBackbone(LLMBackboneConfig(folder, lm_head=True))


def test_a_model_of_another_kind(tmp_path):
    message = refusal(language, save_vision(tmp_path / "vision", "dinov2"))
    assert "is a dinov2, not a causal language model; give one such as Qwen/Qwen2-0.5B" in message
    message = refusal(vision, save_language(tmp_path / "language"))
    assert "image processor" in message


def test_an_image_processor_that_is_missing_or_says_too_little(tmp_path):
    folder = save_vision(tmp_path)
    settings = tmp_path / "preprocessor_config.json"
    text = settings.read_text()
    settings.write_text(text.replace("image_mean", "other"))
    assert refusal(vision, folder).endswith("its image processor has no image_mean; give one that has")
    settings.unlink()
    assert "image processor" in refusal(vision, folder)
    given = VisionEncoderConfig(folder, image_size=24, mean=(0.5,) * 3, std=(0.5,) * 3)
    assert VisionEncoder(given).num_tokens == 9


SMALL = language_architecture("qwen2")


@pytest.mark.parametrize(
    ("architecture", "reason"),
    [
        ({"hidden_size": 8}, "it has no model_type"),
        ({"model_type": "qwen0"}, "qwen0"),
        ({**SMALL, "hidden_size": "big"}, "'hidden_size': TypeError: .* expected int, got str"),
        ({**SMALL, "model_type": "llama", "hidden_size": 66}, "66.* is not a multiple of"),
        ({**SMALL, "hidden_act": "gelo"}, "KeyError: 'gelo'"),
        ({**SMALL, "num_attention_heads": 0}, "by zero"),
        ({**SMALL, "vocab_size": -3}, "vocab_size is -3, where models have"),
    ],
)
def test_an_architecture_that_does_not_build(architecture, reason):
    for build in (
        lambda: LLMBackbone(LLMBackboneConfig("x", architecture=architecture)),
        lambda: VisionEncoder(VisionEncoderConfig("x", architecture=architecture)),
    ):
        with pytest.raises(ValueError, match=rf"cannot be built \(.*{reason}.*\); give the settings") as caught:
            build()
        assert "\n" not in str(caught.value)
