"""Fine-tuning of a tiny OpenVLA from a published folder to a policy that acts."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
import torch
from tests.gripper_recordings import FRONT, WRIST, record
from tests.openvla_tiny import save_published, save_tokenizer
from tests.tiny import six_steps
from tests.trained import act, assert_same, logged

from tempovla.data.lerobot import open_dataset
from tempovla.model.vla.lora import LoRAConfig
from tempovla.model.vla.openvla_config import OPENVLA_PROMPT, openvla_prompt
from tempovla.model.vla.openvla_wrapper import OpenVLAWrapper
from tempovla.model.vla.registry import load_policy
from tempovla.recipe.datasets.config import DataConfig
from tempovla.recipe.datasets.dataset import load_dataset
from tempovla.recipe.datasets.dataset_mixture import DatasetMixture
from tempovla.recipe.evaluation.offline import evaluate_offline
from tempovla.recipe.systems.openvla import build_policy, build_transform, train_openvla
from tempovla.recipe.systems.openvla_config import OpenVLAModelConfig, OpenVLARecipe, OpenVLATransformConfig
from tempovla.timeline import ActionChunk, Bundle
from tempovla.timeline.keys import ACTION_KEY, TOKENS_KEY
from tempovla.timeline.laws.transform import check_inverse, check_parity
from tempovla.transform.normalize import Normalize
from tempovla.transform.pipeline import TransformPipeline

pytest.importorskip("peft")


@pytest.fixture
def pretrained(tmp_path) -> OpenVLAWrapper:
    """What was saved as tmp_path/published, whose bins are fine enough to tell actions apart."""
    return save_published(tmp_path / "published", "task 0", "task 1")


@pytest.fixture
def recipe(tmp_path, dataset, pretrained) -> OpenVLARecipe:
    """Six steps of adapters."""
    return OpenVLARecipe(
        data=DataConfig(data_directory=str(dataset), train_split=0.75, validation_batches=2),
        transform=OpenVLATransformConfig(max_prompt_tokens=24),
        model=OpenVLAModelConfig(
            pretrained=str(tmp_path / "published"),
            cameras=(FRONT,),
            action_dim=3,
            dtype="float32",
            lora=LoRAConfig(r=2, alpha=4.0),
        ),
        training=six_steps(),
    )


def with_model(recipe: OpenVLARecipe, **options: Any) -> OpenVLARecipe:
    return replace(recipe, model=replace(recipe.model, **options))


def with_training(recipe: OpenVLARecipe, **options: Any) -> OpenVLARecipe:
    return replace(recipe, training=replace(recipe.training, **options))


def with_transform(recipe: OpenVLARecipe, **options: Any) -> OpenVLARecipe:
    return replace(recipe, transform=replace(recipe.transform, **options))


def a_batch(recipe: OpenVLARecipe) -> tuple[OpenVLAWrapper, TransformPipeline, Any]:
    source = load_dataset(recipe)
    policy = build_policy(recipe, source)
    transform = build_transform(recipe, policy, source)
    loader, _ = DatasetMixture.of_one(source, recipe.model).batches(
        policy.windows(), recipe, recipe.training, transform
    )
    return policy, transform, next(iter(loader))


def test_adapters_train_alone_and_the_policy_acts(tmp_path, recipe, pretrained):
    result = train_openvla(recipe, tmp_path / "run")
    assert result.train_step == 6
    assert {"action_loss", "action_l1", "val_action_loss", "val_action_l1"} <= set(result.metrics)
    bundle = Bundle.load(result.checkpoint)
    assert bundle.policy == "openvla"
    assert bundle.provenance["instructions"] == ["task 0", "task 1"]
    names = [step["name"] for step in bundle.transform["steps"]]
    assert names == ["resize_images", "normalize", "tokenize_instruction"]
    own = {name.replace(".base_layer", ""): weight for name, weight in bundle.weights.items() if "lora_" not in name}
    assert_same(own, pretrained.state_dict())
    adapters = [weight for name, weight in bundle.weights.items() if "lora_B" in name]
    assert adapters
    assert all(weight.any() for weight in adapters)  # they begin at zero
    actions = act(bundle, cameras=(FRONT,))
    assert actions.shape == (2, 1, 3)
    assert actions.isfinite().all()


def test_the_loss_falls(tmp_path, recipe):
    recipe = with_training(
        recipe, train_steps=30, learning_rate=1e-2, batch_size=9, save_interval_steps=30, keep_every=None
    )
    train_openvla(recipe, tmp_path / "run")
    losses = [line["action_loss"] for line in logged(tmp_path / "run")]
    assert sum(losses[-5:]) < 0.6 * sum(losses[:5])


def test_a_resumed_run_ends_where_an_uninterrupted_one_does(tmp_path, recipe):
    whole = train_openvla(recipe, tmp_path / "run")
    resumed = train_openvla(recipe, tmp_path / "again", resume=whole.checkpoint.parent / "step_00000003")
    assert_same(Bundle.load(resumed.checkpoint).weights, Bundle.load(whole.checkpoint).weights)
    totals = [[line["total"] for line in logged(tmp_path / name)] for name in ("again", "run")]
    assert totals[0] == totals[1][3:]


def test_without_adapters_all_weights_learn_and_recomputing_changes_nothing(tmp_path, recipe, pretrained):
    recipe = with_training(with_model(recipe, lora=None), train_steps=3)
    plain = Bundle.load(train_openvla(recipe, tmp_path / "plain").checkpoint)
    recomputed = train_openvla(with_training(recipe, recompute_activations=True), tmp_path / "recomputed")
    assert_same(Bundle.load(recomputed.checkpoint).weights, plain.weights)
    learn = {name for name, weight in pretrained.named_parameters() if weight.requires_grad}
    before = pretrained.state_dict()
    assert {name for name, weight in plain.weights.items() if not torch.equal(weight, before[name])} == learn


def test_weights_are_bfloat16_beside_adapters_and_float32_where_all_learn(recipe):
    source = load_dataset(recipe)
    policy = build_policy(with_model(recipe, dtype=None), source)
    assert {weight.dtype for name, weight in policy.named_parameters() if "lora_" not in name} == {torch.bfloat16}
    assert {weight.dtype for weight in policy.parameters() if weight.requires_grad} == {torch.float32}
    policy = build_policy(with_model(recipe, dtype=None, lora=None), source)
    assert {weight.dtype for weight in policy.parameters()} == {torch.float32}


def test_it_trains_in_bfloat16_with_recomputed_activations_as_the_published_config_says(tmp_path, recipe):
    recipe = with_training(with_model(recipe, dtype=None), precision="bfloat16", recompute_activations=True)
    bundle = Bundle.load(train_openvla(recipe, tmp_path / "run").checkpoint)
    assert {weight.dtype for name, weight in bundle.weights.items() if "lora_" not in name} == {torch.bfloat16}
    assert all(weight.any() for name, weight in bundle.weights.items() if "lora_B" in name)
    assert act(bundle, cameras=(FRONT,)).isfinite().all()


def test_actions_are_normalised_by_percentiles_and_the_gripper_is_kept(recipe):
    policy, transform, sample = a_batch(recipe)
    actions = sample.future[ACTION_KEY].value
    statistics = load_dataset(recipe).statistics[ACTION_KEY]
    low, high = (torch.tensor(statistics[name]).float()[:2] for name in ("q01", "q99"))
    seen = transform.forward_sample(sample).future[ACTION_KEY].value
    torch.testing.assert_close(seen[..., :2], 2 * (actions[..., :2] - low) / (high - low) - 1)
    assert torch.equal(seen[..., 2], actions[..., 2])
    beyond = policy.action_tokens.encode(torch.tensor([-3.0, 3.0]))
    assert beyond.tolist() == policy.action_tokens.encode(torch.tensor([-1.0, 1.0])).tolist()


def test_a_gripper_is_translated_to_the_published_words_and_back(recipe):
    _, transform, sample = a_batch(with_transform(recipe, gripper_open=-1.0))
    actions = sample.future[ACTION_KEY]
    seen = transform.forward_sample(sample).future[ACTION_KEY]
    assert torch.equal(seen.value[..., 2], (actions.value[..., 2] < 0).float())
    back = transform.inverse(ActionChunk(seen.value, seen.valid, seen.offset))
    torch.testing.assert_close(back.value, actions.value)


def test_training_and_control_see_the_same_prompt(recipe, pretrained):
    _, transform, sample = a_batch(recipe)
    check_inverse(transform, sample)
    check_parity(transform, sample)
    *_, tokenize = transform.steps
    assert tokenize.prompted(" Task 1") == openvla_prompt(" Task 1")
    seen = transform.forward_sample(sample).context.now[TOKENS_KEY].value[0, 0]
    told = openvla_prompt(sample.context.task[0].instruction)
    assert seen[seen >= 0].tolist() == tokenize.tokenizer.encode(told)
    again = TransformPipeline.from_json(json.loads(json.dumps(transform.to_json())))
    assert again.steps[-1].prompt == OPENVLA_PROMPT
    assert torch.equal(again.forward_sample(sample).context.now[TOKENS_KEY].value[0, 0], seen)


@pytest.mark.parametrize("normalization", ["quantile", "mean_std"])
def test_a_merged_policy_is_saved_as_published_and_knows_its_own_dataset(tmp_path, recipe, normalization):
    recipe = with_transform(recipe, action_normalization=normalization)
    bundle = Bundle.load(train_openvla(recipe, tmp_path / "run").checkpoint)
    policy = load_policy(bundle)
    policy.merge_lora()
    policy.save_pretrained(tmp_path / "merged")
    again = OpenVLAWrapper.from_pretrained(tmp_path / "merged", camera=FRONT, dtype="float32")
    assert list(again.config.norm_stats) == ["dataset"]
    _, transform, sample = a_batch(recipe)
    context = transform.forward_context(sample.context)
    picture, _ = context.now[FRONT].at(0)
    ids, _ = context.now[TOKENS_KEY].at(0)
    expected = transform.inverse(policy.act(context, None)[0]).value[:, 0]
    torch.testing.assert_close(again.predict_action(picture, ids, "dataset"), expected, atol=1e-5, rtol=1e-5)


def test_offline_evaluation_finds_the_recipe_of_the_checkpoint(tmp_path, recipe):
    figures = evaluate_offline(train_openvla(recipe, tmp_path / "run").checkpoint)
    assert (figures["episodes"], figures["samples"]) == (1, 9)
    assert 0 <= figures["gripper_accuracy"] <= 1


def test_a_blind_policy_acts_alike_with_and_without_cameras(tmp_path, recipe):
    recipe = with_transform(recipe, blind=True)
    bundle = Bundle.load(train_openvla(recipe, tmp_path / "run").checkpoint)
    assert torch.equal(act(bundle, cameras=(FRONT,)), act(bundle, cameras=()))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pretrained": ""}, "model.pretrained is empty; give the name or folder of an OpenVLA checkpoint"),
        ({"action_dim": 7}, r"'action' has shape \(3,\); set model.action_dim=3"),
        ({"cameras": ("observation.images.left",)}, r"has no camera 'observation.images.left'; set model.cameras"),
        ({"lora": LoRAConfig(target_modules=("q",))}, r"lora.target_modules=\['q'\] name no layer; choose from \["),
    ],
)
def test_mistakes_are_named_in_one_line(tmp_path, recipe, options, message):
    with pytest.raises(ValueError, match=message) as error:
        train_openvla(with_model(recipe, **options), tmp_path / "run")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


def test_adapters_go_beside_the_layers_that_are_named_in_whatever_part_they_are(recipe):
    policy = build_policy(with_model(recipe, lora=LoRAConfig(target_modules=("q_proj", "fc3"))), load_dataset(recipe))
    adapted = {name.split(".lora_")[0] for name, _ in policy.named_parameters() if "lora_" in name}
    layers = {f"vlm.language_model.model.layers.{index}.self_attn.q_proj" for index in range(2)}
    assert adapted == {*layers, "vlm.projector.fc3"}


def test_settings_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"OpenVLA sees one picture; name one camera"):
        OpenVLAModelConfig(cameras=(FRONT, WRIST))
    with pytest.raises(ValueError, match=r"gripper_open=0.5 is neither -1 nor 1"):
        OpenVLATransformConfig(gripper_open=0.5)
    with pytest.raises(ValueError, match=r"gripper_open=1.0 needs a gripper; set model.has_gripper=true"):
        OpenVLARecipe(transform=OpenVLATransformConfig(gripper_open=1.0), model=OpenVLAModelConfig(has_gripper=False))


def test_a_tokenizer_with_more_ids_than_the_model_knows_is_refused(tmp_path, recipe):
    save_tokenizer(tmp_path / "other", " ".join(f"word{index}" for index in range(70)))
    with pytest.raises(ValueError, match=r"has 83 ids, but the language model knows 64; give the one that"):
        train_openvla(with_transform(recipe, tokenizer=str(tmp_path / "other")), tmp_path / "run")


def test_a_continuous_gripper_is_normalised_as_the_other_dimensions(tmp_path, recipe):
    source = open_dataset(record(tmp_path / "continuous", binary_gripper=False))
    recipe = with_model(recipe, has_gripper=False)
    transform = build_transform(recipe, policy := build_policy(recipe, source), source)
    assert isinstance(transform.steps[1], Normalize)
    assert policy.config.norm_stats["continuous"]["action"]["mask"] == [True, True, True]
    assert transform.steps[1].scale[ACTION_KEY][2] != 1.0
