"""`tempovla train statevla`."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from tests import libero_recordings

from tempovla.cli.train import build
from tempovla.model.vla.statevla_config import JepaConfig, StateVLAConfig
from tempovla.recipe.demo import DemoConfig, demo_recipe
from tempovla.recipe.systems.statevla import PHASE_NAMES
from tempovla.recipe.systems.statevla_config import (
    Phase1Config,
    Phase2Config,
    StateVLARecipe,
    StateVLATraining,
    TransformConfig,
)
from tempovla.storage.lock import FolderLock
from tempovla.timeline import Bundle
from tempovla.training.checkpoint import CheckpointFolder
from tempovla.training.metrics import read_metrics

ROOT = Path(__file__).resolve().parents[3]
CONFIGS = ROOT / "configs"


def read_recipe(name: str) -> StateVLARecipe:
    parser = build("train statevla", "")
    args = parser.instantiate(parser.parse_args(["--config", str(CONFIGS / name)]))
    return StateVLARecipe(args.data, args.transform, args.model, args.training)


def as_users_set_it(recipe: StateVLARecipe) -> StateVLARecipe:
    """The recipe without what the model is told by `training` when it starts."""
    told = ("temporal_predictor_hidden_dim", "ema_momentum", "ema_momentum_schedule", "ema_steps")
    defaults = {name: getattr(JepaConfig(), name) for name in told}
    return replace(recipe, model=replace(recipe.model, jepa=replace(recipe.model.jepa, **defaults)))


def test_the_metaworld_config_is_the_demos_recipe():
    assert as_users_set_it(read_recipe("statevla_metaworld.yaml")) == as_users_set_it(demo_recipe(DemoConfig()))


ORIGINAL_KEYS = {
    "data": {"data_directory", "demos_per_task", "max_len_data", "train_split"},
    "model": {
        *("image_size", "patch_size", "embed_dim", "lang_emb_dim", "robot_state_dim", "encoder_depth", "d_state"),
        *("d_conv", "expand", "state_dim", "action_dim", "action_seq_len", "policy_layers", "policy_embed_dim"),
    },
    "training": {
        *("batch_size", "learning_rate", "weight_decay", "gradient_clip", "ema_momentum", "ema_momentum_schedule"),
        *("save_interval", "log_interval", "phase1", "phase2"),
    },
}
"""Keys of the original configuration."""


def test_the_libero_config_has_the_keys_of_the_original():
    config = yaml.safe_load((CONFIGS / "statevla_libero_object.yaml").read_text())
    assert config.pop("system") == "statevla"
    assert {section: set(keys) for section, keys in config.items()} == ORIGINAL_KEYS
    assert set(config["training"]["phase1"]) == {"num_epochs", "learning_rate", "temporal_predictor_hidden_dim"}
    assert set(config["training"]["phase2"]) == {"num_epochs", "learning_rate"}


def test_all_but_the_schedule_of_the_libero_config_is_default():
    """Without any setting the model is the original one."""
    recipe = read_recipe("statevla_libero_object.yaml")
    assert recipe.model == as_users_set_it(recipe).model == StateVLAConfig()
    assert recipe.transform == TransformConfig()
    assert replace(recipe.training, phase1=Phase1Config(), phase2=Phase2Config()) == StateVLATraining()
    assert [recipe.training.of_phase(phase).learning_rate for phase in (1, 2)] == [1e-4, 5e-5]
    assert [recipe.training.of_phase(phase).num_epochs for phase in (1, 2)] == [1000, 1000]
    assert (recipe.data.demos_per_task, recipe.data.max_len_data, recipe.data.train_split) == (50, 260, 0.9)


def test_the_defaults_are_the_guides():
    model, training = StateVLAConfig(), StateVLATraining()
    assert (model.image_size, model.patch_size, model.embed_dim, model.lang_emb_dim) == (224, 16, 256, 512)
    assert (model.robot_state_dim, model.encoder_depth, model.d_state, model.d_conv, model.expand) == (9, 12, 16, 4, 2)
    assert (model.state_dim, model.action_dim, model.action_seq_len, model.policy_layers) == (256, 7, 10, 3)
    assert (model.encoder_type, model.policy_type, model.image_tokenizer) == ("mamba", "mamba", "patch")
    assert (model.readout, model.freeze_encoder, model.has_gripper, model.flow_steps) == ("cls", True, True, 4)
    assert [camera.rsplit(".")[-1] for camera in model.cameras] == ["agentview_rgb", "eye_in_hand_rgb"]
    jepa = model.jepa
    assert (jepa.regularize, jepa.variance_weight, jepa.covariance_weight) == ("prediction", 1.0, 0.04)
    assert (jepa.prediction_horizon, jepa.inverse_dynamics_weight, jepa.behavior_cloning_weight) == (1, 0.0, 0.0)
    assert (training.batch_size, training.weight_decay, training.gradient_clip) == (64, 0.05, 1.0)
    assert (training.ema_momentum, training.ema_momentum_schedule) == (0.996, "cosine")
    assert (training.save_interval, training.log_interval, training.phase1.temporal_predictor_hidden_dim) == (
        100,
        10,
        512,
    )
    assert TransformConfig().shift_px == 0


def test_options_go_by_their_last_name_where_it_is_the_only_one(tempovla):
    answer = tempovla(
        "train", "statevla", "--batch_size", 32, "--ema_momentum", 0.5, "--demos_per_task", 3, "--print_config"
    )
    printed = yaml.safe_load(answer.out)
    assert (printed["training"]["batch_size"], printed["training"]["ema_momentum"]) == (32, 0.5)
    assert printed["data"]["demos_per_task"] == 3


def test_a_printed_config_reads_back_to_the_same(tmp_path, tempovla, small_statevla):
    first = tempovla("train", "statevla", *small_statevla, "--print_config")
    (tmp_path / "mine.yaml").write_text(first.out)
    again = tempovla("train", "statevla", "--config", tmp_path / "mine.yaml", "--print_config")
    assert again.out == first.out
    printed = yaml.safe_load(first.out)
    assert printed["model"]["cameras"] == ["observation.images.front"]
    assert "ema_momentum" in printed["training"]
    assert "ema_momentum" not in printed["model"]["jepa"]


def test_both_phases_train_one_after_the_other(tmp_path, tempovla, small_statevla):
    out = tmp_path / "run"
    answer = tempovla("train", "statevla", *small_statevla, "--out", out, "--json")
    assert answer.code == 0, answer.err
    done = json.loads(answer.out)
    for phase, name in PHASE_NAMES.items():
        figures = done[f"phase{phase}"]
        assert figures["train_step"] == 4
        assert Path(figures["checkpoint"]) == out / name / "checkpoints" / "step_00000004"
        assert Bundle.load(figures["best_checkpoint"]).provenance["phase"] == phase
    assert {"jepa_mse", "jepa_persistence"} <= set(done["phase1"]["metrics"])


def test_a_run_is_resumed_in_the_phase_of_the_checkpoint_and_goes_on_to_the_next(tmp_path, tempovla, small_statevla):
    out = tmp_path / "run"
    train = ["train", "statevla", *small_statevla, "--out", out, "--json"]
    assert tempovla(*train, "--phase", 1).code == 0
    answer = tempovla(*train, "--checkpoint", out / PHASE_NAMES[1] / "checkpoint_latest")
    assert [*json.loads(answer.out)] == ["phase1", "phase2"]
    answer = tempovla(*train, "--checkpoint", out / PHASE_NAMES[2] / "checkpoint_latest")
    assert [*json.loads(answer.out)] == ["phase2"]


def test_phase_2_starts_from_a_given_checkpoint(tmp_path, tempovla, small_statevla):
    train = ["train", "statevla", *small_statevla]
    assert tempovla(*train, "--phase", 1, "--out", tmp_path / "one").code == 0
    start = ["--phase1_checkpoint", tmp_path / "one" / PHASE_NAMES[1] / "checkpoint_best"]
    assert tempovla(*train, "--phase", 2, "--out", tmp_path / "two", *start).code == 0
    assert (tmp_path / "two" / PHASE_NAMES[2] / "checkpoint_latest" / "bundle.json").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--training.batch_size", "x"], '"training.batch_size": expected int, got value: x'),
        (["--training.batchsize", "3"], "--training.batchsize 3; did you mean --training.batch_size?"),
        (["--training.batch_siz", "3"], "--training.batch_siz 3; did you mean --training.batch_size?"),
        (["--batchsize", "3"], "--batchsize 3; did you mean --batch_size?"),
        (["--phase", "3"], '"phase": expected 1 or 2, got value: 3'),
        (["--precision", "fp8"], "expected float32 or bfloat16 or auto, got value: fp8"),
        (["--demos_per_task", "many"], '"data.demos_per_task": expected int or null, got value: many;'),
        (
            ["--num_epochs", "3"],
            "--num_epochs 3; did you mean --training.num_epochs or --training.phase1.num_",
        ),
        (["--batch_size", "x"], '"training.batch_size": expected int, got value: x'),
        (["--training.batch_size", "0"], "training.batch_size=0 must be at least 1"),
        (["--phase", "3"], '"phase"'),
        (["--model.jepa.ema_momentum", "0.5"], 'must be given via "training.ema_momentum"'),
        (["--model.readout", "all"], '"model.readout"'),
        (["--model.image_tokenizer", "vit"], '"model.image_tokenizer"'),
        ([], "data.data_directory is empty; give the root"),
        (["--config", "absent.yaml"], "absent.yaml"),
    ],
)
def test_bad_settings_are_named(fails, arguments, message):
    assert message in fails("train", "statevla", *arguments)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("training:\n  batchsize: 3\n", "'batchsize'; did you mean training.batch_size?"),
        ("training:\n  batch_size: many\n", '"training.batch_size": expected int, got value: many'),
        ("trainin:\n  batch_size: 3\n", "'trainin.batch_size'"),
        ("training: [\n", "while parsing"),
    ],
)
def test_bad_config_files_are_named_with_their_key(tmp_path, fails, config, message):
    path = tmp_path / "bad.yaml"
    path.write_text(config)
    line = fails("train", "statevla", "--config", path)
    assert line.startswith(f"{path}: ")
    assert message in line


def test_config_files_are_named_however_they_are_given(tmp_path, fails):
    (tmp_path / "bad.yaml").write_text("training:\n  batchsize: 3\n")
    assert fails("train", "statevla", f"--config={tmp_path / 'bad.yaml'}").startswith(f"{tmp_path / 'bad.yaml'}: ")


@pytest.fixture
def libero(tmp_path) -> Path:
    """Eight episodes of two tasks in LIBERO's files."""
    libero_recordings.record(tmp_path / "libero", lengths=(14,) * 8, size=32)
    return tmp_path / "libero"


