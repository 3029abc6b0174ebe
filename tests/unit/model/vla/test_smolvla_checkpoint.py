"""Checkpoints in LeRobot's layout."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from tests.contract.samples import random_sample
from tests.smolvla_tiny import FRONT, SHAPES, WRIST, act, save_smolvlm, smolvlm, tiny_policy
from torch import Tensor

from tempovla.model.vla.smolvla_wrapper import SmolVLAWrapper

STATE = "observation.state"
THERE = {
    "vlm": "model.vlm_with_expert.vlm.model",
    "state_proj": "model.state_proj",
    "expert.layers": "model.vlm_with_expert.lm_expert.layers",
    "expert.norm": "model.vlm_with_expert.lm_expert.norm",
    "expert.action_in_proj": "model.action_in_proj",
    "expert.action_out_proj": "model.action_out_proj",
    "expert.action_time_mlp_in": "model.action_time_mlp_in",
    "expert.action_time_mlp_out": "model.action_time_mlp_out",
}


def original() -> SmolVLAWrapper:
    """As LeRobot's policies compute: embeddings scaled, and 10,000 for the base of the positions."""
    return tiny_policy(vlm={"scale_embeddings": True, "rope_theta": 10_000.0}, has_gripper=False)


def published_weights(policy: SmolVLAWrapper) -> dict[str, Tensor]:
    """By LeRobot's names, with what it holds besides: a head, the rest of the last layer, statistics."""
    weights = {}
    for name, value in policy.state_dict().items():
        home = next(home for home in THERE if name.startswith(f"{home}."))
        weights[THERE[home] + name.removeprefix(home)] = value.clone()
    for name, value in smolvlm().state_dict().items():
        if "text_model.layers.2." not in name:  # two layers are used
            weights.setdefault(f"model.vlm_with_expert.vlm.{name}", value.clone())
    return weights | {"normalize_inputs.buffer_observation_state.mean": torch.zeros(3)}


def config(vlm: str, **fields: Any) -> dict[str, Any]:
    feature = {"type": "VISUAL", "shape": [3, 16, 16]}
    return {
        "type": "smolvla",
        "input_features": {STATE: {"type": "STATE", "shape": [3]}, WRIST: feature, FRONT: feature},
        "output_features": {"action": {"type": "ACTION", "shape": [4]}},
        "chunk_size": 5,
        "n_action_steps": 5,
        "max_state_dim": 6,
        "max_action_dim": 6,
        "resize_imgs_with_padding": [16, 16],
        "tokenizer_max_length": 6,
        "num_steps": 3,
        "vlm_model_name": vlm,
        "attention_mode": "cross_attn",
        "num_expert_layers": 0,
        "num_vlm_layers": 2,
        "self_attn_every_n_layers": 2,
        "expert_width_multiplier": 0.5,
        "train_expert_only": False,
        **fields,
    }


@pytest.fixture(scope="module")
def vlm(tmp_path_factory) -> str:
    return save_smolvlm(tmp_path_factory.mktemp("vlm"))


def publish(folder: Path, vlm: str, weights: dict[str, Tensor] | None = None, **fields: Any) -> Path:
    folder.mkdir()
    save_file(published_weights(original()) if weights is None else weights, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config(vlm, **fields)))
    return folder


def test_a_checkpoint_loads_by_name_and_acts_as_before(tmp_path, vlm):
    policy, again = original(), SmolVLAWrapper.from_pretrained(publish(tmp_path / "base", vlm))
    assert again.config.cameras == (FRONT, WRIST)
    assert (again.config.robot_state_dim, again.config.action_dim, again.config.chunk_size) == (3, 4, 5)
    assert again.vlm.config.image_size == 16
    assert not again.training
    sample = random_sample(policy.windows(), SHAPES)
    assert torch.equal(act(again, sample), act(policy, sample))


def test_a_compiled_models_names_and_other_streams_will_do(tmp_path, vlm):
    weights = {
        name.replace("model.", "model._orig_mod.", 1): value for name, value in published_weights(original()).items()
    }
    folder = publish(tmp_path / "base", "no/such-model", weights)
    again = SmolVLAWrapper.from_pretrained(folder, vlm_model_name=vlm, cameras=(WRIST,), action_dim=2)
    assert [window.key for window in again.windows()] == [STATE, WRIST, "action"]
    assert again.config.action_dim == 2


def test_a_frozen_one_is_frozen_and_in_bfloat16(tmp_path, vlm):
    folder = publish(tmp_path / "base", vlm, train_expert_only=True)
    policy = SmolVLAWrapper.from_pretrained(folder)
    assert {weight.dtype for weight in policy.vlm.parameters()} == {torch.bfloat16}
    assert not any(weight.requires_grad for weight in policy.vlm.parameters())
    assert {weight.dtype for weight in policy.expert.parameters()} == {torch.float32}
    free = SmolVLAWrapper.from_pretrained(folder, train_expert_only=False)
    assert {weight.dtype for weight in free.vlm.parameters()} == {torch.float32}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"add_image_special_tokens": True}, "add_image_special_tokens is True, and only False is built"),
        ({"output_features": {}}, "output_features name no 'action'; give the name or folder of a SmolVLA checkpoint"),
        ({"vlm_model_name": "no/such-model"}, "SmolVLM 'no/such-model' does not load"),
        ({"max_action_dim": 7}, r"weight 'expert.action_in_proj.weight' is \(8, 6\), but \(8, 7\) in the model"),
        ({"num_vlm_layers": 1}, "weight 'expert.layers.1.* of another model"),
    ],
)
def test_what_does_not_fit_is_named_in_one_line(tmp_path, vlm, monkeypatch, fields, message):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match=message) as error:
        SmolVLAWrapper.from_pretrained(publish(tmp_path / "base", vlm, **fields))
    assert "\n" not in str(error.value)


def test_what_is_missing_is_named_in_one_line(tmp_path, vlm, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    weights = published_weights(original())
    del weights["model.action_out_proj.bias"]
    with pytest.raises(ValueError, match=r"lacks weight 'expert.action_out_proj.bias'"):
        SmolVLAWrapper.from_pretrained(publish(tmp_path / "lacking", vlm, weights))
    for name, message in (
        (tmp_path, "config.json: no such file"),
        ("no/such-policy", "SmolVLA checkpoint 'no/such-policy' does not load"),
    ):
        with pytest.raises(ValueError, match=message) as error:
            SmolVLAWrapper.from_pretrained(name)
        assert "\n" not in str(error.value)
