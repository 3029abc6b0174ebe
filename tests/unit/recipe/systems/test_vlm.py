"""Stage 1 from conversations to a policy that starts from what was learned."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from typing import Any

import pytest
import torch
from tests.chats import item, save_chat_tokenizer, write_conversations
from tests.tiny import tiny_vla_config
from tests.tiny_models import save_language, save_vision
from tests.trained import assert_same, logged

from tempovla.data.errors import DatasetError
from tempovla.model.vla.lora import LoRAConfig, MergedWeights, merge_lora
from tempovla.model.vla.registry import load_policy
from tempovla.model.vla.vla_config import VLAConfig
from tempovla.model.vla.vla_model import VLAModel
from tempovla.model.vlm.caption_model import CaptionModel
from tempovla.model.vlm.language_model import LLMBackboneConfig
from tempovla.model.vlm.vision_encoder import VisionEncoderConfig
from tempovla.model.vlm.vlm_model import VLMConfig
from tempovla.recipe.systems.conversations import SquarePictures, build_batches, load_conversations, split_by_picture
from tempovla.recipe.systems.vla import build_policy
from tempovla.recipe.systems.vla_config import VLARecipe
from tempovla.recipe.systems.vlm import build_chat, build_model, train_vlm
from tempovla.recipe.systems.vlm_config import (
    ChatConfig,
    ConversationDataConfig,
    VLMRecipe,
    VLMTrainConfig,
    VLMTraining,
)
from tempovla.timeline import Bundle
from tempovla.timeline.config import config_from_json
from tempovla.timeline.keys import PICTURE_KEY


@pytest.fixture
def recipe(tmp_path) -> VLMRecipe:
    """Six steps of a tiny model on ten pictures."""
    vlm = tiny_vla_config("mlp").vlm
    architecture = {**vlm.language.architecture, "tie_word_embeddings": False}
    vlm = replace(vlm, language=replace(vlm.language, architecture=architecture))
    return VLMRecipe(
        ConversationDataConfig(str(write_conversations(tmp_path / "data")), train_split=0.8, validation_batches=1),
        ChatConfig(max_text_tokens=16),
        VLMTrainConfig(vlm),
        VLMTraining(
            batch_size=4,
            train_steps=6,
            learning_rate=1e-2,
            log_interval=1,
            save_interval=0,
            save_interval_steps=3,
            keep_every=3,
            weight_ema_decay=0.5,
            num_threads=1,
        ),
    )


def with_training(recipe: VLMRecipe, **options: Any) -> VLMRecipe:
    return replace(recipe, training=replace(recipe.training, **options))


def with_data(recipe: VLMRecipe, **options: Any) -> VLMRecipe:
    return replace(recipe, data=replace(recipe.data, **options))


def with_lora(recipe: VLMRecipe) -> VLMRecipe:
    return replace(recipe, model=replace(recipe.model, lora=LoRAConfig(r=2, alpha=4.0)))


def weights(result) -> dict[str, torch.Tensor]:
    return dict(Bundle.load(result.checkpoint).weights)


def changed(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    assert before.keys() == after.keys()
    return {name.split(".")[1] for name in before if not torch.equal(before[name], after[name])}


def test_align_after_instruct_changes_the_projector_alone_bit_for_bit(tmp_path, recipe):
    first = train_vlm(recipe, "instruct", tmp_path / "instruct")
    aligned = train_vlm(recipe, "align", tmp_path / "align", pretrained_vlm=first.checkpoint)
    assert changed(weights(first), weights(aligned)) == {"projector"}
    again = train_vlm(recipe, "align", tmp_path / "new", pretrained_vlm=first.checkpoint, new_projector=True)
    assert changed(weights(first), weights(again)) == {"projector"}
    assert not torch.equal(
        weights(again)["vlm.projector.proj.0.weight"], weights(aligned)["vlm.projector.proj.0.weight"]
    )


def test_a_new_projector_is_not_what_the_folders_began_as(tmp_path, recipe):
    name = "vlm.projector.proj.0.weight"
    began = build_model(recipe, "instruct").state_dict()[name]
    again = build_model(recipe, "instruct").state_dict()[name]
    folder = train_vlm(with_training(recipe, train_steps=1), "instruct", tmp_path / "run").checkpoint
    new = build_model(recipe, "align", folder, new_projector=True).state_dict()[name]
    assert torch.equal(began, again)
    assert (new - began).abs().max() > 0.1


def test_stages_of_other_seeds_hold_out_the_same_pictures(recipe):
    rows = load_conversations(recipe.data, build_chat(recipe, build_model(recipe, "align")))
    vision = recipe.model.vlm.vision
    held_out = []
    for seed in (0, 1):
        batches, validation = build_batches(rows, with_training(recipe, seed=seed, batch_size=2), vision)
        assert batches.samples_per_epoch == 8
        shown = validation[0].context.now[PICTURE_KEY].value.flatten(1)
        held_out.append({tuple(row.tolist()) for row in shown})
    assert held_out[0] == held_out[1]
    assert len(held_out[0]) == 2


def test_instruct_leaves_vision_as_it_is_unless_it_is_to_learn(tmp_path, recipe):
    start = build_model(recipe, "instruct").state_dict()
    plain = train_vlm(recipe, "instruct", tmp_path / "plain")
    assert changed(start, weights(plain)) == {"projector", "language"}
    seeing = train_vlm(with_training(recipe, learn_vision=True), "instruct", tmp_path / "seeing")
    assert changed(start, weights(seeing)) == {"projector", "language", "vision"}
    assert {"caption_loss", "token_accuracy", "texts_cut", "val_caption_loss"} <= set(plain.metrics)
    assert plain.metrics["total"] == plain.metrics["caption_loss"]
    assert [line["train_step"] for line in logged(tmp_path / "plain")] == [1, 2, 3, 4, 5, 6]


def test_it_learns_what_the_pictures_show(tmp_path, recipe):
    result = train_vlm(with_training(recipe, train_steps=60, learn_vision=True), "instruct", tmp_path / "run")
    assert result.metrics["val_token_accuracy"] == 1.0  # of two held-out pictures
    assert result.metrics["val_caption_loss"] < 0.1  # ln 2 / 2 = 0.35 without looking


@pytest.mark.parametrize("stage", ["align", "instruct"])
@pytest.mark.parametrize("workers", [0, 1])
def test_a_resumed_run_ends_where_an_uninterrupted_one_does(tmp_path, recipe, stage, workers):
    recipe = with_data(recipe, num_workers=workers)
    whole = train_vlm(recipe, stage, tmp_path / "run")
    halfway = whole.checkpoint.parent / "step_00000003"
    resumed = train_vlm(recipe, stage, tmp_path / "again", resume=halfway)
    assert_same(weights(resumed), weights(whole))
    figures = [[line["total"] for line in logged(tmp_path / name)] for name in ("again", "run")]
    assert figures[0] == figures[1][3:]


def test_another_stage_or_dataset_cannot_be_gone_on_with(tmp_path, recipe):
    result = train_vlm(recipe, "instruct", tmp_path / "run")
    with pytest.raises(ValueError, match="phase was 'instruct', and is 'align' now"):
        train_vlm(recipe, "align", tmp_path / "align", resume=result.checkpoint)
    write_conversations(tmp_path / "data", count=12)
    with pytest.raises(ValueError, match=r"conversations.jsonl: 10.png is new, .*restore them, start a new run"):
        train_vlm(recipe, "instruct", tmp_path / "other", resume=result.checkpoint)


def test_accumulated_batches_count_as_one(tmp_path, recipe):
    one = train_vlm(with_training(recipe, train_steps=1), "instruct", tmp_path / "one")
    split = with_training(recipe, train_steps=1, batch_size=2, gradient_accumulation=2)
    two = train_vlm(split, "instruct", tmp_path / "two")
    for name in ("total", "token_accuracy", "grad_norm"):
        assert two.metrics[name] == pytest.approx(one.metrics[name], rel=1e-4)


def test_recomputed_activations_change_nothing(tmp_path, recipe):
    plain = train_vlm(recipe, "instruct", tmp_path / "plain")
    recomputed = train_vlm(with_training(recipe, recompute_activations=True), "instruct", tmp_path / "recomputed")
    assert_same(weights(recomputed), weights(plain))


def test_lora_is_added_to_the_weights_that_are_saved(tmp_path, recipe):
    pytest.importorskip("peft")
    recipe = with_training(with_lora(recipe), weight_ema_decay=None)
    whole = train_vlm(recipe, "instruct", tmp_path / "run")
    saved = weights(whole)
    start = build_model(replace(recipe, model=replace(recipe.model, lora=None)), "instruct").state_dict()
    assert saved.keys() == start.keys()
    moved = {name for name in saved if not torch.equal(saved[name], start[name])}
    assert {name.split(".")[1] for name in moved} == {"projector", "language"}
    assert not any("embed_tokens" in name or "norm" in name or "lm_head" in name for name in moved)
    resumed = train_vlm(recipe, "instruct", tmp_path / "again", resume=whole.checkpoint.parent / "step_00000003")
    assert_same(weights(resumed), saved)


def test_adding_adapters_to_weights_is_what_peft_does_to_a_model(recipe):
    pytest.importorskip("peft")
    recipe = with_lora(recipe)
    model = build_model(recipe, "instruct")
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.normal_()
    merged = MergedWeights({name: value.clone() for name, value in model.state_dict().items()}, recipe.model.lora)
    merge_lora(model.vlm.language.decoder)
    assert merged.keys() == model.state_dict().keys()
    assert len(merged) == len(model.state_dict())
    torch.testing.assert_close(dict(merged), dict(model.state_dict()))


@pytest.mark.parametrize("lora", [False, True])
def test_a_policy_starts_from_what_was_learned(tmp_path, recipe, lora):
    if lora:
        pytest.importorskip("peft")
        recipe = with_lora(recipe)
    result = train_vlm(recipe, "instruct", tmp_path / "run")
    saved = weights(result)
    assert "vlm.language.lm_head.weight" in saved  # which a policy does without
    config = tiny_vla_config("mlp")
    architecture = recipe.model.vlm.language.architecture
    language = replace(config.vlm.language, architecture=architecture)
    started = VLARecipe(model=replace(config, vlm=replace(config.vlm, language=language)))
    policy = build_policy(started, result.checkpoint)
    own = policy.state_dict()
    parts = [name for name in own if name.split(".")[1] in ("vision", "projector", "language")]
    assert len(parts) > 20
    assert_same({name: own[name] for name in parts}, {name: saved[name] for name in parts})


def test_what_was_saved_says_what_it_is_and_cannot_act(tmp_path, recipe):
    bundle = Bundle.load(train_vlm(recipe, "instruct", tmp_path / "run").checkpoint)
    assert (bundle.policy, bundle.windows, bundle.provenance["stage"]) == ("vlm", (), "instruct")
    assert bundle.transform["chat"]["tokenizer"] == {"kind": "words", "vocab_size": 16}
    config = config_from_json(VLMTrainConfig, bundle.config)
    again = CaptionModel(config.vlm, ())
    again.load_state_dict(dict(bundle.weights))
    with pytest.raises(
        ValueError, match=r"has not learned to act; train a policy .*`tempovla train vla --pretrained-vlm"
    ):
        load_policy(bundle)


def test_pretrained_parts_are_read_from_folders_and_their_chat_template_is_used(tmp_path, recipe):
    folder = tmp_path / "language"
    save_language(folder)
    save_chat_tokenizer(folder)
    vision = VisionEncoderConfig(save_vision(tmp_path / "vision"))
    vlm = VLMConfig(vision, LLMBackboneConfig(str(folder)))
    recipe = replace(recipe, model=VLMTrainConfig(vlm), transform=ChatConfig(max_text_tokens=32))
    aligned = train_vlm(recipe, "align", tmp_path / "align")
    bundle = Bundle.load(aligned.checkpoint)
    assert bundle.transform["chat"]["template"].startswith("<s>{% for")
    assert bundle.weights["vlm.language.decoder.embed_tokens.weight"].dtype == torch.bfloat16
    instructed = train_vlm(recipe, "instruct", tmp_path / "instruct", pretrained_vlm=aligned.checkpoint)
    saved = weights(instructed)
    assert saved["vlm.language.decoder.embed_tokens.weight"].dtype == torch.float32
    assert {name.split(".")[1] for name in saved if not torch.equal(saved[name], bundle.weights[name].float())} == {
        "projector",
        "language",
    }
    policy = VLAModel(VLAConfig(vlm))
    policy.load_vlm(instructed.checkpoint)
    name = "language.decoder.layers.0.mlp.up_proj.weight"
    assert torch.equal(policy.vlm.state_dict()[name], saved[f"vlm.{name}"].bfloat16())


def test_long_texts_are_counted_aloud(tmp_path, recipe, caplog):
    items = [item("red"), item("a red square " * 9), item("blue " * 30)]
    recipe = with_data(recipe, dataset=str(write_conversations(tmp_path / "data", items)))
    with caplog.at_level(logging.INFO):
        rows = load_conversations(recipe.data, build_chat(recipe, build_model(recipe, "align")))
    assert [row.is_cut for row in rows] == [False, True, True]
    assert (
        "2 of 3 conversations are longer than transform.max_text_tokens=16 and lose the end of an answer" in caplog.text
    )


def test_conversations_about_one_picture_are_on_one_side(tmp_path, recipe):
    items = [item(image=f"images/{index // 3}.png") for index in range(24)]
    items += [item(question="what", image=None) for _ in range(8)]
    write_conversations(tmp_path / "data")
    path = write_conversations(tmp_path / "data", items)
    rows = load_conversations(replace(recipe.data, dataset=str(path)), build_chat(recipe, build_model(recipe, "align")))
    training, validation = split_by_picture(rows, 0.75, seed=3)
    assert sorted([*training, *validation]) == list(range(32))
    assert not {rows[i].image for i in training} & {rows[i].image for i in validation if rows[i].image}
    assert split_by_picture(rows, 0.75, seed=3) == (training, validation)
    assert split_by_picture(rows, 0.75, seed=4) != (training, validation)
    assert split_by_picture(rows, 1.0, seed=3) == (list(range(32)), [])


def test_pictures_become_squares_as_the_encoder_makes_them():
    wide = torch.randint(0, 256, (10, 30, 3), dtype=torch.uint8).numpy()
    padded = SquarePictures(12, "pad")(wide)
    assert padded.shape == (3, 12, 12)
    assert (padded[:, :4] == 128).all()  # grey above, and so much of it
    assert (padded[:, -4:] == 128).all()
    assert not (padded[:, 4:8] == 128).all()
    square = torch.randint(0, 256, (12, 12, 3), dtype=torch.uint8)
    assert (SquarePictures(12, "crop")(square.numpy()) == square.movedim(-1, 0).numpy()).all()


def test_a_language_model_that_is_fresh_and_frozen_is_warned_of(tmp_path, recipe, caplog):
    train_vlm(with_training(recipe, train_steps=1), "align", tmp_path / "run")
    assert "the language model has fresh weights and does not learn" in caplog.text


@pytest.mark.parametrize(
    ("stage", "change", "message"),
    [
        ("align", lambda r: with_training(r, learn_vision=True), "training.learn_vision is set, but align trains the"),
        (
            "align",
            with_lora,
            "model.lora is set, but align trains the projector alone; leave it out, or train instruct",
        ),
        ("align", lambda r: with_training(r, recompute_activations=True), "training.recompute_activations is set"),
        ("instruct", lambda r: frozen_language(r), "freeze=true, but instruct trains it; set it to false"),
        ("align", lambda r: with_data(r, dataset=""), "data.dataset is empty; give a JSONL file of conversations"),
        ("align", lambda r: with_data(r, image_root="none"), "none: no such folder"),
        (
            "align",
            lambda r: replace(r, transform=ChatConfig(max_text_tokens=4)),
            "conversations.jsonl:1: its first pro",
        ),
        ("align", lambda r: replace(r, transform=ChatConfig("/no/such/one")), "tokenizer '/no/such/one' does not load"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(tmp_path, recipe, stage, change, message):
    with pytest.raises(ValueError, match=message) as error:
        train_vlm(change(recipe), stage, tmp_path / "run")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


def frozen_language(recipe: VLMRecipe) -> VLMRecipe:
    vlm = recipe.model.vlm
    return replace(recipe, model=VLMTrainConfig(replace(vlm, language=replace(vlm.language, freeze=True))))


def test_a_text_that_the_language_model_has_no_positions_for_is_named(tmp_path, recipe):
    items = [item("red"), item("a red square " * 30)]
    recipe = with_data(recipe, dataset=str(write_conversations(tmp_path / "data", items)))
    recipe = replace(recipe, transform=ChatConfig(max_text_tokens=200))
    with pytest.raises(ValueError, match=r"jsonl:2: 4 vision tokens and 96 of text .* 64; set .*max_text_tokens to 60"):
        train_vlm(recipe, "instruct", tmp_path / "run")


def test_a_new_projector_is_for_a_model_that_has_one(tmp_path, recipe):
    with pytest.raises(ValueError, match="--new-projector has no effect without --pretrained-vlm"):
        train_vlm(recipe, "align", tmp_path / "run", new_projector=True)


def test_a_damaged_picture_ends_the_run_with_its_line(tmp_path, recipe):
    (tmp_path / "data" / "images" / "4.png").write_bytes(b"")
    assert len(json.loads((tmp_path / "data" / "conversations.jsonl").read_text().splitlines()[4])) == 3
    with pytest.raises(DatasetError, match=r"conversations.jsonl:5: image .*4.png: damaged image"):
        train_vlm(recipe, "align", tmp_path / "run")
