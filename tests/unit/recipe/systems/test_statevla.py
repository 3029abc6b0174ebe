"""StateVLA's recipe from a dataset to a policy that acts."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from tests.gripper_recordings import ACTION, STATE, record
from tests.rounding import smooth_steps
from tests.tiny_models import build_bert, save_tokenizer
from tests.trained import act, assert_same, logged, observation
from torch import Tensor

from tempovla.control.context_builder import ContextBuilder
from tempovla.control.controller import Controller
from tempovla.data import columns
from tempovla.data.image_codec import decode_image
from tempovla.data.lerobot import LeRobotSource, open_dataset
from tempovla.data.mixture import Mixture
from tempovla.model.temporal.context_config import ContextConfig
from tempovla.recipe.datasets.config import DataConfig
from tempovla.recipe.datasets.dataset import load_dataset
from tempovla.recipe.datasets.dataset_mixture import DatasetMixture, as_mixture
from tempovla.recipe.datasets.fits import check_fits
from tempovla.recipe.systems import statevla
from tempovla.recipe.systems.statevla import PHASE_NAMES, build_transform, phase_of, resolve_model, train_phase
from tempovla.recipe.systems.statevla_config import Phase1Config, Phase2Config, StateVLARecipe, StateVLATraining
from tempovla.timeline import Bundle, EpisodeSource
from tempovla.training.config import TrainConfig


def with_model(recipe: StateVLARecipe, **options: Any) -> StateVLARecipe:
    return replace(recipe, model=replace(recipe.model, **options))


def with_training(recipe: StateVLARecipe, **options: Any) -> StateVLARecipe:
    return replace(recipe, training=replace(recipe.training, **options))


def part(weights: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    return {key: value for key, value in weights.items() if key.startswith(f"{name}.")}


def test_a_text_models_embeddings_of_the_datasets_instructions_are_kept(tmp_path, recipe, monkeypatch):
    monkeypatch.setenv("TEMPOVLA_CACHE", str(tmp_path / "cache"))
    build_bert().save_pretrained(tmp_path / "bert")
    save_tokenizer(tmp_path / "bert")
    recipe = replace(recipe, transform=replace(recipe.transform, text_model=str(tmp_path / "bert")))
    recipe = with_model(recipe, lang_emb_dim=16)
    transform = build_transform(recipe, recipe.model, DatasetMixture.of_one(load_dataset(recipe), recipe.model))
    kept = {name.split("/")[1]: content for name, content in transform.assets().items()}
    assert json.loads(kept["sentences.json"]) == ["task 0", "task 1"]
    assert kept.keys() == {"sentences.json", "embeddings.safetensors"}


def test_both_phases_train_and_the_policy_acts(tmp_path, recipe):
    first = train_phase(recipe, 1, tmp_path / "run")
    second = train_phase(recipe, 2, tmp_path / "run")
    assert (first.train_step, second.train_step) == (6, 6)
    terms = {"jepa_mse", "jepa_persistence", "jepa_variance", "jepa_covariance", "inverse_dynamics", "behavior_cloning"}
    assert terms | {f"val_{name}" for name in terms} <= set(first.metrics)
    assert {"pos_rot_loss", "gripper_loss", "val_pos_rot_loss", "val_gripper_loss"} <= set(second.metrics)
    steps = [line["train_step"] for line in logged(tmp_path / "run" / PHASE_NAMES[1])]
    assert steps == [1, 2, 3, 4, 5, 6]
    bundle = Bundle.load(second.checkpoint)
    assert [phase_of(result.checkpoint) for result in (first, second)] == [1, 2]
    assert bundle.provenance["dataset"] == str(tmp_path / "dataset")
    assert bundle.provenance["recipe"]["training"]["batch_size"] == 4
    assert bundle.provenance["recording"] == {}
    actions = act(bundle)
    assert actions.shape == (2, 4, 3)
    assert torch.isfinite(actions).all()
    assert set(actions[..., 2].unique().tolist()) <= {-1.0, 1.0}


@pytest.mark.parametrize("cached", [False, True])
def test_phase_2_learns_from_sequences_and_the_policy_remembers(tmp_path, recipe, cached):
    context = ContextConfig(temporal={"encoder_type": "gru", "hidden_dim": 8}, stride=2, sequence_length=3, burn_in=1)
    recipe = with_model(recipe, context=context)
    recipe = with_training(recipe, phase2=replace(recipe.training.phase2, cache_encodings=cached))
    first = train_phase(recipe, 1, tmp_path / "run")
    second = train_phase(recipe, 2, tmp_path / "run")
    before, after = (Bundle.load(result.checkpoint) for result in (first, second))
    assert_same(
        part(after.weights, "base.encoder"), {f"base.{k}": v for k, v in part(before.weights, "encoder").items()}
    )
    assert [window.offsets for window in after.windows if window.key != ACTION] == [(0,)] * 3
    controller = Controller.from_bundle(after)
    state = controller.initial_state(2)
    builder = ContextBuilder(after.windows, after.embodiment, 2)
    for row in range(2):
        builder.reset(row, "task", observation(row))
    _, state = controller.act(builder.context(), state)
    for row in range(2):
        builder.add(row, np.zeros((2, 3), np.float32), observation(5))
    first_row, second_row = controller.act(builder.context(), state)[0].value
    assert not torch.equal(first_row, second_row)  # they see the same, but saw other things before


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_both_phases_train_on_a_gpu_and_the_policy_acts_on_a_cpu(tmp_path, recipe):
    recipe = with_model(with_training(recipe, precision="bfloat16"), image_tokenizer="conv", freeze_encoder=False)
    for phase in (1, 2):
        result = train_phase(recipe, phase, tmp_path / "run")
        assert np.isfinite(result.metrics["total"])
    assert torch.isfinite(act(Bundle.load(result.checkpoint))).all()


def test_phase_2_starts_from_phase_1_and_a_frozen_encoder_keeps_it(tmp_path, recipe):
    train_phase(recipe, 1, tmp_path / "run")
    train_phase(recipe, 2, tmp_path / "run")
    first, second = (Bundle.load(tmp_path / "run" / PHASE_NAMES[p] / "checkpoint_latest").weights for p in (1, 2))
    for name in ("encoder", "target_encoder", "temporal_predictor"):
        assert_same(part(second, name), part(first, name))
    moved = part(second, "flow_policy")
    assert not all(torch.equal(moved[key], first[key]) for key in moved)


def test_phase_2_says_what_it_starts_from_and_refuses_another_phase_2(tmp_path, recipe, caplog):
    caplog.set_level(logging.INFO, "tempovla")
    first = train_phase(recipe, 1, tmp_path / "run")
    second = train_phase(recipe, 2, tmp_path / "run")
    latest = tmp_path / "run" / PHASE_NAMES[1] / "checkpoint_latest"
    assert f"phase 2 starts from {latest} of phase 1, whose encoder is kept as it is" in caplog.messages
    assert not [entry for entry in caplog.records if entry.levelno >= logging.WARNING]
    with pytest.raises(ValueError, match="is of phase 2; give a checkpoint of phase 1"):
        train_phase(recipe, 2, tmp_path / "two", phase1_checkpoint=second.checkpoint)
    other = replace(recipe, transform=replace(recipe.transform, blind=True))
    train_phase(other, 2, tmp_path / "three", phase1_checkpoint=first.checkpoint)
    assert f"{first.checkpoint}: phase 1 saw the data through other transforms" in caplog.text


def test_phase_2_takes_another_checkpoint_and_may_train_the_encoder_on(tmp_path, recipe):
    recipe = with_model(recipe, freeze_encoder=False)
    first = train_phase(recipe, 1, tmp_path / "one")
    chosen = first.checkpoint.parent / "step_00000003"
    train_phase(recipe, 2, tmp_path / "two", phase1_checkpoint=chosen)
    start = Bundle.load(chosen).weights
    end = Bundle.load(tmp_path / "two" / PHASE_NAMES[2] / "checkpoint_latest").weights
    assert_same(part(end, "temporal_predictor"), part(start, "temporal_predictor"))
    assert not all(torch.equal(end[key], start[key]) for key in part(start, "encoder"))


def test_a_phase_may_be_made_longer(tmp_path, recipe):
    """Though the momentum of its target encoder follows from its length."""
    first = train_phase(recipe, 1, tmp_path / "run")
    longer = replace(recipe.training, train_steps=8, extend="continue")
    result = train_phase(replace(recipe, training=longer), 1, tmp_path / "run", resume=first.checkpoint)
    assert result.train_step == 8
    assert Bundle.load(result.checkpoint).config["jepa"]["ema_steps"] == 8


@pytest.mark.parametrize("phase", [1, 2])
def test_a_resumed_phase_ends_where_an_uninterrupted_one_does(tmp_path, recipe, phase):
    if phase == 2:
        train_phase(recipe, 1, tmp_path / "run")
    whole = train_phase(recipe, phase, tmp_path / "run")
    again = tmp_path / "again"
    halfway = whole.checkpoint.parent / "step_00000003"
    resumed = train_phase(recipe, phase, again, resume=halfway)
    assert_same(Bundle.load(resumed.checkpoint).weights, Bundle.load(whole.checkpoint).weights)
    ours, theirs = logged(again / PHASE_NAMES[phase]), logged(tmp_path / "run" / PHASE_NAMES[phase])
    for left, right in zip(ours, theirs[3:], strict=True):
        assert left["train_step"] == right["train_step"]
        assert left["total"] == right["total"]


def test_the_same_seed_gives_the_same_weights_and_another_others(tmp_path, recipe):
    weights = [
        Bundle.load(train_phase(with_training(recipe, seed=seed), 1, tmp_path / name).checkpoint).weights
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    ]
    assert_same(weights[0], weights[1])
    assert not torch.equal(weights[0]["encoder.tokenizer.cls"], weights[2]["encoder.tokenizer.cls"])


@pytest.mark.parametrize("phase", [1, 2])
@smooth_steps()
def test_a_blind_policy_learns_what_black_pictures_teach(tmp_path, recipe, blind, phase):
    """But for rounding, which the pictures' layout in memory changes."""
    dark = replace(recipe, data=replace(recipe.data, data_directory=str(record(tmp_path / "dark", lights=0))))
    weights = []
    for name, chosen in (("blind", blind), ("dark", dark)):
        start = train_phase(chosen, 1, tmp_path / name)
        weights.append(
            Bundle.load((start if phase == 1 else train_phase(chosen, 2, tmp_path / name)).checkpoint).weights
        )
    torch.testing.assert_close(*weights, atol=1e-5, rtol=1e-4)


