"""The VLA recipe from a dataset to a policy that acts."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.gripper_recordings import ACTION, FEATURES, FRONT, STATE, WRIST, record
from tests.rounding import tolerance
from tests.tiny import vla_recipe
from tests.tiny_models import save_language, save_tokenizer, save_vision
from tests.trained import act, assert_same, logged

from tempovla.control.exported.policy import ExportedPolicy
from tempovla.data.lerobot import open_dataset
from tempovla.data.writer import DatasetWriter
from tempovla.export.exporter import ExportConfig, export_checkpoint
from tempovla.model.vla.lora import LoRAConfig
from tempovla.model.vla.vla_model import VLAModel
from tempovla.model.vlm.language_model import LLMBackboneConfig
from tempovla.model.vlm.vision_encoder import VisionEncoderConfig
from tempovla.objective import Objective
from tempovla.recipe.datasets.dataset import load_dataset
from tempovla.recipe.datasets.dataset_mixture import DatasetMixture
from tempovla.recipe.evaluation.offline import evaluate_offline
from tempovla.recipe.systems.vla import build_policy, build_transform, train_vla
from tempovla.recipe.systems.vla_config import VLARecipe
from tempovla.timeline import Bundle
from tempovla.timeline.bundle import bundle_sha256
from tempovla.training.checkpoint import Checkpoint
from tempovla.transform.tokenize import TokenizeInstruction
from tempovla.transform.tokenizer import TransformersTokenizer, WordTokenizer


@pytest.fixture
def recipe(dataset) -> VLARecipe:
    return vla_recipe(dataset)


def with_model(recipe: VLARecipe, **options: Any) -> VLARecipe:
    return replace(recipe, model=replace(recipe.model, **options))


def with_training(recipe: VLARecipe, **options: Any) -> VLARecipe:
    return replace(recipe, training=replace(recipe.training, **options))


def test_it_trains_and_the_policy_acts(tmp_path, recipe):
    result = train_vla(recipe, tmp_path / "run")
    assert result.train_step == 6
    assert {"action_loss", "behavior_cloning", "val_action_loss", "val_behavior_cloning"} <= set(result.metrics)
    assert [line["train_step"] for line in logged(tmp_path / "run")] == [1, 2, 3, 4, 5, 6]
    bundle = Bundle.load(result.checkpoint)
    assert bundle.policy == "vla"
    assert bundle.provenance["instructions"] == ["task 0", "task 1"]
    assert [step["name"] for step in bundle.transform["steps"]] == [
        "resize_images",
        "normalize",
        "tokenize_instruction",
    ]
    actions = act(bundle)
    assert actions.shape == (2, 5, 3)
    assert set(actions[..., 2].unique().tolist()) <= {-1.0, 1.0}


def test_it_learns_what_the_instruction_says(tmp_path, recipe):
    """Two tasks that only words tell apart, with opposite actions."""
    with DatasetWriter(tmp_path / "words", FEATURES, 10.0, robot_type="toy") as writer:
        for episode in range(4):
            sign = 1.0 if episode % 2 else -1.0
            frames = {key: np.zeros((9, *FEATURES[key].shape), np.uint8) for key in (FRONT, WRIST)}
            action = np.full((9, 3), sign, np.float32)
            writer.add_episode({STATE: np.zeros((9, 3), np.float32), ACTION: action, **frames}, f"task {episode % 2}")
    recipe = with_training(with_model(recipe, action_head="mlp"), train_steps=80, learning_rate=1e-2)
    recipe = replace(recipe, data=replace(recipe.data, data_directory=str(tmp_path / "words"), train_split=1.0))
    actions = act(Bundle.load(train_vla(recipe, tmp_path / "run").checkpoint))
    torch.testing.assert_close(actions[0], -torch.ones(5, 3), atol=0.2, rtol=0)
    torch.testing.assert_close(actions[1], torch.ones(5, 3), atol=0.2, rtol=0)


def test_a_resumed_run_ends_where_an_uninterrupted_one_does(tmp_path, recipe):
    whole = train_vla(recipe, tmp_path / "run")
    resumed = train_vla(recipe, tmp_path / "again", resume=whole.checkpoint.parent / "step_00000003")
    assert_same(Bundle.load(resumed.checkpoint).weights, Bundle.load(whole.checkpoint).weights)
    totals = [[line["total"] for line in logged(tmp_path / name)] for name in ("again", "run")]
    assert totals[0] == totals[1][3:]


def test_the_best_checkpoint_has_the_averaged_weights_of_the_lowest_validation_loss(tmp_path, recipe):
    """With too large a learning rate it comes early, and `patience` ends the run soon after."""
    recipe = with_training(recipe, train_steps=40, validation_interval=1, learning_rate=0.3, patience=2)
    result = train_vla(recipe, tmp_path / "run")
    losses = {line["train_step"]: line["val_total"] for line in logged(tmp_path / "run")}
    best = min(losses, key=losses.__getitem__)
    assert result.train_step == best + 2 < 40
    assert result.best_checkpoint.name == f"step_{best:08d}"
    saved, bundle = Checkpoint.load(result.best_checkpoint), Bundle.load(result.best_checkpoint)
    assert saved.record["lowest_loss"] == losses[best]
    assert_same(bundle.weights, saved.part("weights") | saved.part("average"))
    policy = VLAModel(recipe.model).eval()
    policy.load_state_dict(dict(bundle.weights))
    data = DatasetMixture.of_one(load_dataset(recipe), recipe.model)
    transform = build_transform(recipe, policy, data)
    _, validation = data.batches(policy.windows(), recipe, recipe.training, transform)
    with torch.no_grad():
        totals = [Objective()(policy(sample)).total.item() for sample in validation]
    assert losses[best] == pytest.approx(sum(totals) / len(totals), rel=1e-5)


def test_recomputed_activations_change_nothing(tmp_path, recipe):
    plain = train_vla(recipe, tmp_path / "plain")
    recomputed = train_vla(with_training(recipe, recompute_activations=True), tmp_path / "recomputed")
    assert_same(Bundle.load(recomputed.checkpoint).weights, Bundle.load(plain.checkpoint).weights)


def test_several_batches_count_as_one(tmp_path, recipe):
    """The first step of two batches of two is that of one batch of four, but for rounding."""
    one = train_vla(with_training(recipe, train_steps=1), tmp_path / "one")
    two = train_vla(with_training(recipe, train_steps=1, batch_size=2, gradient_accumulation=2), tmp_path / "two")
    assert two.metrics["total"] == pytest.approx(one.metrics["total"], rel=tolerance())
    assert two.metrics["grad_norm"] == pytest.approx(one.metrics["grad_norm"], rel=1e-4)


def test_lora_trains_resumes_and_acts(tmp_path, recipe):
    pytest.importorskip("peft")
    recipe = with_model(recipe, lora=LoRAConfig(r=2, alpha=4.0))
    whole = train_vla(recipe, tmp_path / "run")
    bundle = Bundle.load(whole.checkpoint)
    start = build_policy_weights(recipe)
    language = [name for name in bundle.weights if name.startswith("vlm.language.")]
    moved = {name for name in language if not torch.equal(bundle.weights[name], start[name])}
    assert moved == {name for name in language if "lora_" in name}
    resumed = train_vla(recipe, tmp_path / "again", resume=whole.checkpoint.parent / "step_00000003")
    assert_same(Bundle.load(resumed.checkpoint).weights, bundle.weights)
    assert torch.isfinite(act(bundle)).all()


def build_policy_weights(recipe: VLARecipe) -> dict[str, torch.Tensor]:
    with torch.random.fork_rng():
        torch.manual_seed(recipe.training.seed)
        return build_policy(recipe).state_dict()


def test_a_run_starts_from_the_vision_language_model_of_another(tmp_path, recipe):
    first = train_vla(recipe, tmp_path / "first")
    frozen = replace(recipe.model.vlm.language, freeze=True)
    recipe = with_model(recipe, vlm=replace(recipe.model.vlm, language=frozen), action_head="mlp")
    second = train_vla(recipe, tmp_path / "second", pretrained_vlm=first.checkpoint)
    before, after = (Bundle.load(result.checkpoint).weights for result in (first, second))
    language = [name for name in before if name.startswith("vlm.language.")]
    assert_same({name: after[name] for name in language}, {name: before[name] for name in language})


def test_offline_evaluation_finds_the_recipe_of_the_checkpoint(tmp_path, recipe):
    result = train_vla(recipe, tmp_path / "run")
    figures = evaluate_offline(result.checkpoint)
    assert (figures["episodes"], figures["samples"]) == (1, 9)
    assert 0 <= figures["gripper_accuracy"] <= 1


def test_a_blind_policy_acts_alike_with_and_without_cameras(tmp_path, recipe):
    recipe = replace(recipe, transform=replace(recipe.transform, blind=True))
    bundle = Bundle.load(train_vla(recipe, tmp_path / "run").checkpoint)
    assert torch.equal(act(bundle), act(bundle, cameras=()))


def test_pictures_that_the_encoder_pads_keep_their_shape(tmp_path, recipe):
    vision = replace(recipe.model.vlm.vision, resize="pad")
    recipe = with_model(recipe, vlm=replace(recipe.model.vlm, vision=vision))
    with pytest.raises(ValueError, match=r"vision.resize=pad needs cameras of one shape, not .*set vision"):
        train_vla(recipe, tmp_path / "run")
    recipe = with_model(recipe, cameras=(FRONT,))
    source = load_dataset(recipe)
    policy = VLAModel(recipe.model)
    transform = build_transform(recipe, policy, DatasetMixture.of_one(source, recipe.model))
    loader, _ = DatasetMixture.of_one(source, recipe.model).batches(
        policy.windows(), recipe, recipe.training, transform
    )
    sample = next(iter(loader))
    seen = transform.forward_sample(sample).context.now[FRONT].value
    assert seen.shape == (4, 1, 3, 24, 32)
    assert torch.equal(seen.movedim(-3, -1), sample.context.now[FRONT].value)
    assert torch.isfinite(act(Bundle.load(train_vla(recipe, tmp_path / "run").checkpoint), cameras=(FRONT,))).all()


def test_without_a_state_it_is_neither_read_nor_normalised(recipe):
    recipe = with_model(recipe, robot_state_dim=None)
    source = load_dataset(recipe)
    transform = build_transform(recipe, VLAModel(recipe.model), DatasetMixture.of_one(source, recipe.model))
    assert set(transform.steps[1].scale) == {"action"}


def test_the_tokenizer_is_that_of_a_pretrained_language_model_and_else_hashed_words(tmp_path, recipe):
    source = load_dataset(recipe)
    policy = VLAModel(recipe.model)
    *_, words = build_transform(recipe, policy, DatasetMixture.of_one(source, recipe.model)).steps
    assert isinstance(words, TokenizeInstruction)
    assert isinstance(words.tokenizer, WordTokenizer)
    assert (words.tokenizer.vocab_size, words.max_length) == (16, 6)
    save_tokenizer(tmp_path / "language")
    policy.vlm.language.decoder.save_pretrained(tmp_path / "language")
    language = replace(recipe.model.vlm.language, model_name=str(tmp_path / "language"), architecture=None)
    recipe = with_model(recipe, vlm=replace(recipe.model.vlm, language=language))
    policy = build_policy(recipe)
    assert policy.vlm.language.decoder.dtype == torch.float32
    *_, own = build_transform(recipe, policy, DatasetMixture.of_one(source, recipe.model)).steps
    assert isinstance(own.tokenizer, TransformersTokenizer)
    assert own.tokenizer.name_or_path == str(tmp_path / "language")


def test_a_policy_of_models_in_folders_acts_without_them_anywhere(tmp_path, recipe, monkeypatch):
    """Its checkpoint and what is exported of it keep the tokenizer; weights and sizes are their own."""
    words = Path("models", "words")
    monkeypatch.chdir(tmp_path)
    save_language(words, vocab_size=16)
    save_tokenizer(words)
    vision = VisionEncoderConfig(save_vision(Path("models", "eyes")))
    vlm = replace(recipe.model.vlm, vision=vision, language=LLMBackboneConfig(str(words), dtype="float32"))
    recipe = with_training(with_model(recipe, vlm=vlm, action_head="mlp", action_head_options={}), train_steps=1)
    result = train_vla(recipe, tmp_path / "run")
    expected = act(Bundle.load(result.checkpoint))
    exported = export_checkpoint(result.checkpoint, tmp_path / "file" / "policy.pt", ExportConfig("torchscript"))
    digest = bundle_sha256(result.checkpoint)
    (tmp_path / "elsewhere").mkdir()
    shutil.copytree(result.checkpoint, tmp_path / "elsewhere" / "copy")
    shutil.move(exported.file.parent, tmp_path / "elsewhere" / "file")
    shutil.rmtree(tmp_path / "models")
    shutil.rmtree(tmp_path / "run")
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert bundle_sha256("copy") == digest
    assert torch.equal(act(Bundle.load("copy")), expected)
    ExportedPolicy("file/policy.pt")
    shutil.rmtree("file/policy.pt.assets")
    with pytest.raises(ValueError, match=r"tokenizer.json: no such file; copy it beside policy.pt again"):
        ExportedPolicy("file/policy.pt")


def test_a_tokenizer_with_more_ids_than_the_model_knows_is_refused(tmp_path, recipe):
    save_tokenizer(tmp_path / "tokenizer")
    recipe = replace(recipe, transform=replace(recipe.transform, tokenizer=str(tmp_path / "tokenizer")))
    architecture = {**recipe.model.vlm.language.architecture, "vocab_size": 4}
    language = replace(recipe.model.vlm.language, architecture=architecture)
    recipe = with_model(recipe, vlm=replace(recipe.model.vlm, language=language))
    with pytest.raises(ValueError, match=r"has 9 ids, but the language model knows 4; choose the tokenizer"):
        train_vla(recipe, tmp_path / "run")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"robot_state_dim": 4}, r"'observation.state' has shape \(3,\); set model.robot_state_dim=3"),
        ({"action_dim": 7}, r"'action' has shape \(3,\); set model.action_dim=3"),
        ({"cameras": ("observation.images.left",)}, r"has no camera 'observation.images.left'; set model.cameras"),
    ],
)
def test_a_dataset_that_does_not_fit_is_refused_in_one_line(tmp_path, recipe, options, message):
    with pytest.raises(ValueError, match=message) as error:
        train_vla(with_model(recipe, **options), tmp_path / "run")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


def test_a_gripper_that_is_not_binary_is_refused(tmp_path, recipe):
    source = open_dataset(record(tmp_path / "continuous", binary_gripper=False))
    with pytest.raises(
        ValueError, match=r"last dimension of the action takes 36 values between .* set model.has_gripper=false"
    ):
        train_vla(recipe, tmp_path / "run", source=source)
