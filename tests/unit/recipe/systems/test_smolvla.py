"""The SmolVLA recipe from a dataset to a policy that acts."""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import Any

import pytest
import torch
from tests.smolvla_tiny import architecture, save_smolvlm, tiny_config, tiny_policy
from tests.tiny import six_steps
from tests.tiny_models import save_tokenizer
from tests.trained import act, assert_same, logged

from tempovla.data.lerobot import open_dataset
from tempovla.export.exporter import ExportConfig, export_checkpoint
from tempovla.model.temporal.context_config import ContextConfig
from tempovla.model.vla.lora import LoRAConfig
from tempovla.model.vla.registry import load_policy
from tempovla.recipe.datasets.config import DataConfig
from tempovla.recipe.datasets.dataset_mixture import DatasetMixture
from tempovla.recipe.evaluation.offline import evaluate_offline
from tempovla.recipe.systems.smolvla import build_policy, build_tokenizer, build_transform, train_smolvla
from tempovla.recipe.systems.smolvla_config import SmolVLARecipe
from tempovla.recipe.systems.vla_config import VLATransformConfig
from tempovla.timeline import Bundle
from tempovla.transform.tokenizer import TransformersTokenizer, WordTokenizer


@pytest.fixture
def recipe(dataset) -> SmolVLARecipe:
    """Six steps of a tiny SmolVLA."""
    return SmolVLARecipe(
        data=DataConfig(data_directory=str(dataset), train_split=0.75, validation_batches=2),
        transform=VLATransformConfig(shift_px=1),
        model=tiny_config({"resize": "stretch"}, action_dim=3, cloning_weight=1.0, draws=2),
        training=six_steps(),
    )


def with_model(recipe: SmolVLARecipe, **options: Any) -> SmolVLARecipe:
    return replace(recipe, model=replace(recipe.model, **options))


def steps(recipe: SmolVLARecipe, count: int, **options: Any) -> SmolVLARecipe:
    return replace(recipe, training=replace(recipe.training, train_steps=count, **options))


def test_it_trains_resumes_and_the_policy_acts(tmp_path, recipe):
    whole = train_smolvla(recipe, tmp_path / "run")
    assert whole.train_step == 6
    assert {"action_loss", "behavior_cloning", "val_action_loss", "val_behavior_cloning"} <= set(whole.metrics)
    bundle = Bundle.load(whole.checkpoint)
    assert bundle.policy == "smolvla"
    kinds = [step["name"] for step in bundle.transform["steps"]]
    assert kinds == ["resize_images", "normalize", "tokenize_instruction"]
    assert bundle.transform["steps"][2]["prompt"] == "{instruction}\n"
    actions = act(bundle)
    assert actions.shape == (2, 5, 3)
    assert set(actions[..., 2].unique().tolist()) <= {-1.0, 1.0}
    assert evaluate_offline(whole.checkpoint)["mse"] > 0
    resumed = train_smolvla(recipe, tmp_path / "again", resume=whole.checkpoint.parent / "step_00000003")
    assert_same(Bundle.load(resumed.checkpoint).weights, bundle.weights)
    assert [line["total"] for line in logged(tmp_path / "again")] == [
        line["total"] for line in logged(tmp_path / "run")[3:]
    ]


def test_recomputed_activations_change_nothing(tmp_path, recipe):
    plain = train_smolvla(steps(recipe, 2), tmp_path / "plain")
    recomputed = train_smolvla(steps(recipe, 2, recompute_activations=True), tmp_path / "recomputed")
    assert_same(Bundle.load(recomputed.checkpoint).weights, Bundle.load(plain.checkpoint).weights)