def test_a_blind_policy_acts_alike_with_and_without_cameras(tmp_path, blind):
    train_phase(blind, 1, tmp_path / "run")
    bundle = Bundle.load(train_phase(blind, 2, tmp_path / "run").checkpoint)
    assert torch.equal(act(bundle), act(bundle, cameras=()))


def test_what_training_says_of_phase_1_reaches_the_model(recipe):
    source = open_dataset(recipe.data.data_directory)
    recipe = with_training(recipe, ema_momentum=0.9, ema_momentum_schedule="constant")
    model = resolve_model(recipe, Mixture([source]), recipe.training.of_phase(2))
    jepa = model.jepa
    assert (jepa.ema_momentum, jepa.ema_momentum_schedule, jepa.temporal_predictor_hidden_dim) == (0.9, "constant", 8)
    assert jepa.ema_steps == 6
    epochs = replace(recipe.training, train_steps=None, phase1=Phase1Config(num_epochs=5))
    model = resolve_model(replace(recipe, training=epochs), Mixture([source]), epochs.of_phase(1))
    assert model.jepa.ema_steps == 5 * 9  # 36 samples in batches of 4


def test_momentum_is_scheduled_over_the_steps_of_all_processes(recipe, monkeypatch):
    """With two processes an epoch has half the steps."""
    monkeypatch.setattr(statevla.distributed, "world_size", lambda: 2)
    source = open_dataset(recipe.data.data_directory)
    epochs = replace(recipe.training, train_steps=None, phase1=Phase1Config(num_epochs=4))
    model = resolve_model(replace(recipe, training=epochs), Mixture([source]), epochs.of_phase(1))
    assert model.jepa.ema_steps == 4 * 5  # 36 samples in batches of 2 times 4


