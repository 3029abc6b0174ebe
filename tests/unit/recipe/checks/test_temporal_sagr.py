"""The check with the configs of SA-GR itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from tests import recordings

from tempovla.data.layout import Feature
from tempovla.data.writer import DatasetWriter, infer_features
from tempovla.recipe.checks.findings import Findings
from tempovla.recipe.checks.temporal import TemporalCheckConfig, check_temporal
from tempovla.recipe.checks.temporal_depth import calibration_problem
from tempovla.recipe.checks.temporal_plan import TemporalPlan
from tempovla.recipe.settings.recipe_parser import read_recipe
from tempovla.recipe.systems.registry import find_system
from tempovla.timeline import CameraCalibration, Embodiment

PACKAGED = "sagr_metaworld"
DEPTH = "observation.depth.front"
LIBERO = {"action_horizon": 8, "temporal_delta_k": 7, "replan": False}
"""Of a model that fits the mixture `libero_all`."""


def failures(findings: Findings) -> dict[str, str]:
    return {finding.id: finding.message for finding in findings.made if finding.status == "fail"}


def skipped(findings: Findings) -> set[str]:
    return {finding.id for finding in findings.made if finding.status == "skip"}


def written(folder: Path, model: dict, data: dict | None = None) -> Path:
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump({"system": "sagr", "model": model, "data": data or {}}))
    return path


def test_a_config_for_libero_all_passes_and_one_of_another_k_fails_in_every_suite(tmp_path):
    assert check_temporal(written(tmp_path, LIBERO), "libero_all").passed
    whole = {"action_horizon": 8, "temporal_delta_k": 8, "replan": False}
    assert check_temporal(written(tmp_path, whole), "libero_all_whole_chunk").passed
    assert len(failures(check_temporal(written(tmp_path, whole), "libero_all"))) == 4


@pytest.mark.parametrize(
    ("mixture", "model", "remedy"),
    [
        ("libero_all", {}, "set model.temporal_delta_k=7, or choose another mixture, such as libero_all_whole_chunk"),
        ("libero_10", {}, "set model.temporal_delta_k=7, or choose another mixture, such as libero_all_whole_chunk"),
        ("libero_90", {}, "set model.temporal_delta_k=7, or choose another mixture"),
        (
            "libero_all",
            {"temporal_delta_k": 7, "horizons": [8]},
            "leave 8 out of model.horizons, or choose another mixture",
        ),
        ("bridge", {"action_horizon": 16}, "no sample has that target; choose another mixture"),
    ],
)
def test_the_advice_for_a_target_that_a_packaged_mixture_lacks_is_that_of_the_training(
    tmp_path, mixture, model, remedy
):
    path = written(tmp_path, {"action_horizon": 8, "temporal_delta_k": 8, "replan": False} | model)
    found = [message for id, message in failures(check_temporal(path, mixture)).items() if id.startswith("observes_k.")]
    assert found
    assert all(message.endswith(remedy) for message in found), found
    with pytest.raises(ValueError, match="steps later; ") as refused:
        read_recipe("sagr", find_system("sagr"), path, {"data.data_mix": mixture, "data.data_root_dir": "x"}).resolved  # noqa: B018
    assert str(refused.value).endswith(remedy.split("; ")[-1])


def test_a_type_of_robot_of_ones_own_may_observe_more(tmp_path):
    own = {"robot_types": {"mine": {"observation_indices": [0, 4], "action_indices": [*range(8)]}}}
    own["mixtures"] = {"tasks": [{"dataset": "drawer", "robot_type": "mine"}]}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(own))
    path = written(tmp_path, {"action_horizon": 8, "temporal_delta_k": 8, "replan": False})
    assert failures(check_temporal(path, "tasks", mixtures=tmp_path / "own.yaml")) == {
        "observes_k.drawer": "robot type mine observes [0, 4], not t + 8, so no sample has that target; set "
        "model.temporal_delta_k=4, or add 8 to the observation_indices of mine, or choose another mixture"
    }


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ({"observation_indices": [0]}, "model.temporal_delta_k=7 is not among data.observation_indices=[0]"),
        ({"observation_indices": [7]}, "leaves out 0, the frame of now"),
        ({"observation_indices": [0, 7, 7]}, "data.observation_indices=[0, 7, 7] names a step twice; name each of"),
        ({"action_indices": [0, 1]}, "are not the model.action_horizon=8 steps"),
        ({"include_state": True}, "data.include_state=true with model.robot_state_dim=None"),
        ({"observations": [0, 7]}, "observations"),
    ],
)
def test_a_config_that_contradicts_itself_is_a_failure(tmp_path, data, reason):
    found = failures(check_temporal(written(tmp_path, LIBERO, data), "libero_all"))
    assert set(found) == {"config"}
    assert reason in found["config"]


TINY = {
    "vlm": {
        "vision": {"model_name": "conv", "image_size": 32, "output_dim": 16},
        "language": {
            "architecture": {
                "model_type": "qwen2",
                "vocab_size": 64,
                "hidden_size": 16,
                "intermediate_size": 32,
                "num_hidden_layers": 2,
                "num_attention_heads": 2,
                "num_key_value_heads": 2,
            }
        },
        "readout": "layers",
    },
    "task_token_heads": 2,
    "geometry_heads": 2,
    "world_num_heads": 2,
    "action_head": {"head_dim": 8, "max_seq_len": 16},
}
"""Of a model that is built from scratch."""
FETCHED = {"vlm": {"readout": "layers", "language": {"model_name": "nowhere/none"}}}


@pytest.mark.parametrize(
    ("model", "id", "reason"),
    [
        ({"action_head": {"head_dim": 8, "max_seq_len": 7}}, "config", "max_seq_len=7 is less than model.action_hor"),
        ({"world_num_heads": 3}, "config", "model.world_num_heads=3 does not divide model.world_hidden_dim=512"),
        ({"action_head": {"head_dim": 7}}, "model", "model.action_head.head_dim=7 does not divide the width 16"),
        ({"action_head": {"hidden_dim": 20}}, "config", "model.action_head.head_dim=64 does not divide the width 20"),
        ({"task_token_heads": 3}, "model", "model.task_token_heads=3 does not divide the width 16 of the language"),
        ({"geometry": {"kind": "depth"}, "geometry_heads": 3}, "model", "model.geometry_heads=3 does not divide the"),
        ({"flare_weight": 0.2, "flare_layer": 2}, "model", "model.flare_layer=2 is none of the head's 2 blocks"),
        ({"replan": True, "temporal_delta_k": 7}, "config", "at least two looks"),
        ({"loss_w_fm": 1e300}, "config", "model.loss_w_fm=1e+300 must be finite"),
        (FETCHED | {"action_head": {"max_seq_len": 7}}, "config", "max_seq_len=7 is less than model.action_horizon=8"),
    ],
)
def test_a_model_that_cannot_be_built_is_a_failure(tmp_path, model, id, reason):
    found = failures(check_temporal(written(tmp_path, LIBERO | TINY | model), "libero_all"))
    assert set(found) == {id}
    assert reason in found[id]
    assert "\n" not in found[id]


@pytest.mark.parametrize(
    "model",
    [
        {},
        FETCHED,
        {"geometry": {"kind": "latent"}},
        {"vlm": {**TINY["vlm"], "vision": {"model_name": "siglip-base"}, "projector": "perceiver"}},
        {
            "vlm": {**TINY["vlm"], "vision": {"model_name": "siglip-base"}},
            "flare_weight": 0.2,
            "world_target": "vision",
            "world_target_encoder": "ema",
        },
    ],
)
def test_what_would_be_fetched_is_no_failure_and_is_not_fetched(tmp_path, model):
    findings = check_temporal(written(tmp_path, LIBERO | TINY | model), "libero_all")
    assert failures(findings) == {}
    assert "model" in {finding.id for finding in findings.made if finding.status == "pass"}


@pytest.mark.parametrize(
    ("model", "window", "reason"),
    [
        ({}, 16, "model.action_head.max_seq_len=16 is less than model.action_horizon=17; raise it"),
        ({"replan": True, "temporal_delta_k": 4}, 6, "action_horizon=7 still fits; give it at least two looks"),
        ({}, 5, "a future frame 7 steps ahead lies beyond the model.action_horizon=6 actions"),
    ],
)
def test_a_model_that_cannot_be_built_for_another_chunk_is_a_failure(tmp_path, model, window, reason):
    config = TemporalCheckConfig(future_action_window_size=window)
    findings = check_temporal(written(tmp_path, LIBERO | TINY | model), "libero_all", config)
    assert reason in failures(findings)["model"]


def test_keys_in_comments_are_not_settings(tmp_path):
    path = written(tmp_path, {"action_horizon": 16, "temporal_delta_k": 8, "replan": False})
    path.write_text(path.read_text() + "# model: {action_horizon: 8, temporal_delta_k: 7}\n# image_tk valid_tk\n")
    assert len(failures(check_temporal(path, "libero_all"))) == 8


def test_a_packaged_config_is_checked_with_a_dataset_of_its_own(tmp_path):
    recordings.record(tmp_path / "set", (20, 9))
    findings = check_temporal(PACKAGED, config=TemporalCheckConfig(check_runtime=True), dataset=tmp_path / "set")
    assert set(failures(findings)) == {"streams.set", "depth.set"}
    assert "has no camera 'observation.images.corner2'" in failures(findings)["streams.set"]
    assert "stream 'action' has shape [2], but the model's action_dim is 4" in failures(findings)["streams.set"]
    assert findings.figures["set"]["valid_tk"] == 12 + 1


@pytest.mark.parametrize(
    ("model", "status", "message"),
    [
        ({}, "pass", "the policy decides every 8 steps, so the frame at t + 8 is the one that it sees next"),
        ({"horizons": [16]}, "pass", "the policy decides every 8 steps"),
        ({"use_drift": False, "enable_causal_feedback_token": True}, "pass", "the policy decides every 8 steps"),
        ({"replan": True}, "pass", "the policy looks every 8 steps whether its chunk still fits"),
        (
            {"use_drift": False},
            "warn",
            "the frame at t + 8 does not show what the later actions do; set",
        ),
        (
            {"use_drift": False, "horizons": [12]},
            "warn",
            "k = 8 of 16 actions: the furthest target, at t + 12, does",
        ),
        ({"use_drift": False, "horizons": [16]}, "pass", "the targets show what all 16 actions do"),
        ({"use_drift": False, "temporal_delta_k": 16}, "pass", "the target shows what all 16 actions do"),
    ],
)
def test_k_may_be_shorter_than_the_chunk_where_control_decides_every_k_steps(tmp_path, model, status, message):
    path = written(tmp_path, {"action_horizon": 16, "temporal_delta_k": 8} | model)
    (found,) = [each for each in check_temporal(path, "libero_all").made if each.id == "k_covers_chunk"]
    assert (found.status, message in found.message) == (status, True), found.message


def test_targets_are_counted_for_every_horizon_and_only_where_the_model_looks_ahead(tmp_path):
    recordings.record(tmp_path / "set", (20, 9))
    model = {"action_horizon": 30, "temporal_delta_k": 8}
    off = {"loss_w_dyn": 0, "loss_w_geo": 0, "use_drift": False}

    def found(model: dict[str, Any]) -> tuple[str, str, dict[str, Any]]:
        findings = check_temporal(written(tmp_path, model), dataset=tmp_path / "set")
        (each,) = [each for each in findings.made if each.id == "targets.set"]
        return each.status, each.message, findings.figures["set"]

    status, message, figures = found(model | {"horizons": [16]})
    assert (status, message) == (
        "pass",
        "13 of 29 steps (44.8%) have a target 8 steps later, 13.8% 16 steps later",
    )
    assert figures["valid_by_horizon"] == {"16": 4}
    status, message, _ = found(model | {"horizons": [16, 25]})
    assert (status, message) == (
        "fail",
        "0 of 29 steps (0.0%) have a target 25 steps later; record longer episodes, or lower model.horizons",
    )
    assert found(model | {"temporal_delta_k": 25} | off)[:2] == ("skip", "the model looks at no later frame")


def test_what_was_looked_at_is_told(tmp_path):
    recordings.record(tmp_path / "set", (12,))
    sizes = {"action_dim": 2, "has_gripper": False, "cameras": [recordings.FRONT], "action_horizon": 8}
    path = written(tmp_path, sizes | {"temporal_delta_k": 8})
    findings = check_temporal(path, config=TemporalCheckConfig(check_runtime=True), dataset=tmp_path / "set")
    assert failures(findings) == {}
    told = {finding.id.removesuffix(".set"): finding.message for finding in findings.made}
    assert told["opens"] == "1 episode at 10 Hz"
    assert told["timestamps"] == "times increase without a gap in 1 of 1 episode"
    assert told["samples"] == "4 samples from 1 episode: 2 with a target, and 2 rightly without one"
    assert told["decode"] == (
        "image_t of 4 samples is the frame at t; image_tk of the 2 with a target is that at t + 8"
    )


def test_a_prediction_that_no_loss_trains_is_advised_against(tmp_path):
    untrained = {"loss_w_dyn": 0, "loss_w_geo": 0}
    warned = [
        {
            each.id
            for each in check_temporal(written(tmp_path, LIBERO | model), "libero_all").made
            if each.status == "warn"
        }
        for model in (untrained, untrained | {"use_drift": False}, {})
    ]
    assert [("prediction_learns" in each) for each in warned] == [True, False, False]


def test_a_packaged_config_fits_libero_with_whole_chunks():
    assert check_temporal("sagr_libero", "libero_all_whole_chunk").passed


def test_openpis_dataset_is_read_with_the_settings_of_the_page(tmp_path):
    sizes = {"image": (16, 16, 3), "wrist_image": (16, 16, 3)}
    features = {"state": Feature("float32", (8,)), "actions": Feature("float32", (7,))}
    features |= {camera: Feature("image", shape) for camera, shape in sizes.items()}
    recordings.record(tmp_path / "physical-intelligence" / "libero", (9,), features)
    model = LIBERO | {"cameras": ["image", "wrist_image"], "robot_state_dim": 8, "action_dim": 7}
    config = TemporalCheckConfig(check_runtime=True)
    found = check_temporal(written(tmp_path, model), "libero_openpi", config, data_root_dir=tmp_path)
    assert failures(found) == {}


def test_the_config_of_another_system_is_refused_by_name():
    with pytest.raises(ValueError, match="has no temporal_delta_k; give a config of `tempovla train sagr`"):
        check_temporal("vla_metaworld", "libero_all")


def test_a_folder_that_does_not_exist_fails_without_a_look_at_samples_too(tmp_path):
    for config in (None, TemporalCheckConfig(check_runtime=True)):
        found = failures(check_temporal(PACKAGED, config=config, dataset=tmp_path / "none"))
        assert set(found) == {"path.none"}
        assert found["path.none"].endswith("none: no such dataset; give the folder of a dataset with --dataset")
    path = written(tmp_path, {}, {"data_directory": str(tmp_path / "none")})
    assert failures(check_temporal(path))["path.none"].endswith("--dataset, or set data.data_directory to it")


POSE = tuple(tuple(float(row == column) for column in range(4)) for row in range(4))
CAMERA = CameraCalibration(DEPTH, 16, 16, 14.0, 14.0, 8.0, 8.0)


def depth_failures(
    folder: Path, *cameras: CameraCalibration, depth: float | None = 1.0, runtime: bool = False, **geometry: str
) -> dict[str, str]:
    """What fails with a dataset of two episodes with this depth everywhere [m] and these calibrations."""
    random = np.random.default_rng(0)
    frames = {
        recordings.ACTION: random.normal(size=(12, 2)).astype(np.float32),
        recordings.FRONT: random.integers(0, 256, (12, 16, 16, 3), np.uint8),
    }
    if depth is not None:
        frames[DEPTH] = np.full((12, 16, 16, 1), depth, np.float32)
    with DatasetWriter(folder / "set", infer_features(frames), 10.0, robot_type="arm") as writer:
        for _ in range(2):
            writer.calibrate(cameras)
            writer.add_episode(frames, "push")
    sizes = {"action_dim": 2, "has_gripper": False, "cameras": [recordings.FRONT]}
    path = written(folder, sizes | {"geometry": {"kind": "depth"} | geometry})
    findings = check_temporal(path, config=TemporalCheckConfig(check_runtime=runtime), dataset=folder / "set")
    looked = {each.id for each in findings.made}
    assert {"depth.set", "calibration.set"} <= looked
    assert ("calibration.set" in skipped(findings)) == (depth is None)
    assert ("readings.set" in looked) == runtime
    return failures(findings)


RUNTIME = pytest.mark.parametrize("runtime", [False, True])


@RUNTIME
def test_depth_with_its_calibration_passes(tmp_path, runtime):
    assert depth_failures(tmp_path, CAMERA, runtime=runtime) == {}


@RUNTIME
def test_a_dataset_without_the_depth_that_the_model_reads_fails(tmp_path, runtime):
    found = depth_failures(tmp_path, depth=None, runtime=runtime)
    assert set(found) == {"depth.set"}
    assert f"has no depth '{DEPTH}', which the model reads; record it, such as with --depth true" in found["depth.set"]


@RUNTIME
def test_depth_without_its_calibration_fails_as_in_a_training(tmp_path, runtime):
    found = depth_failures(tmp_path, runtime=runtime)
    assert set(found) == {"calibration.set"}
    assert f"'{DEPTH}' of 'arm' has no calibration, which the geometry encoder needs" in found["calibration.set"]


@RUNTIME
def test_points_in_the_world_need_the_poses_of_the_cameras(tmp_path, runtime):
    found = depth_failures(tmp_path, CAMERA, runtime=runtime, frame="world")
    assert set(found) == {"calibration.set"}
    assert "has no fixed pose" in found["calibration.set"]


def test_points_in_the_world_with_a_pose_pass(tmp_path):
    assert depth_failures(tmp_path, replace(CAMERA, pose=POSE), frame="world") == {}


def test_poses_of_several_frames_are_no_poses_of_one_world():
    other = replace(CAMERA, stream=f"{DEPTH}_2", frame="base", pose=POSE)
    plan = TemporalPlan(8, 8, depths=(DEPTH, other.stream), needs_poses=True)
    body = Embodiment("arm", 0, 1, 10.0, cameras=(replace(CAMERA, pose=POSE), other))
    assert "are in several frames" in calibration_problem(plan, body)
    assert calibration_problem(replace(plan, needs_poses=False), body) is None


def test_depth_without_a_single_reading_fails(tmp_path):
    found = depth_failures(tmp_path, CAMERA, depth=0.0, runtime=True)
    assert set(found) == {"readings.set"}
    assert "'observation.depth.front' holds no reading in " in found["readings.set"]
