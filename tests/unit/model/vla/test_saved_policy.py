"""Policies as folders: with a context and without, from `save_pretrained` and from training."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from tests.contract.registry import POLICIES
from tests.contract.samples import EMBODIMENT, random_contexts
from tests.tiny import tiny_vla_config
from torch import Tensor

from tempovla.model.vla.context_policy import base_of
from tempovla.model.vla.pretrained_io import read_weights
from tempovla.model.vla.registry import POLICY_REGISTRY
from tempovla.model.vla.statevla import StateVLA
from tempovla.model.vla.vla_model import VLAModel
from tempovla.timeline import Bundle
from tempovla.timeline.config import config_to_json

SAVED = [
    "vla-metaworld",
    "vla-flow-matching-all",
    "vla-mlp-gru-buffer",
    "smolvla",
    "smolvla-all",
    "statevla-policy-all",
]
IN_A_CONTEXT = [name for name in SAVED if name.endswith(("-all", "-buffer"))]


def bundle_of(policy) -> Bundle:
    config = config_to_json(policy.config)
    return Bundle(base_of(policy).kind, config, policy.windows(), EMBODIMENT, {}, policy.state_dict())


@torch.no_grad()
def acted(policy, name: str) -> Tensor:
    """Chunks of three decisions."""
    state, chunks = policy.initial_state(4), []
    for context in random_contexts(policy.windows(), POLICIES[name].shapes, steps=3):
        chunk, state = policy.act(context, state)
        chunks.append(chunk.value)
    return torch.stack(chunks)


def assert_the_same(again, policy, name: str) -> None:
    assert type(again) is type(policy)
    assert again.config == policy.config
    assert not again.training
    assert torch.equal(acted(again, name), acted(policy, name))


@pytest.mark.parametrize("name", SAVED)
def test_a_policy_comes_back_from_its_folder_in_its_context(tmp_path, name):
    policy = POLICIES[name].build()
    policy.save_pretrained(tmp_path / "saved")
    assert_the_same(type(base_of(policy)).from_pretrained(tmp_path / "saved"), policy, name)


@pytest.mark.parametrize("name", SAVED)
def test_a_policy_comes_back_from_a_checkpoint_of_training(tmp_path, name):
    policy = POLICIES[name].build()
    bundle_of(policy).save(tmp_path / "bundle")
    assert_the_same(type(base_of(policy)).from_pretrained(tmp_path / "bundle"), policy, name)


@pytest.mark.parametrize("name", IN_A_CONTEXT)
def test_the_policy_of_one_frame_is_saved_without_the_context_around_it(tmp_path, name):
    base = POLICIES[name].build().base
    base.save_pretrained(tmp_path / "saved")
    again = type(base).from_pretrained(tmp_path / "saved")
    assert type(again) is type(base)
    assert again.config == replace(base.config, context=None)
    assert torch.equal(acted(again, name), acted(base, name))


def test_a_checkpoint_of_phase_1_is_not_in_a_context_yet(tmp_path):
    phase_2 = POLICIES["statevla-policy-all"].build()
    policy = StateVLA(phase_2.config, phase=1)
    bundle_of(policy).save(tmp_path / "bundle")
    again = StateVLA.from_pretrained(tmp_path / "bundle")
    assert type(again) is StateVLA
    assert again.config.context is not None


def test_the_folder_says_which_policy_it_is_and_another_class_refuses_it(tmp_path):
    policy = POLICIES["vla-mlp"].build()
    policy.save_pretrained(tmp_path / "saved")
    settings = json.loads((tmp_path / "saved" / "config.json").read_text())
    assert settings["policy"] == "vla"
    with pytest.raises(ValueError, match=r"config\.json: is of policy 'vla', not 'statevla'; load it with the class"):
        StateVLA.from_pretrained(tmp_path / "saved")
    bundle_of(policy).save(tmp_path / "bundle")
    with pytest.raises(ValueError, match=r"bundle\.json: is of policy 'vla', not 'statevla'"):
        StateVLA.from_pretrained(tmp_path / "bundle")
    del settings["policy"]  # as written before folders said so
    (tmp_path / "saved" / "config.json").write_text(json.dumps(settings))
    assert_the_same(VLAModel.from_pretrained(tmp_path / "saved"), policy, "vla-mlp")


def test_kinds_are_the_names_of_the_registry():
    for name, (policy, _) in POLICY_REGISTRY.items():
        if name != "openvla":  # which is saved in its own layout
            assert policy.kind == name


@pytest.mark.parametrize("folder", ["saved", "bundle"])
def test_a_vision_language_model_is_taken_from_a_policy_in_a_context(tmp_path, folder):
    policy, other = POLICIES["vla-mlp-transformer-hierarchical"].build(), VLAModel(tiny_vla_config("mlp", layers=1))
    policy.save_pretrained(tmp_path / "saved")
    bundle_of(policy).save(tmp_path / "bundle")
    other.load_vlm(tmp_path / folder)
    taken, source = other.state_dict(), policy.base.state_dict()
    names = [name for name in taken if name.startswith(("vlm.vision.", "vlm.projector.", "vlm.language."))]
    assert len(names) > 20
    assert all(torch.equal(taken[name], source[name]) for name in names)
    assert set(read_weights(tmp_path / folder)) == set(policy.state_dict())