def test_phases_take_their_own_settings_and_else_those_of_both():
    training = StateVLATraining(num_epochs=7, train_steps=None, learning_rate=1e-2, phase1=Phase1Config(num_epochs=3))
    assert type(training.of_phase(1)) is TrainConfig
    assert (training.of_phase(1).num_epochs, training.of_phase(1).learning_rate) == (3, 1e-2)
    assert (training.of_phase(2).num_epochs, training.of_phase(2).learning_rate) == (7, 5e-5)


def test_frames_are_decoded_once_for_both_phases_and_validation(tmp_path, recipe, monkeypatch):
    decoded = []
    monkeypatch.setattr(columns, "decode_image", lambda *data: decoded.append(data) or decode_image(*data))
    source = load_dataset(recipe)
    assert len(decoded) == 2 * 36
    for phase in (1, 2):
        train_phase(recipe, phase, tmp_path / "run", source=source)
    assert len(decoded) == 2 * 36
    streamed = load_dataset(replace(recipe, data=replace(recipe.data, preload_bytes=1000)))
    assert isinstance(streamed, LeRobotSource)


def test_the_gripper_is_not_normalised_and_the_pose_is(recipe):
    source = open_dataset(recipe.data.data_directory)
    data = DatasetMixture.of_one(source, recipe.model)
    (normalize,) = (step for step in build_transform(recipe, recipe.model, data).steps if hasattr(step, "scale"))
    assert (normalize.offset[ACTION][2], normalize.scale[ACTION][2]) == (0.0, 1.0)
    mean = torch.tensor(source.statistics[ACTION]["mean"][:2], dtype=torch.float32)
    torch.testing.assert_close(normalize.offset[ACTION][:2], mean)
    whole = build_transform(
        recipe, replace(recipe.model, has_gripper=False), DatasetMixture.of_one(source, recipe.model)
    )
    assert next(step for step in whole.steps if hasattr(step, "scale")).offset[ACTION][2] != 0.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"robot_state_dim": 4}, r"'observation.state' has shape \(3,\); set model.robot_state_dim=3"),
        ({"action_dim": 7}, r"'action' has shape \(3,\); set model.action_dim=3"),
        ({"cameras": ("observation.images.left",)}, r"has no camera 'observation.images.left'; set model.cameras"),
        ({"cameras": (STATE,)}, r"has no camera 'observation.state'; set model.cameras to some of \['observation.im"),
    ],
)
def test_a_dataset_that_does_not_fit_is_refused_in_one_line(tmp_path, recipe, options, message):
    with pytest.raises(ValueError, match=message) as error:
        train_phase(with_model(recipe, **options), 1, tmp_path / "run")
    assert recipe.data.data_directory in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


