"""Training of a driving policy: what it learns, with which sensors, and how it acts when some fail."""

from __future__ import annotations

import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from tests import drives, driving_runs, nuscenes_scenes

import tempovla as package
from tempovla.data.errors import UnknownStreamError
from tempovla.data.memory import MemorySource
from tempovla.data.nuscenes.source import open_nuscenes
from tempovla.model.vla.multi_sensor_config import POINT_STREAMS, SENSORS, OwnSensorConfig
from tempovla.recipe.datasets.fits import check_fits
from tempovla.recipe.settings.recipe_parser import read_recipe
from tempovla.recipe.systems.driving import build_policy, train_driving
from tempovla.recipe.systems.driving_config import SYSTEM, DrivingDataConfig, DrivingRecipe, DrivingTransformConfig
from tempovla.timeline import Bundle, StreamInfo
from tempovla.timeline.driving import BOXES_KEY, LIDAR_KEY, LIGHT_KEY
from tempovla.timeline.keys import ACTION_KEY, DEPTH_KEY_PREFIX, STATE_KEY
from tempovla.training.config import TrainConfig
from tempovla.training.metrics import read_metrics

CONFIGS = Path(__file__).resolve().parents[4] / "configs"
TRAIN = ["train", "driving", "--config", CONFIGS / "driving_city.yaml"]
DEPTH_KEY = DEPTH_KEY_PREFIX + "front"
TRAINING = TrainConfig(train_steps=3, batch_size=4, save_interval=0, log_interval=1, num_threads=1)


def recipe(training: TrainConfig = TRAINING, **model: object) -> DrivingRecipe:
    return DrivingRecipe(
        data=DrivingDataConfig(validation_batches=1), model=drives.tiny_config(**model), training=training
    )


