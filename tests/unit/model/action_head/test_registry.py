"""Heads by name, and a head of one's own."""

from __future__ import annotations

import pytest
import torch
from tests.unit.model.action_head.heads import random
from torch import nn

from tempovla.model.action_head.base import ActionHeadBase
from tempovla.model.action_head.registry import ACTION_HEAD_REGISTRY, build_action_head
from tempovla.model.vla.vla_config import VLAConfig
from tempovla.timeline import LossTerm


class LinearHead(ActionHeadBase):
    """What a user might write."""

    def __init__(self, input_dim, action_dim, action_horizon, scale=1.0, **options):
        super().__init__(input_dim, action_dim, action_horizon)
        self.scale, self.options = scale, options
        self.linear = nn.Linear(input_dim, action_horizon * action_dim)

    def sample(self, features, generator=None, *, feature_valid=None):
        flat = self.scale * self.linear(self.pooled(features, feature_valid))
        return flat.unflatten(1, (self.action_horizon, self.action_dim))

    def loss_terms(self, features, actions, valid, generator=None, *, feature_valid=None):
        clean, full = self.clean_actions(actions, valid)
        return {"action_loss": LossTerm(self.sample(features), clean, full)}


@pytest.mark.parametrize("name", ACTION_HEAD_REGISTRY)
def test_every_head_is_built_from_the_same_sizes(name):
    head = build_action_head(name, 8, 3, 4, {"hidden_dim": 16})
    assert isinstance(head, ACTION_HEAD_REGISTRY[name])
    assert (head.input_dim, head.action_dim, head.action_horizon) == (8, 3, 4)
    assert head.sample(random(2, 8)).shape == (2, 4, 3)


def test_the_guides_five_heads_are_registered():
    assert {"mlp", "gaussian", "diffusion", "flow_matching", "transformer"} <= set(ACTION_HEAD_REGISTRY)


def test_a_head_of_ones_own_is_one_more_entry(monkeypatch):
    monkeypatch.setitem(ACTION_HEAD_REGISTRY, "linear", LinearHead)
    head = build_action_head("linear", 8, 3, 4, {"scale": 0.0, "anything": "else"})
    assert head.options == {"anything": "else"}
    assert torch.equal(head.sample(random(2, 6, 8)), torch.zeros(2, 4, 3))


def test_unknown_names_and_options_are_refused_and_the_nearest_is_named():
    with pytest.raises(ValueError, match=r"^action head 'difusion' is unknown; did you mean 'diffusion'\?$"):
        build_action_head("difusion", 8, 3, 4)
    with pytest.raises(ValueError, match=r"action head 'zzz' is unknown; choose from \['diffusion', 'flow_matching'"):
        build_action_head("zzz", 8, 3, 4)
    with pytest.raises(ValueError, match=r"^MLPActionHead has no option 'hiden_dim'; did you mean 'hidden_dim'\?$"):
        build_action_head("mlp", 8, 3, 4, {"hiden_dim": 4})
    with pytest.raises(ValueError, match="MLPActionHead has no option 'chunk_size'"):
        build_action_head("mlp", 8, 3, 4, {"chunk_size": 4})
    with pytest.raises(ValueError, match="DiffusionActionHead: horizon=0 must be at least 1"):
        build_action_head("diffusion", 8, 3, 0)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("mlp", {"hidden_dim": None}, "MLPActionHead: hidden_dim=None is not a whole number"),
        ("mlp", {"num_layers": 2.5}, "MLPActionHead: num_layers=2.5 is not a whole number"),
        ("diffusion", {"hidden_dim": "x"}, "DiffusionActionHead: hidden_dim='x' is not a whole number"),
        ("diffusion", {"clip_sample": "big"}, "DiffusionActionHead: clip_sample='big' is not a number or null"),
        ("gaussian", {"squash": "yes"}, "GaussianMLPActionHead: squash='yes' is not true or false"),
        ("transformer", {"num_bins": True}, "TransformerActionHead: num_bins=True is not a whole number or null"),
    ],
)
def test_a_value_of_another_type_is_refused_by_head_and_config(name, options, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        build_action_head(name, 8, 3, 4, options)
    with pytest.raises(ValueError, match=f"^{message}"):
        VLAConfig(action_head=name, action_head_options={name: options})


def test_whole_numbers_are_numbers_and_none_is_no_clip():
    assert build_action_head("diffusion", 8, 3, 4, {"clip_sample": 2}).schedule["clip_sample_range"] == 2
    assert not build_action_head("diffusion", 8, 3, 4, {"clip_sample": None}).schedule["clip_sample"]


@pytest.mark.parametrize("limit", [0, -2.0, float("inf"), float("nan")])
def test_a_limit_that_no_action_can_keep_is_refused(limit):
    with pytest.raises(ValueError, match=r"DiffusionActionHead: clip_sample=.* must be greater than 0, and finite"):
        build_action_head("diffusion", 8, 3, 4, {"clip_sample": limit})
    with pytest.raises(ValueError, match=r"TransformerActionHead: bin_range=.* must be greater than 0, and finite"):
        build_action_head("transformer", 8, 3, 4, {"num_bins": 8, "bin_range": limit})


def test_the_base_asks_for_both_methods():
    head = ActionHeadBase(8, 3, 4)
    with pytest.raises(NotImplementedError):
        head.sample(random(2, 8))
    with pytest.raises(NotImplementedError):
        head.loss_terms(random(2, 8), random(2, 4, 3), torch.ones(2, 4, dtype=torch.bool))