def test_a_bundle_says_how_the_pictures_it_learned_from_were_made(tmp_path, recipe):
    class Simulated:
        """The dataset, with a note of the simulator that it is from."""

        def __init__(self, source: EpisodeSource) -> None:
            self._source = source
            self.recording = {"simulator": "libero", "rendering": "fast", "image_size": 128}

        def __getattr__(self, name: str) -> Any:
            return getattr(self._source, name)

        def __len__(self) -> int:
            return len(self._source)

    source = Simulated(open_dataset(recipe.data.data_directory))
    result = train_phase(recipe, 1, tmp_path / "run", source=source)
    assert Bundle.load(result.checkpoint).provenance["recording"] == source.recording


def test_a_gripper_that_is_not_binary_is_refused(tmp_path, recipe):
    source = open_dataset(record(tmp_path / "continuous", binary_gripper=False))
    with pytest.raises(
        ValueError, match=r"last dimension of the action takes 36 values between .* set model.has_gripper=false"
    ):
        check_fits(recipe.model, source)
    check_fits(replace(recipe.model, has_gripper=False), source)


def test_a_dataset_whose_steps_are_told_nothing_is_refused_or_told_a_default(recipe):
    folder = Path(recipe.data.data_directory)
    tasks = {"task_index": pa.array([0, 1], pa.int64()), "task": pa.array(["task 0", " "])}
    pq.write_table(pa.table(tasks), folder / "meta/tasks.parquet")
    with pytest.raises(ValueError, match=r"episode 1 has no instruction at step 0 \(' '; 2 of 4 episodes have such"):
        load_dataset(recipe)
    told = replace(recipe, data=replace(recipe.data, default_instruction="do something"))
    facts = as_mixture(None, told).provenance(told)
    assert facts["instructions"] == ["do something", "task 0"]
    assert facts["recipe"]["data"]["default_instruction"] == "do something"
    with pytest.raises(ValueError, match=r"data.default_instruction='\.\.\.' holds no word"):
        replace(recipe.data, default_instruction="...")


