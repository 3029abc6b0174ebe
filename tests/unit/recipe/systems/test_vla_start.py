"""What a VLA that remembers starts from: a trained policy of one frame, in a context or not."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import pytest
import torch
from tests.gripper_recordings import record
from tests.tiny import vla_recipe
from tests.trained import assert_same

from tempovla.model.temporal.context_config import ContextConfig
from tempovla.model.vla.context_policy import base_weights
from tempovla.model.vla.lora import LoRAConfig
from tempovla.recipe.systems.vla import build_policy, train_vla
from tempovla.recipe.systems.vla_config import VLARecipe
from tempovla.timeline import Bundle

LSTM = {"encoder_type": "lstm", "hidden_dim": 8, "num_layers": 1}


def remembering(recipe: VLARecipe, model: dict[str, Any] | None = None, **options: Any) -> VLARecipe:
    context = ContextConfig(**{"temporal": LSTM, "stride": 2, "sequence_length": 3} | options)
    return replace(recipe, model=replace(recipe.model, context=context, **model or {}))


@pytest.fixture
def recipe(dataset) -> VLARecipe:
    recipe = vla_recipe(dataset)
    still = replace(recipe.transform, shift_px=0)  # a frozen base encodes each frame once
    return replace(recipe, transform=still, training=replace(recipe.training, train_steps=2))


@pytest.fixture
def base(tmp_path, recipe):
    return train_vla(recipe, tmp_path / "base").checkpoint


def test_a_frozen_base_stays_as_it_was_trained_and_its_head_learns_on(tmp_path, recipe, base, caplog):
    result = train_vla(remembering(recipe, freeze_base=True), tmp_path / "run", base_checkpoint=base)
    bundle, before = Bundle.load(result.checkpoint), Bundle.load(base).weights
    after = base_weights(bundle.weights)
    features = [name for name in before if not name.startswith(("action_head.", "behavior_cloning."))]
    assert_same({name: after[name] for name in features}, {name: before[name] for name in features})
    assert not torch.equal(after["behavior_cloning.0.weight"], before["behavior_cloning.0.weight"])
    assert any(name.startswith("context.") for name in bundle.weights)
    assert "other transforms" not in caplog.text


def test_it_starts_from_a_policy_in_a_context_too(tmp_path, recipe):
    first = train_vla(remembering(recipe), tmp_path / "first").checkpoint
    weights = Bundle.load(first).weights
    again = build_policy(remembering(recipe, temporal=LSTM | {"hidden_dim": 4}), base_checkpoint=first)
    assert_same(again.base.state_dict(), base_weights(weights))
    assert_same(build_policy(recipe, base_checkpoint=first).state_dict(), base_weights(weights))


def test_adapters_come_with_the_base_or_after_it(tmp_path, recipe, base):
    pytest.importorskip("peft")
    lora = {"lora": LoRAConfig(r=2, alpha=4.0)}
    fresh = build_policy(remembering(recipe, lora), base_checkpoint=base)
    weights = Bundle.load(base).weights
    assert torch.equal(fresh.base.state_dict()["behavior_cloning.0.weight"], weights["behavior_cloning.0.weight"])
    adapted = replace(recipe, model=replace(recipe.model, **lora))
    checkpoint = train_vla(adapted, tmp_path / "adapted").checkpoint
    again = build_policy(remembering(recipe, lora), base_checkpoint=checkpoint)
    assert_same(again.base.state_dict(), dict(Bundle.load(checkpoint).weights))


def test_new_adapters_that_would_not_learn_are_refused(tmp_path, recipe, base):
    pytest.importorskip("peft")
    lora = {"lora": LoRAConfig(r=2, alpha=4.0)}
    frozen = remembering(recipe, lora, freeze_base=True)
    with pytest.raises(ValueError, match=r"model.context.freeze_base=true would keep the new adapters of model.lora"):
        train_vla(frozen, tmp_path / "run", base_checkpoint=base)
    adapted = train_vla(replace(recipe, model=replace(recipe.model, **lora)), tmp_path / "adapted").checkpoint
    weights = Bundle.load(train_vla(frozen, tmp_path / "run", base_checkpoint=adapted).checkpoint).weights
    learned = {name: tensor for name, tensor in Bundle.load(adapted).weights.items() if "lora_" in name}
    after = base_weights(weights)
    assert learned
    assert all(torch.equal(after[name], tensor) for name, tensor in learned.items())


def test_a_resumed_run_goes_on_with_its_own_weights(tmp_path, recipe, base):
    recipe = remembering(recipe, freeze_base=True)
    recipe = replace(recipe, training=replace(recipe.training, train_steps=4, save_interval_steps=2, keep_every=2))
    whole = train_vla(recipe, tmp_path / "run", base_checkpoint=base)
    halfway = whole.checkpoint.parent / "step_00000002"
    resumed = train_vla(recipe, tmp_path / "again", resume=halfway)
    assert_same(Bundle.load(resumed.checkpoint).weights, Bundle.load(whole.checkpoint).weights)


def test_another_dataset_is_warned_of(tmp_path, recipe, base, caplog):
    other = record(tmp_path / "other", episodes=3)
    recipe = remembering(replace(recipe, data=replace(recipe.data, data_directory=str(other))))
    with caplog.at_level(logging.WARNING):
        train_vla(recipe, tmp_path / "run", base_checkpoint=base)
    assert f"{base}: was trained behind other transforms" in caplog.text
    assert "its steps have another length" not in caplog.text


def test_a_base_that_moved_another_body_is_warned_of(tmp_path, recipe, base, caplog):
    bundle = Bundle.load(base)
    replace(bundle, embodiment=replace(bundle.embodiment, rate_hz=50.0)).save(tmp_path / "faster")
    recipe = replace(recipe, training=replace(recipe.training, train_steps=1))
    with caplog.at_level(logging.WARNING):
        train_vla(recipe, tmp_path / "run", base_checkpoint=tmp_path / "faster")
    assert f"{tmp_path / 'faster'}: learned at 50 Hz, and" in caplog.text


def test_a_base_of_another_size_is_refused_in_one_line(recipe, base):
    wider = remembering(recipe, {"feature_dim": 12})
    with pytest.raises(ValueError, match=r"step_\d+: weight '.*' is \(.*\), but \(.*\) in the model") as error:
        build_policy(wider, base_checkpoint=base)
    assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match=r"has weight 'behavior_cloning\..*' of another model"):
        build_policy(remembering(recipe, {"cloning_weight": 0.0}), base_checkpoint=base)


@pytest.mark.parametrize(
    ("options", "starts", "message"),
    [
        (
            {"freeze_base": True},
            {},
            "model.context.freeze_base=true would keep random features as they are; give --base",
        ),
        ({}, {"base_checkpoint": "absent"}, "absent/bundle.json: no such file; give the folder that training saved"),
        (
            {},
            {"base_checkpoint": "a", "pretrained_vlm": "b"},
            "--pretrained-vlm b is of no use with --base-checkpoint a",
        ),
        ({"stride": 5}, {}, "context.stride=5 exceeds the chunk of 4 actions; shorten the stride"),
        ({"history": {"history_length": 3}}, {}, "history_length=3 is more than the 2 frames before the last one"),
    ],
)
def test_an_impossible_start_is_refused_in_one_line(tmp_path, recipe, options, starts, message):
    recipe = remembering(recipe, {"action_horizon": 4}, **options)
    with pytest.raises(ValueError, match=r".") as error:
        train_vla(recipe, tmp_path / "run", **starts)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


def test_a_base_of_another_kind_is_refused(tmp_path, recipe, base):
    replace(Bundle.load(base), policy="smolvla").save(tmp_path / "other")
    with pytest.raises(ValueError, match=r"other: is of policy 'smolvla', not a VLA; give a checkpoint of"):
        train_vla(remembering(recipe), tmp_path / "run", base_checkpoint=tmp_path / "other")