def drive_along(policy, episode) -> list[np.ndarray]:
    """The first steps of the plans at every control step of a drive."""
    found = []
    for step, words in enumerate(episode.instruction):
        seen = {key: value[step] for key, value in episode.values.items() if key != ACTION_KEY}
        found.append(policy.step({**seen, "task": words}))
    return found


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A policy that reads ego status and words alone, after some minutes of driving."""
    training = replace(TRAINING, train_steps=250, batch_size=32, learning_rate=3e-3, warmup_steps=10, log_interval=50)
    sizes = {"width": 32, "feature_dim": 64, "token_dim": 16, "action_head_options": {}}
    out = tmp_path_factory.mktemp("driving")
    train_driving(recipe(training, sensors=(), **sizes), out, source=drives.drives(40))
    return out / "checkpoint_latest"


def test_a_policy_learns_to_drive_at_its_speed_and_to_turn_as_it_is_told(trained):
    """The drives go on at the speed of the ego status, and turn as the command says: without sensors, too."""
    policy, episode = package.load(trained), drives.drive(100)
    errors = np.abs(np.array(drive_along(policy, episode)) - episode.values[ACTION_KEY])
    speeds = np.abs(episode.values[ACTION_KEY][:, 0])
    assert np.median(errors[:, 0] / speeds) < 0.15
    assert np.median(errors[:, 2]) < 0.02


def test_the_bundle_holds_a_body_of_steps_in_metres_and_windows_that_may_be_missing(trained):
    bundle = Bundle.load(trained)
    assert bundle.policy == "driving"
    assert [step["name"] for step in bundle.transform["steps"]] == ["waypoints", "tokenize_instruction"]
    assert {window.key: window.optional for window in bundle.windows} == {STATE_KEY: True, ACTION_KEY: False}
    assert bundle.embodiment.action_names == ("forward [m]", "left [m]", "turn [rad]")


@pytest.mark.parametrize("sensors", [("cameras",), ("lidar",), ("radar", "imu"), SENSORS], ids="+".join)
def test_any_subset_of_sensors_trains_and_acts_when_one_of_them_fails(sensors, tmp_path):
    options = {"modality_dropout": 0.2, "smooth_plan": True, "temporal": drives.tiny_temporal()}
    result = train_driving(recipe(sensors=sensors, **options), tmp_path, source=drives.drives(3, 8))
    assert result.train_step == 3
    policy, episode = package.load(tmp_path / "checkpoint_latest"), drives.drive(7)
    whole = drive_along(policy, episode)
    failing = package.load(tmp_path / "checkpoint_latest")
    first = {key: value[0] for key, value in episode.values.items() if key != ACTION_KEY}
    assert np.array_equal(failing.step({**first, "task": episode.instruction[0]}), whole[0])
    lost = [key for key in first if key != STATE_KEY]
    then = {key: value[1] for key, value in episode.values.items() if key not in (ACTION_KEY, *lost)}
    step = failing.step({**then, "task": episode.instruction[1]})
    assert np.isfinite(step).all()
    assert not np.array_equal(step, whole[1])


def test_a_run_resumes_bit_for_bit(tmp_path):
    source = drives.drives(3, 8)
    options = {"modality_dropout": 0.3, "temporal": drives.tiny_temporal()}
    training = replace(TRAINING, train_steps=4, save_interval_steps=2, keep_every=2)
    train_driving(recipe(training, **options), tmp_path / "whole", source=source)
    first = tmp_path / "whole" / "checkpoints" / "step_00000002"
    train_driving(recipe(training, **options), tmp_path / "resumed", source=source, resume=first)
    whole, resumed = (Bundle.load(tmp_path / run / "checkpoint_latest").weights for run in ("whole", "resumed"))
    assert whole.keys() == resumed.keys()
    assert all(bool((whole[key] == resumed[key]).all()) for key in whole)


@pytest.mark.slow
def test_a_run_that_is_killed_goes_on_from_its_last_checkpoint_as_if_it_had_not_been(tmp_path, nursery):
    """It dies five steps in; the last checkpoint is of the fourth."""
    root = driving_runs.write_scenes(tmp_path / "data")
    nursery.start(1, "tests.driving_runs:train_until_killed", root, tmp_path / "killed", 5)
    assert nursery.wait()[0] == [-signal.SIGKILL]
    latest = tmp_path / "killed" / "checkpoint_latest"
    assert latest.resolve().name == "step_00000004"
    train_driving(driving_runs.driving_recipe(root), tmp_path / "killed", resume=latest)
    train_driving(driving_runs.driving_recipe(root), tmp_path / "whole")
    whole, resumed = (Bundle.load(tmp_path / run / "checkpoint_latest").weights for run in ("whole", "killed"))
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)
    told = [
        [
            {key: value for key, value in line.items() if key not in ("cpu_s", "samples_per_s")}
            for line in read_metrics(tmp_path / run)
        ]
        for run in ("whole", "killed")
    ]
    assert told[0] == told[1] != []


def test_a_language_model_reads_the_past_that_a_temporal_encoder_remembers(tmp_path):
    options = {"language": drives.LANGUAGE, "temporal": drives.tiny_temporal(), "modality_dropout": 0.2}
    assert train_driving(recipe(**options), tmp_path, source=drives.drives(3, 8)).train_step == 3
    policy, episode = package.load(tmp_path / "checkpoint_latest"), drives.drive(7)
    along = drive_along(policy, episode)
    assert np.isfinite(along).all()
    policy.reset()
    last = {key: value[-1] for key, value in episode.values.items() if key != ACTION_KEY}
    alone = policy.step({**last, "task": episode.instruction[-1]})
    assert not np.array_equal(alone, along[-1])  # what was seen before counts


@pytest.mark.parametrize("fusion", ["cross_modal", "hierarchical"])
def test_tokens_fuse_without_calibrations_and_with_depth_and_act_when_sensors_fail(fusion, tmp_path):
    shape = (drives.HEIGHT, drives.WIDTH, 1)
    streams = {**drives.streams(), DEPTH_KEY: StreamInfo("depth", shape, "float32", drives.CONTROL_RATE_HZ)}
    episodes = [drives.drive(seed, 8) for seed in range(3)]
    for episode in episodes:
        episode.values[DEPTH_KEY] = np.full((8, *shape), 4.0, np.float32)
    source = MemorySource("drives", replace(drives.CAR, cameras=()), streams, episodes)
    own = {"depth": OwnSensorConfig("depth", 8, "depth", shape, DEPTH_KEY, {"hidden_dim": 4})}
    options = {"modality_dropout": 0.2, "smooth_plan": True, "own_sensors": own}
    result = train_driving(recipe(fusion=fusion, **options), tmp_path, source=source)
    assert result.train_step == 3
    episode, found = episodes[0], {}
    for lost in ((), drives.CAMERAS, (LIDAR_KEY,), (DEPTH_KEY,), tuple(key for key in streams if key != STATE_KEY)):
        policy = package.load(tmp_path / "checkpoint_latest")
        seen = {key: value[0] for key, value in episode.values.items() if key not in (ACTION_KEY, *lost)}
        found[lost] = policy.step({**seen, "task": episode.instruction[0]})
        assert np.isfinite(found[lost]).all()
    assert all(not np.array_equal(step, found[()]) for lost, step in found.items() if lost)


def test_it_learns_from_nuscenes_files_by_the_name_of_their_format(tempovla, tmp_path):
    root = nuscenes_scenes.write(tmp_path / "data", rates=nuscenes_scenes.Rates(2.0, 2.0, 2.0))
    settings = {
        "bev_dim": 8,
        "bev_tokens": 2,
        "width": 8,
        "feature_dim": 16,
        "image_size": [8, 16],
        "front_size": [16, 24],
        "front_tokens": [1, 2],
        "light_weight": 0,
    }
    flags = [part for key, value in settings.items() for part in (f"--model.{key}", str(value))]
    short = ["--train_steps", 2, "--batch_size", 2, "--data.validation_batches", 1, "--data.train_split", 0.5]
    answer = tempovla(*TRAIN, "--dataset", "nuscenes", "--data-root", root, "--out", tmp_path / "run", *flags, *short)
    assert answer.code == 0, answer.err
    assert Bundle.load(tmp_path / "run" / "checkpoint_latest").provenance["dataset"] == str(root)


def test_a_dataset_that_does_not_fit_is_refused_with_the_remedy(tmp_path):
    source = drives.drives(2, 6)
    slow = recipe(rate_hz=4.0)
    with pytest.raises(ValueError, match=r"has 2 control steps a second, .* are at model\.rate_hz=4"):
        train_driving(slow, tmp_path, source=source)
    source.embodiment = replace(drives.CAR, cameras=drives.CALIBRATIONS[:1])
    with pytest.raises(ValueError, match=r"'observation.images.back' has no calibration with a pose"):
        train_driving(recipe(), tmp_path, source=source)
    world = replace(drives.CALIBRATIONS[1], frame="world")
    source.embodiment = replace(drives.CAR, cameras=(drives.CALIBRATIONS[0], world))
    with pytest.raises(ValueError, match=r"no calibration with a pose|in the frame 'world'"):
        train_driving(recipe(), tmp_path, source=source)
    source = drives.drives(2, 6)
    del source.streams[LIDAR_KEY]
    with pytest.raises(ValueError, match=f"no stream '{LIDAR_KEY}'"):
        train_driving(recipe(), tmp_path, source=source)
    source = drives.drives(2, 6)
    source.streams = {key: stream for key, stream in source.streams.items() if stream.kind != "image"}
    with pytest.raises(ValueError, match=r"set --model.sensors '\[lidar, radar, imu\]', as it has none"):
        train_driving(recipe(), tmp_path, source=source)


def test_the_place_of_a_dataset_is_given_once(tmp_path):
    root = nuscenes_scenes.write(tmp_path / "data", key_frames=(3,), rates=nuscenes_scenes.Rates(2.0, 2.0, 2.0))
    assert DrivingDataConfig("nuscenes", data_root=str(root)).resolved().data_directory == str(root)
    assert DrivingDataConfig(data_root=str(root)).resolved().data_directory == str(root)
    assert DrivingDataConfig(str(root)).resolved().data_directory == str(root)
    with pytest.raises(ValueError, match="give the folder of the dataset with --data-root"):
        DrivingDataConfig("nuscenes").resolved()
    with pytest.raises(ValueError, match="are two places of a dataset"):
        DrivingDataConfig("elsewhere", data_root=str(root)).resolved()
    with pytest.raises(ValueError, match="is of the format nuscenes, not lerobot"):
        DrivingDataConfig("lerobot", data_root=str(root)).resolved()


def test_settings_of_the_transforms_without_effect_are_refused():
    with pytest.raises(ValueError, match="state_normalization=min_max has no effect"):
        DrivingTransformConfig(state_normalization="min_max")
    with pytest.raises(ValueError, match=r"set model.sensors=\[\]"):
        DrivingTransformConfig(blind=True)


@pytest.fixture
def printed(tempovla):
    """The model of a command line, as `--print_config` shows it."""

    def run(*flags: object) -> dict:
        answer = tempovla(*TRAIN, *flags, "--print_config")
        assert answer.code == 0, answer.err
        return yaml.safe_load(answer.out)["model"]

    return run


def test_temporal_flags_become_a_temporal_encoder_of_the_model(printed):
    assert printed()["temporal"] is None
    flags = ["--use-temporal-encoder", "--temporal-encoder-type", "mamba", "--sequence-length", 6]
    temporal = printed(*flags, "--num-temporal-layers", 2)["temporal"]
    assert [temporal[key] for key in ("encoder_type", "sequence_length", "num_layers")] == ["mamba", 6, 2]
    assert printed("--use-temporal-encoder")["temporal"]["encoder_type"] == "lstm"
    changed = printed("--model.temporal", "{encoder_type: gru, past_frames: 5}", "--sequence-length", 4)["temporal"]
    assert [changed[key] for key in ("encoder_type", "past_frames", "sequence_length")] == ["gru", 5, 4]


def test_a_temporal_flag_needs_an_encoder(tempovla):
    answer = tempovla(*TRAIN, "--sequence-length", 4)
    assert answer.code != 0
    assert "--sequence-length is of no use without --use-temporal-encoder; give both, or none" in answer.err


def test_sensors_are_chosen_on_the_command_line(printed):
    assert printed("--model.sensors", "[cameras]")["sensors"] == ["cameras"]
    assert printed("--model.sensors", "[]")["sensors"] == []


def test_the_config_of_tokens_is_of_about_as_many_weights_and_is_no_bird_s_eye_view():
    for fusion in ("cross_modal", "hierarchical"):
        settings = {"model.fusion": fusion}
        policy = build_policy(read_recipe("driving", SYSTEM, CONFIGS / "driving_city_tokens.yaml", settings))
        assert 800_000 < sum(weight.numel() for weight in policy.parameters()) < 1_300_000
    with pytest.raises(
        ValueError, match=r"has no effect with model\.fusion=cross_modal; leave it out, as the config dri"
    ):
        read_recipe("driving", SYSTEM, CONFIGS / "driving_city.yaml", {"model.fusion": "cross_modal"})


def test_a_policy_that_was_taught_by_boxes_and_lights_drives_without_them(tmp_path):
    result = train_driving(recipe(occupancy_weight=1.0, light_weight=0.1), tmp_path, source=drives.drives(2))
    assert {"occupancy_loss", "occupancy_iou", "light_loss", "light_accuracy"} <= set(result.metrics)
    bundle = Bundle.load(tmp_path / "checkpoint_latest")
    assert not {BOXES_KEY, LIGHT_KEY} & {window.key for window in bundle.windows}
    policy, episode = package.load(tmp_path / "checkpoint_latest"), drives.drive(7, 3)
    values = {key: value for key, value in episode.values.items() if key not in (BOXES_KEY, LIGHT_KEY)}
    assert np.isfinite(drive_along(policy, replace(episode, values=values))).all()


def test_a_dataset_without_lights_teaches_none(tmp_path):
    folder = nuscenes_scenes.write(tmp_path / "data", (2,), nuscenes_scenes.Rates(2.0, 2.0, 2.0))
    source = open_nuscenes(folder)
    check_fits(drives.tiny_config(occupancy_weight=1.0), source)
    told = f"no stream '{LIGHT_KEY}'; .* collect them anew with this version, or train with model.light_weight=0$"
    with pytest.raises(UnknownStreamError, match=told):
        check_fits(drives.tiny_config(light_weight=1.0), source)


@pytest.mark.parametrize(("key", "sensor"), [(key, sensor) for sensor, (key, _) in POINT_STREAMS.items()])
def test_a_dataset_without_a_sensor_is_refused_with_the_setting_that_leaves_it_out(key: str, sensor: str):
    source = drives.drives(1, 2)
    source.streams = {name: stream for name, stream in source.streams.items() if name != key}
    with pytest.raises(UnknownStreamError, match=f"or, for a driving policy, leave {sensor} out of model.sensors$"):
        check_fits(drives.tiny_config(), source)


def test_a_dataset_without_boxes_teaches_no_occupancy():
    source = drives.drives(1, 2)
    source.streams = {key: stream for key, stream in source.streams.items() if key != BOXES_KEY}
    with pytest.raises(UnknownStreamError, match=r"are annotated have it: give some, or train with model\.occupancy_w"):
        check_fits(drives.tiny_config(occupancy_weight=1.0), source)


def test_the_config_for_a_city_is_of_about_a_million_weights():
    config = yaml.safe_load((CONFIGS / "driving_city.yaml").read_text())
    assert config["system"] == "driving"
    policy = build_policy(read_recipe("driving", SYSTEM, CONFIGS / "driving_city.yaml", {}))
    assert 900_000 < sum(weight.numel() for weight in policy.parameters()) < 1_300_000
