"""Checkpoints in the published layout: sharded and whole, and what is wrong with them in one line."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.openvla_tiny import FRONT, STATISTICS, tiny_policy

from tempovla.model.vla.openvla_checkpoint import read_checkpoint
from tempovla.model.vla.openvla_statistics import ActionStatistics
from tempovla.model.vla.openvla_wrapper import OpenVLAWrapper
from tempovla.model.vlm.prismatic_vision import DINOV2_LARGE, SIGLIP_SO400M

INDEX = "model.safetensors.index.json"
PUBLISHED = {
    "model_type": "openvla",
    "architectures": ["OpenVLAForActionPrediction"],
    "use_fused_vision_backbone": True,
    "image_resize_strategy": "resize-naive",
    "timm_model_ids": ["vit_large_patch14_reg4_dinov2.lvd142m", "vit_so400m_patch14_siglip_224"],
    "image_sizes": [224, 224],
    "n_action_bins": 256,
    "pad_to_multiple_of": 64,
    "pad_token_id": 32000,
    "text_config": {"model_type": "llama", "pad_token_id": 32000, "torch_dtype": "bfloat16", "vocab_size": 32064},
    "norm_stats": STATISTICS,
}
"""What the converter of the public code writes, as far as it is read."""


@pytest.fixture
def folder(tmp_path):
    """A tiny checkpoint in two files."""
    target = tmp_path / "checkpoint"
    tiny_policy().save_pretrained(target, max_shard_size="140KB")
    assert len(list(target.glob("model-*-of-00002.safetensors"))) == 2
    return target


def load(folder) -> OpenVLAWrapper:
    return OpenVLAWrapper.from_pretrained(folder, camera=FRONT, dtype="float32")


def predict(policy: OpenVLAWrapper) -> torch.Tensor:
    images = torch.rand(2, 3, 28, 28, generator=torch.Generator().manual_seed(3))
    return policy.predict_action(images, torch.tensor([[1, 3, 4], [1, 5, -1]]), "bridge")


def edit_config(folder, **values) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_a_checkpoint_in_two_files_loads_by_name_and_acts_as_the_one_that_was_written(folder):
    policy = load(folder)
    assert policy.config == tiny_policy().config
    assert {tensor.device.type for tensor in (*policy.parameters(), *policy.buffers())} == {"cpu"}
    assert torch.equal(predict(policy), predict(tiny_policy()))
    assert not policy.training


def test_a_checkpoint_in_one_file_loads_too(tmp_path):
    tiny_policy().save_pretrained(tmp_path)
    assert (tmp_path / "model.safetensors").is_file()
    assert torch.equal(predict(load(tmp_path)), predict(tiny_policy()))


def test_weights_are_converted_to_the_type_that_is_asked_for_and_learn_as_before(folder):
    policy = OpenVLAWrapper.from_pretrained(folder, camera=FRONT)
    assert {weight.dtype for weight in policy.parameters()} == {torch.bfloat16}
    assert predict(policy).isfinite().all()
    learns = {name for name, weight in tiny_policy().named_parameters() if weight.requires_grad}
    assert {name for name, weight in policy.named_parameters() if weight.requires_grad} == learns


def test_the_published_config_gives_the_published_sizes(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(PUBLISHED))
    save_file({"x": torch.zeros(1)}, tmp_path / "model.safetensors")
    config, _ = read_checkpoint(tmp_path, camera="front", dtype="bfloat16")
    assert (config.vlm.featurizer, config.vlm.fused_featurizer) == (DINOV2_LARGE, SIGLIP_SO400M)
    assert (config.camera, config.action_dim, config.num_bins, config.padding_tokens) == ("front", 7, 256, 64)
    assert (config.vlm.language["bos_token_id"], config.empty_token) == (1, 29871)
    assert config.vlm.language["vocab_size"] - config.padding_tokens == 32000
    assert "torch_dtype" not in config.vlm.language
    assert config.norm_stats == STATISTICS


def test_the_statistics_of_a_fine_tuned_checkpoint_are_read_beside_those_of_its_config(folder):
    stats = {"own": {"action": {"q01": [0.0, 0.0, 0.0], "q99": [1.0, 1.0, 1.0], "mask": [True, True, False]}}}
    (folder / "dataset_statistics.json").write_text(json.dumps(stats))
    policy = load(folder)
    assert sorted(policy.config.norm_stats) == ["bridge", "own", "toto"]
    assert ActionStatistics.of(policy.config.norm_stats, "own").kept == (2,)


def test_the_first_missing_weight_is_named(folder):
    index = json.loads((folder / INDEX).read_text())
    del index["weight_map"]["projector.fc3.bias"]
    (folder / INDEX).write_text(json.dumps(index))
    with pytest.raises(ValueError, match=r"lacks weight 'projector\.fc3\.bias' of OpenVLA's layout"):
        load(folder)


def test_the_first_unknown_weight_is_named(tmp_path):
    tiny_policy().save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    weights["vision_backbone.featurizer.blocks.0.ls1.gamma"] = torch.zeros(16)
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=r"has an unknown weight 'vision_backbone\.featurizer\.blocks\.0\.ls1\.gamma'"):
        load(tmp_path)


def test_a_weight_of_another_shape_is_named(folder):
    edit_config(
        folder, text_config={**json.loads((folder / "config.json").read_text())["text_config"], "vocab_size": 72}
    )
    with pytest.raises(
        ValueError, match=r"weight 'language_model\..*' is \(64, 32\), but config\.json makes it \(72, 32\)"
    ):
        load(folder)


def test_a_weight_that_the_index_places_in_the_wrong_file_is_told(folder):
    index = json.loads((folder / INDEX).read_text())
    files = sorted(set(index["weight_map"].values()))
    place = index["weight_map"]["projector.fc1.bias"]
    index["weight_map"]["projector.fc1.bias"] = next(file for file in files if file != place)
    (folder / INDEX).write_text(json.dumps(index))
    with pytest.raises(ValueError, match=r"holds no weight 'projector\.fc1\.bias', but model\.safetensors\.index"):
        load(folder)


def test_files_that_are_missing_or_damaged_are_named(folder):
    part = folder / "model-00002-of-00002.safetensors"
    part.write_bytes(part.read_bytes()[:500])
    with pytest.raises(ValueError, match=r"model-00002-of-00002\.safetensors: not readable"):
        load(folder)
    part.unlink()
    with pytest.raises(
        ValueError, match=r"model-00002-of-00002\.safetensors: no such file, but model\.safetensors\.index"
    ):
        load(folder)
    (folder / INDEX).write_text("{}")
    with pytest.raises(ValueError, match="has no weight_map"):
        load(folder)
    (folder / INDEX).unlink()
    with pytest.raises(
        ValueError, match=r"holds model-00001-of-00002\.safetensors, but no model\.safetensors\.index\.json"
    ):
        load(folder)


def test_wrong_folders_and_names_are_one_line_errors(tmp_path, monkeypatch):
    with pytest.raises(
        ValueError, match=r"config\.json: no such file; give the name or folder of an OpenVLA checkpoint"
    ):
        load(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(ValueError, match="model_type is 'llama', not 'openvla'"):
        load(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for name in (str(tmp_path / "nothing" / "here"), "nobody/openvla-0b"):
        with pytest.raises(ValueError, match=r"OpenVLA checkpoint .* does not load") as caught:
            load(name)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"image_resize_strategy": "letterbox"},
            "image_resize_strategy is 'letterbox', and only 'resize-naive' is built",
        ),
        (
            {"timm_model_ids": ["vit_large_patch14_clip_336.openai"]},
            "vision model 'vit_large_patch14_clip_336.openai' is",
        ),
        ({"timm_model_ids": PUBLISHED["timm_model_ids"][1:], "image_sizes": [224]}, "names 1 vision models, and two"),
    ],
)
def test_other_prismatic_models_are_refused(tmp_path, values, message):
    (tmp_path / "config.json").write_text(json.dumps({**PUBLISHED, **values}))
    with pytest.raises(ValueError, match=message):
        load(tmp_path)


def test_adapters_are_merged_before_saving(tmp_path):
    policy = tiny_policy()
    policy.enable_lora(r=2)
    with pytest.raises(ValueError, match=r"call merge_lora\(\) before"):
        policy.save_pretrained(tmp_path)
    policy.merge_lora()
    policy.save_pretrained(tmp_path)
    assert torch.allclose(predict(load(tmp_path)), predict(tiny_policy()), atol=1e-6)
