"""Models that are built for weights which follow are those that are built as ever."""

from __future__ import annotations

import pytest
import torch
from tests.contract.registry import POLICIES
from tests.contract.samples import EMBODIMENT
from tests.tiny_models import save_language, save_vision

from tempovla.model.vla.registry import POLICY_REGISTRY, load_policy
from tempovla.model.vla.vla_model import VLAModel
from tempovla.model.vla.weights import WeightsFollow
from tempovla.timeline import Bundle
from tempovla.timeline.config import config_to_json

KIND = {policy: name for name, (policy, _) in POLICY_REGISTRY.items()}
REGISTERED = [
    name
    for name in POLICIES
    if name != "toy" and not name.startswith("vla-mlp-") and not name.endswith(("-all", "-working"))
]
"""Those without a context: told by their names, as to build them all would take its time whenever tests are listed."""


def bundle_of(policy) -> Bundle:
    config = config_to_json(policy.config)
    return Bundle(KIND[type(policy)], config, policy.windows(), EMBODIMENT, {}, policy.state_dict())


def assert_the_same(loaded: torch.nn.Module, policy: torch.nn.Module) -> None:
    for kind in ("named_parameters", "named_buffers"):
        expected = dict(getattr(policy, kind)(remove_duplicate=False))
        found = dict(getattr(loaded, kind)(remove_duplicate=False))
        assert found.keys() == expected.keys()
        for name, value in found.items():
            assert torch.equal(value, expected[name]), name
            assert value.requires_grad == expected[name].requires_grad, name
            assert value.dtype == expected[name].dtype, name


@pytest.mark.parametrize("name", REGISTERED)
def test_a_loaded_policy_has_the_weights_of_the_bundle_and_computes_its_buffers(name):
    policy = POLICIES[name].build()
    loaded = load_policy(bundle_of(policy))
    assert {key for key, _ in policy.named_parameters(remove_duplicate=False)} <= policy.state_dict().keys()
    if KIND[type(policy)] == "statevla":  # what is trained depends on the phase, which no bundle knows
        loaded.requires_grad_(False)
        policy.requires_grad_(False)
    assert_the_same(loaded, policy)


@pytest.mark.parametrize("kind", ["siglip", "clip", "dinov2_with_registers"])
def test_pretrained_parts_load_the_same(tmp_path, kind):
    vision, language = save_vision(tmp_path / "vision", kind), save_language(tmp_path / "language", "llama")
    policy = VLAModel(vision_model_name=vision, llm_model_name=language, action_dim=3, cameras=("a",)).eval()
    policy.save_pretrained(tmp_path / "saved")
    assert_the_same(VLAModel.from_pretrained(tmp_path / "saved"), policy)
    assert_the_same(load_policy(bundle_of(policy)), policy)


def test_weights_begin_at_zero_and_nothing_else_changes():
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    with WeightsFollow():
        layer = torch.nn.Linear(64, 64)
        torch.nn.init.trunc_normal_(layer.weight)
        assert torch.equal(torch.rand(3), expected)  # no number was drawn for the weights
        buffer = torch.empty(100).normal_()
        norm = torch.nn.LayerNorm(8)
    assert not layer.weight.any()
    assert buffer.std() > 0.5
    assert norm.weight.tolist() == [1.0] * 8
    torch.manual_seed(1)
    torch.nn.init.normal_(layer.weight)
    assert 0.9 < layer.weight.std() < 1.1