def test_a_demonstration_shorter_than_the_window_is_named(tmp_path, fails):
    libero_recordings.record(tmp_path, lengths=(14, 14, 9), tasks=(libero_recordings.MILK,), size=32)
    train = ["train", "statevla", "--config", CONFIGS / "statevla_libero_object.yaml", *SMALL_ORIGINAL]
    line = fails(*train, "--data.data_directory", tmp_path, "--out", tmp_path / "run", "--phase", 1)
    assert f"{libero_recordings.MILK}_demo.hdf5: demo_2 has 9 steps, but a window needs 10; remove the episode" in line
    assert "demo_0 has 8 steps" in fails(
        *train, "--data.data_directory", tmp_path, "--out", tmp_path / "run", "--max_len_data", 8
    )


SMALL_ORIGINAL = (
    *("--image_size", "32", "--embed_dim", "16", "--encoder_depth", "2", "--model.state_dim", "16"),
    *("--policy_layers", "1", "--policy_embed_dim", "16", "--temporal_predictor_hidden_dim", "16"),
    *("--training.phase1.num_epochs", "2", "--training.phase2.num_epochs", "2", "--save_interval", "1"),
)
"""The sizes of the original config, made small on the command line."""


def test_the_original_commands_work(tmp_path, tempovla, libero, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = ["--config", CONFIGS / "statevla_libero_object.yaml", "--data.data_directory", libero]
    train = ["train", "statevla", *config, *SMALL_ORIGINAL]
    first, second = (Path("checkpoints") / name for name in PHASE_NAMES.values())
    answer = tempovla(*train, "--phase", 1, "--batch_size", 16)
    assert answer.code == 0, answer.err
    assert re.search(r"target encoder \(EMA, no gradient\) +\d+,\d+ +0\n", answer.err)
    kept = {path.name: path.resolve().name for path in first.glob("checkpoint_*")}
    assert set(kept) == {"checkpoint_latest", "checkpoint_best", "checkpoint_epoch_1", "checkpoint_epoch_2"}
    assert (kept["checkpoint_epoch_1"], kept["checkpoint_latest"]) == ("step_00000007", "step_00000014")
    logged = read_metrics(first)
    assert [line["train_step"] for line in logged if "jepa_mse" in line] == [10, 14]
    assert {"jepa_mse", "jepa_variance", "jepa_covariance", "z_std"} <= set(logged[-1])

    best = first / "checkpoint_best"
    answer = tempovla(*train, "--phase", 2, "--phase1_checkpoint", best, "--batch_size", 16)
    assert answer.code == 0, answer.err
    line = read_metrics(second)[-1]
    assert line["action_loss"] == pytest.approx(line["pos_rot_loss"] + line["gripper_loss"])
    assert line["val_action_loss"] == pytest.approx(line["val_pos_rot_loss"] + line["val_gripper_loss"])
    frozen = (Bundle.load(folder).weights["encoder.tokenizer.cls"] for folder in (best, second / "checkpoint_latest"))
    assert torch.equal(*frozen)

    for folder in (first, second):
        phase = 1 if folder == first else 2
        whole = (folder / "checkpoint_latest" / "weights.safetensors").read_bytes()
        again = tempovla(*train, "--phase", phase, "--batch_size", 16, "--checkpoint", folder / "checkpoint_epoch_1")
        assert again.code == 0, again.err
        assert "going on from step 7 of 14" in again.err
        assert (folder / "checkpoint_latest" / "weights.safetensors").read_bytes() == whole


@pytest.mark.slow
def test_the_guides_command_for_several_gpus_works(tmp_path, tempovla, libero, nursery):
    """Where torchrun starts it; that it starts processes is tested where training is."""
    arguments = [*("train", "statevla", "--config", str(CONFIGS / "statevla_libero_object.yaml")), *SMALL_ORIGINAL]
    arguments += ["--data.data_directory", str(libero), "--phase", "1", "--training.phase1.num_epochs", "1"]
    two, one = tmp_path / "two", tmp_path / "one"
    said = nursery.run(2, "tempovla.cli.main:main", [*arguments, "--batch_size", "8", "--out", str(two)])
    assert said.count("phase1: 7 steps") == 1
    assert tempovla(*arguments, "--batch_size", 16, "--out", one).code == 0
    both = [read_metrics(out / PHASE_NAMES[1])[-1] for out in (one, two)]
    for name in ("total", "jepa_mse", "jepa_variance", "jepa_covariance", "z_std", "grad_norm"):
        assert both[1][name] == pytest.approx(both[0][name], rel=1e-4), name


def test_a_real_recording_is_trained_on(shared_dir, tmp_path, tempovla, small_statevla):
    recording = {
        "data.data_directory": shared_dir / "real_lerobot_sample" / "g1_yellow_bottle_v30",
        "data.preload_bytes": 0,
        "model.cameras": "[observation.images.cam_high]",
        "model.robot_state_dim": 26,
        "model.action_dim": 26,
    }
    options = [str(word) for key, value in recording.items() for word in (f"--{key}", value)]
    answer = tempovla("train", "statevla", *small_statevla, *options, "--out", tmp_path / "run", "--json")
    assert answer.code == 0, answer.err
    assert [figures["train_step"] for figures in json.loads(answer.out).values()] == [4, 4]


def test_one_of_several_processes_speaks(monkeypatch, tempovla, dataset):
    monkeypatch.setenv("RANK", "1")
    assert tempovla("data", "inspect", dataset).out == ""


def test_data_that_do_not_fit_the_model_are_refused(small_statevla, fails):
    train = ["train", "statevla", *small_statevla]
    assert "set --model.robot_state_dim=3" in fails(*train, "--model.robot_state_dim", 4)
    assert "set model.cameras to some of" in fails(*train, "--model.cameras", "[observation.images.left]")
    assert "set --model.action_dim=2" in fails(*train, "--model.action_dim", 7)
    assert "model.image_tokenizer=pretrained needs model.vision_model" in fails(
        *train, "--image_tokenizer", "pretrained"
    )


def test_checkpoints_that_do_not_fit_are_refused(tmp_path, tempovla, fails, small_statevla):
    out = tmp_path / "run"
    train = ["train", "statevla", *small_statevla]
    assert "train phase 1 first" in fails(*train, "--phase", 2, "--out", out)
    assert tempovla(*train, "--phase", 1, "--out", out).code == 0
    latest = out / PHASE_NAMES[1] / "checkpoint_latest"
    assert "resume from" in fails(*train, "--phase", 1, "--out", out)
    assert "checkpoint of phase 1, not of --phase 2" in fails(
        *train, "--phase", 2, "--out", out, "--checkpoint", latest
    )
    other = [*train, "--phase", 2, "--out", tmp_path / "two", "--phase1_checkpoint", latest]
    assert str(latest) in fails(*other, "--model.state_dim", 16)
    weights = latest / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    assert f"{weights}: not readable" in fails(*other)
    assert "no such file" in fails(*train, "--out", out, "--checkpoint", tmp_path)


def test_a_folder_in_which_somebody_trains_is_told_before_the_dataset_is_opened(tmp_path, fails):
    train = ["train", "statevla", "--data.data_directory", tmp_path / "absent", "--out", tmp_path / "run"]
    remedy = "there now; let it end, or choose another folder with --out"
    with FolderLock(tmp_path / "run", "trains", remedy=""):
        said = fails(*train)
    assert said.startswith(f"{tmp_path / 'run'}: this process trains")
    assert said.endswith(remedy)
    for phase in PHASE_NAMES.values():
        checkpoints = CheckpointFolder(tmp_path / "run" / phase)
        checkpoints.hold()
        said = fails(*train)
        assert said.startswith(f"{tmp_path / 'run' / phase}: this process trains")
        assert said.endswith(remedy)
        checkpoints.release()
    assert "absent" in fails(*train)
    assert not (tmp_path / "run").exists()


def test_a_phase_1_checkpoint_that_would_not_be_used_is_refused_before_anything_is_read(tmp_path, fails):
    train = ["train", "statevla", "--data.data_directory", tmp_path / "absent", "--phase1_checkpoint", tmp_path / "one"]
    for arguments in ([], ["--phase", 1], ["--checkpoint", tmp_path / "two"]):
        assert f"{tmp_path / 'one'} is what phase 2 starts from; give it with --phase 2" in fails(*train, *arguments)
    assert f"is of no use with --checkpoint {tmp_path / 'two'}, which has its weights already" in fails(
        *train, "--phase", 2, "--checkpoint", tmp_path / "two"
    )
