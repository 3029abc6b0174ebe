"""Temporal training in a few numbers: its fields and defaults, and the recipe that they give."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.tiny import vla_recipe

from tempovla.model.temporal.context_config import ContextConfig
from tempovla.model.temporal.memory.registry import MEMORY_REGISTRY
from tempovla.recipe import TemporalTrainingConfig
from tempovla.recipe.systems.temporal_config import check_reach
from tempovla.recipe.systems.vla import build_policy

SMALL = {"temporal_hidden_dim": 8, "history_hidden_dim": 8, "num_heads": 2, "num_temporal_layers": 1, "memory_size": 3}


def test_the_fields_have_the_documented_defaults():
    config = TemporalTrainingConfig()
    fields = {
        "sequence_length": 32,
        "history_length": 16,
        "learning_rate": 1e-4,
        "batch_size": 32,
        "num_epochs": 100,
        "temporal_encoder_type": "transformer",
        "num_temporal_layers": 4,
        "use_history_encoder": True,
        "history_hidden_dim": 512,
        "use_memory": True,
        "memory_size": 1000,
    }
    assert {name: getattr(config, name) for name in fields} == fields
    assert config == TemporalTrainingConfig(**fields)


def test_its_context_has_all_parts_with_their_sizes():
    context = TemporalTrainingConfig(stride=2, burn_in=3, bptt_length=8, freeze_base=True).context()
    assert context == ContextConfig(
        {"encoder_type": "transformer", "num_layers": 4, "num_heads": 8},
        {"history_length": 16, "hidden_dim": 512, "num_heads": 8},
        {"kind": "buffer", "memory_size": 1000, "num_heads": 8},
        stride=2,
        sequence_length=32,
        burn_in=3,
        bptt_length=8,
        freeze_base=True,
    )


@pytest.mark.parametrize("part", ["temporal", "history", "memory"])
def test_parts_are_used_or_not(part):
    uses = {"use_temporal_encoder": "temporal", "use_history_encoder": "history", "use_memory": "memory"}
    context = TemporalTrainingConfig(**{use: name == part for use, name in uses.items()}).context()
    assert [name for name in uses.values() if getattr(context, name) is not None] == [part]


@pytest.mark.parametrize("kind", MEMORY_REGISTRY)
def test_applied_to_a_recipe_it_gives_a_policy_that_remembers(kind):
    recipe = vla_recipe("absent")
    config = TemporalTrainingConfig(
        memory_kind=kind, sequence_length=6, history_length=4, learning_rate=2e-3, batch_size=3, num_epochs=7, **SMALL
    )
    applied = config.apply(recipe)
    assert applied.model.context == config.context()
    assert applied.model.lambda_temporal == 0.1
    training = applied.training
    assert (training.learning_rate, training.batch_size, training.num_epochs) == (2e-3, 3, 7)
    assert training.train_steps is None
    assert training.total_steps(batches_per_epoch=5) == 35
    assert replace(training, learning_rate=1e-3, batch_size=4, num_epochs=1000, train_steps=6) == recipe.training
    policy = build_policy(applied)
    assert list(policy.context.parts) == ["temporal", "history", "memory"]
    held = policy.initial_state(1).context.parts[2]
    assert (
        any(3 in tensor.shape for tensor in vars(held).values() if hasattr(tensor, "shape")) or kind == "hierarchical"
    )


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"memory_kind": "episodic"}, "memory_kind='episodic' is unknown; choose from buffer, hierarchical, working"),
        (
            {"use_temporal_encoder": False, "use_history_encoder": False, "use_memory": False},
            "no temporal part is used; set use_temporal_encoder, use_history_encoder or use_memory",
        ),
        ({"history_length": 32}, "history_length=32 is more than the 31 frames before the last one of a training win"),
        ({"history_length": 0}, "history_length=0 must be at least 1; leave the history encoder out instead"),
        ({"sequence_length": 0}, "context.sequence_length=0 must be at least 1"),
        ({"stride": 0}, "context.stride=0 must be at least 1"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(fields, message):
    with pytest.raises(ValueError, match=r".") as error:
        TemporalTrainingConfig(**fields)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def test_a_smooth_chunk_needs_a_predicted_one():
    recipe = vla_recipe("absent")
    recipe = replace(recipe, model=replace(recipe.model, cloning_weight=0.0))
    with pytest.raises(ValueError, match=r"model.lambda_temporal=0.1 needs a predicted chunk, which 'flow_matching'"):
        TemporalTrainingConfig(**SMALL).apply(recipe)
    assert TemporalTrainingConfig(lambda_temporal=0.0).apply(recipe).model.lambda_temporal == 0.0


def test_a_history_may_look_back_over_the_whole_window_but_no_further():
    check_reach(ContextConfig(history={"history_length": 7}, sequence_length=6, burn_in=2))
    with pytest.raises(ValueError, match="history_length=8 is more than the 7 frames"):
        check_reach(ContextConfig(history={"history_length": 8}, sequence_length=6, burn_in=2))