def test_all_that_does_not_fit_is_said_at_once_with_the_settings_that_do(tmp_path, recipe):
    source = open_dataset(record(tmp_path / "continuous", binary_gripper=False))
    model = replace(recipe.model, robot_state_dim=5, action_dim=6, cameras=("observation.images.top",))
    with pytest.raises(ValueError, match="set model") as error:
        check_fits(model, source)
    remedies = str(error.value).rpartition("; set ")[2].split(" and ")
    cameras = "model.cameras to some of ['observation.images.front', 'observation.images.wrist']"
    assert remedies == ["model.robot_state_dim=3", "model.action_dim=3", cameras, "model.has_gripper=false"]


def test_the_phase_of_a_checkpoint_is_read_without_its_weights(tmp_path, recipe):
    folder = train_phase(recipe, 1, tmp_path / "run").checkpoint
    for weights in folder.glob("*.safetensors"):
        weights.unlink()
    assert phase_of(folder) == 1


def test_other_mistakes_are_named(tmp_path, recipe):
    with pytest.raises(ValueError, match="data_directory is empty; give the root"):
        train_phase(replace(recipe, data=DataConfig()), 1, tmp_path / "run")
    with pytest.raises(ValueError, match="phase1_temporal_jepa/checkpoint_latest: no phase 1 checkpoint; train phase"):
        train_phase(recipe, 2, tmp_path / "run")
    train_phase(recipe, 1, tmp_path / "run")
    guides_own = tmp_path / "run" / PHASE_NAMES[1] / "checkpoint_latest.pt"
    with pytest.raises(
        ValueError, match=r"latest\.pt: no such checkpoint; give .*checkpoint_latest or .*checkpoint_best$"
    ):
        train_phase(recipe, 2, tmp_path / "run", phase1_checkpoint=guides_own)
    with pytest.raises(ValueError, match=r"checkpoint_latest: (lacks )?weight '[a-z_.0-9]+'"):
        train_phase(with_model(recipe, state_dim=16), 2, tmp_path / "run")
    bundle = Bundle.load(tmp_path / "run" / PHASE_NAMES[1] / "checkpoint_latest")
    with pytest.raises(ValueError, match="is what phase 2 starts from; give it with --phase 2"):
        train_phase(recipe, 1, tmp_path / "two", phase1_checkpoint=tmp_path / "run")
    replace(bundle, policy="other").save(tmp_path / "other")
    with pytest.raises(ValueError, match="is of policy 'other', not of a phase of statevla"):
        phase_of(tmp_path / "other")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"train_split": 0.0}, r"data.train_split=0.0 must lie in \(0, 1\]"),
        ({"validation_batches": 0}, "data.validation_batches=0 must be at least 1"),
        ({"num_workers": -1}, "data.num_workers=-1 must be at least 0"),
    ],
)
def test_impossible_settings_of_data_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        DataConfig(**options)


def test_steps_that_no_phase_takes_are_refused():
    phases = {"phase1": Phase1Config(train_steps=4), "phase2": Phase2Config(train_steps=9)}
    with pytest.raises(ValueError, match=r"^training.train_steps=2 has no effect, .*; set training.phase1.train_s"):
        StateVLARecipe(training=StateVLATraining(train_steps=2, **phases))
    alone = StateVLARecipe(training=StateVLATraining(train_steps=2, phase1=phases["phase1"])).training
    assert [alone.of_phase(phase).train_steps for phase in (1, 2)] == [4, 2]