def test_a_pretrained_smolvlm_stays_as_it_is_and_its_tokenizer_is_taken(tmp_path, recipe):
    folder = tmp_path / "smolvlm"
    save_smolvlm(folder)
    vlm = replace(recipe.model.vlm, model_name=str(folder), architecture=None, resize="pad")
    recipe = with_model(steps(recipe, 2), vlm=vlm, cloning_weight=0.0, max_instruction_tokens=12)
    with pytest.raises(ValueError, match=r"holds no tokenizer .* name another tokenizer with transform.tokenizer"):
        train_smolvla(recipe, tmp_path / "without")
    save_tokenizer(folder)
    policy = build_policy(recipe)
    assert isinstance(build_tokenizer(recipe, policy), TransformersTokenizer)
    before = {name: value.clone() for name, value in policy.vlm.state_dict().items()}
    bundle = Bundle.load(train_smolvla(recipe, tmp_path / "run").checkpoint)
    for name, value in before.items():
        assert torch.equal(bundle.weights[f"vlm.{name}"], value), name
    shutil.rmtree(folder)  # a checkpoint keeps what it needs of it
    assert act(bundle).shape == (2, 5, 3)


def test_a_run_starts_from_a_pretrained_policy_with_streams_of_its_own(tmp_path, recipe):
    start = tiny_policy(action_dim=4, chunk_size=9, num_steps=7)
    start.save_pretrained(tmp_path / "start")
    recipe = with_model(recipe, cloning_weight=0.0, lora=None)
    policy = build_policy(recipe, tmp_path / "start")
    assert (policy.config.action_dim, policy.config.chunk_size, policy.config.num_steps) == (3, 5, 3)
    assert torch.equal(policy.expert.action_in_proj.weight, start.expert.action_in_proj.weight)
    result = train_smolvla(steps(recipe, 1), tmp_path / "run", pretrained_policy=tmp_path / "start")
    assert act(Bundle.load(result.checkpoint)).shape == (2, 5, 3)
    pytest.importorskip("peft")
    adapted = build_policy(with_model(recipe, lora=LoRAConfig(r=2)), tmp_path / "start")
    assert adapted.config.lora == LoRAConfig(r=2)


def test_tokens_beyond_the_vocabulary_are_named(tmp_path, recipe):
    save_tokenizer(tmp_path / "words")
    recipe = replace(recipe, transform=replace(recipe.transform, tokenizer=str(tmp_path / "words")))
    recipe = with_model(recipe, vlm=replace(recipe.model.vlm, architecture=architecture(vocab_size=2)))
    source, policy = open_dataset(recipe.data.data_directory), build_policy(recipe)
    with pytest.raises(ValueError, match=r"has \d+ ids, but the language model knows 2; choose the tokenizer"):
        build_transform(recipe, policy, DatasetMixture.of_one(source, recipe.model))


def test_hashed_words_are_as_many_as_the_language_model_knows(recipe):
    tokenizer = build_tokenizer(recipe, build_policy(recipe))
    assert isinstance(tokenizer, WordTokenizer)
    assert tokenizer.vocab_size == 16


def test_it_learns_in_a_context_from_a_policy_without_one_and_acts_with_its_stride(tmp_path, recipe):
    context = ContextConfig(history={"history_length": 2, "hidden_dim": 8}, stride=2, sequence_length=3)
    before = tiny_policy(action_dim=3, vlm={"resize": "stretch"})
    before.save_pretrained(tmp_path / "before")
    recipe = steps(with_model(recipe, cloning_weight=0.0, context=context), 2)
    done = train_smolvla(recipe, tmp_path / "run", pretrained_policy=tmp_path / "before")
    policy = load_policy(Bundle.load(done.checkpoint))
    assert policy.frame_stride == 2
    assert policy.config.context == context
    figures = evaluate_offline(done.checkpoint)
    exported = export_checkpoint(done.checkpoint, tmp_path / "script", ExportConfig("torchscript"))
    assert evaluate_offline(exported.file)["mse"] == pytest.approx(figures["mse"], rel=1e-3)
    again = train_smolvla(recipe, tmp_path / "again", pretrained_policy=tmp_path / "before")
    assert_same(Bundle.load(again.checkpoint).weights, Bundle.load(done.checkpoint).weights)


def test_a_context_that_does_not_fit_is_refused(recipe):
    with pytest.raises(ValueError, match=r"model.context.freeze_base=true: SmolVLA's features .*train_expert_only to"):
        with_model(recipe, context=ContextConfig(history={}, freeze_base=True))
    wide = with_model(recipe, context=ContextConfig(history={"history_length": 2}, stride=9, sequence_length=3))
    with pytest.raises(ValueError, match="stride=9"):
        train_smolvla(wide, "unused")
