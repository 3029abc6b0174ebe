"""The check of a config, a mixture and its samples fails where something does not hold that must, and says why."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from tests import libero_recordings, recordings
from tests.foreign import Foreign, write_v21
from tests.temporal_system import predicting_system

from tempovla.data.layout import Feature
from tempovla.data.temporal import dataset as temporal_dataset
from tempovla.data.temporal.view import TemporalView
from tempovla.recipe.checks import temporal_runtime
from tempovla.recipe.checks.findings import Findings
from tempovla.recipe.checks.temporal import TemporalCheckConfig, check_temporal

__all__ = ["predicting_system"]
pytestmark = pytest.mark.usefixtures("predicting_system")

RUNTIME = TemporalCheckConfig(check_runtime=True)
LENGTHS = (12, 7, 9)
K = 4
OWN = f"""
robot_types:
  arm: {{observation_indices: [0, {K}], action_indices: [0, 1, 2, 3]}}
  # observation_indices: [0, {K}]  temporal_delta_k: {K}  image_tk valid_tk
  blind_arm: {{observation_indices: [0], action_indices: [0, 1, 2, 3]}}  # observation_indices: [0, {K}]
  short_arm: {{observation_indices: [0, {K}], action_indices: [0, 1]}}
mixtures:
  both: [{{dataset: one, robot_type: arm}}, {{dataset: two, weight: 2, robot_type: arm}}]
  third: [{{dataset: three, robot_type: arm}}]
  partly: [{{dataset: one, robot_type: arm}}, {{dataset: two, robot_type: blind_arm}}]
  blind: [{{dataset: one, robot_type: blind_arm}}]
  short: [{{dataset: one, robot_type: short_arm}}]
  unknown_arm: [{{dataset: one, robot_type: amr}}]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "own.yaml").write_text(OWN)
    return tmp_path


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """Datasets in three formats."""
    root = tmp_path_factory.mktemp("datasets")
    recordings.record(root / "one", LENGTHS)
    write_v21(root / "two", Foreign(lengths=LENGTHS))
    libero_recordings.record(root / "three", LENGTHS, tasks=(libero_recordings.SOUP,))
    return root


def config_file(folder: Path, model: dict | None = None, data: dict | None = None, **more) -> Path:
    model = {"action_horizon": 4, "temporal_delta_k": K} | (model or {})
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump({"model": model, "data": data or {}, **more}))
    return path


def check(folder: Path, mixture: str, model: dict | None = None, runtime: bool = False, **more) -> Findings:
    config = RUNTIME if runtime else None
    path = config_file(folder, model, more.pop("data", None))
    return check_temporal(path, mixture, config, mixtures=folder / "own.yaml", **more)


def failures(findings: Findings) -> dict[str, str]:
    return {finding.id: finding.message for finding in findings.made if finding.status == "fail"}


def statuses(findings: Findings) -> dict[str, str]:
    return {finding.id: finding.status for finding in findings.made}


def test_a_config_and_a_mixture_that_fit_pass_without_data(folder):
    findings = check(folder, "both")
    assert findings.passed
    assert statuses(findings) == {
        "config": "pass",
        "k_within_chunk": "pass",
        "k_covers_chunk": "pass",
        "state": "pass",
        "mixture": "pass",
        **{
            f"{what}.{name}": "pass"
            for name in ("one", "two")
            for what in ("robot_type", "chunk", "observes_now", "observes_k")
        },
        "runtime": "skip",
    }
    assert findings.lines[0].startswith("[PASS] config: ")
    assert findings.lines[-1] == "14 checks: 13 passed, 0 failed, 0 with a warning, 1 skipped"


@pytest.mark.parametrize(("mixture", "name", "count"), [("both", "two", 2), ("third", "three", 1)])
def test_samples_of_every_format_pass(folder, root, mixture, name, count):
    dims = {"action_dim": 7} if mixture == "third" else {}
    findings = check(folder, mixture, dims, runtime=True, data_root_dir=root)
    assert failures(findings) == {}
    assert len(findings.figures) == count
    steps = sum(LENGTHS)
    valid = sum(length - K for length in LENGTHS)
    figures = {"episodes": 3, "steps": steps, "valid_tk": valid, "valid_tk_ratio": valid / steps}
    assert findings.figures[name] == figures | {"episodes_without_target": 0}
    for what in ("path", "opens", "streams", "targets", "timestamps", "samples", "decode"):
        assert statuses(findings)[f"{what}.{name}"] == "pass"


def test_a_state_that_is_included_is_checked_too(folder, root):
    findings = check(folder, "both", {"robot_state_dim": 3}, runtime=True, data_root_dir=root)
    assert failures(findings) == {}
    wrong = failures(check(folder, "both", {"robot_state_dim": 5}, runtime=True, data_root_dir=root))
    assert set(wrong) == {"streams.one", "streams.two"}
    assert (
        "'observation.state' has shape [3], but the model's robot_state_dim is 5; set model.robot_state_dim=3"
        in (wrong["streams.one"])
    )


def test_the_cameras_of_the_model_are_looked_for(folder, root):
    wrist = {"cameras": [recordings.WRIST]}
    findings = check(folder, "both", wrist | {"action_dim": 3}, runtime=True, data_root_dir=root)
    found = failures(findings)
    assert found["streams.two"].endswith(
        "has no camera 'observation.images.wrist', stream 'action' has shape [2], but the model's action_dim is 3; set "
        "model.cameras to some of ['observation.images.front'] and model.action_dim=2"
    )
    assert "cameras" not in found["streams.one"]
    assert statuses(check(folder, "both", wrist, runtime=True, data_root_dir=root))["decode.one"] == "pass"


@pytest.mark.parametrize(
    ("mixture", "model", "id", "reason"),
    [
        ("bridge", {"action_horizon": 16}, "observes_k.bridge_orig_1.0.0_lerobot", "observes [0], not t + 4, so no"),
        ("blind", {}, "observes_k.one", "robot type blind_arm observes [0], not t + 4"),
        ("partly", {}, "observes_k.two", "add 4 to the observation_indices of blind_arm"),
        ("libero_al", {}, "mixture", "mixture 'libero_al' is unknown; did you mean libero_all"),
        ("unknown_arm", {}, "robot_type.one", "robot type 'amr' is unknown; did you mean arm"),
        ("short", {}, "chunk.one", "a sample holds 2 actions, but the model predicts 4; set action_horizon"),
        ("both", {"action_horizon": 8}, "chunk.two", "a sample holds 4 actions, but the model predicts 8"),
        ("both", {"action_horizon": 2}, "k_within_chunk", "k = 4, but the model predicts 2 actions"),
        ("both", {"horizons": [2]}, "observes_k.one", "observes [0, 4], not t + 2, so no sample has that target"),
        ("both", {"horizons": [9]}, "k_within_chunk", "k = 9, but the model predicts 4 actions"),
        ("both", {"temporal_delta_k": 3}, "observes_k.one", "observes [0, 4], not t + 3"),
        ("both", {"temporal_delta_k": 0}, "config", "model.temporal_delta_k=0 must be at least 1"),
    ],
)
def test_what_must_hold_and_does_not_is_a_failure_with_its_reason(folder, mixture, model, id, reason):
    findings = check(folder, mixture, model)
    assert not findings.passed
    assert reason in failures(findings)[id]
    assert f"[FAIL] {id}: " in "\n".join(findings.lines)


@pytest.mark.parametrize(
    ("data", "id", "reason"),
    [
        ({"observation_indices": [0]}, "config.observation_indices", "[0] lacks 4; add it to data.observation_indices"),
        ({"observation_indices": [4]}, "config.observation_indices", "[4] lacks 0"),
        ({"action_indices": [0, 1]}, "config.action_indices", "a sample holds 2 actions"),
        ({"include_state": True}, "state", "include_state is true, but the model reads no state"),
    ],
)
def test_steps_that_the_config_itself_names_have_to_fit_as_well(folder, data, id, reason):
    assert reason in failures(check(folder, "both", data=data))[id]


def test_a_model_that_reads_a_state_needs_it_in_the_samples(folder):
    findings = check(folder, "both", {"robot_state_dim": 3}, data={"include_state": False})
    assert failures(findings) == {"state": "the model reads a state of 3 dimensions; set include_state to true"}


def test_a_k_below_the_chunk_is_a_warning_and_no_failure(folder):
    findings = check_temporal(config_file(folder, {"action_horizon": 8, "temporal_delta_k": 7}), "libero_all")
    assert findings.passed
    assert statuses(findings)["k_covers_chunk"] == "warn"
    whole = check_temporal(config_file(folder, {"action_horizon": 8, "temporal_delta_k": 8}), "libero_all")
    assert {id for id in failures(whole) if id.startswith("observes_k")} == set(failures(whole))
    assert len(failures(whole)) == 4


def test_the_size_of_the_chunk_may_be_given_instead(folder):
    path = config_file(folder, {"action_horizon": 8})
    own = folder / "own.yaml"
    assert not check_temporal(path, "both", mixtures=own).passed
    assert check_temporal(path, "both", TemporalCheckConfig(future_action_window_size=3), mixtures=own).passed


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            f"robot_types: {{arm: {{observation_indices: [0], temporal_delta_k: {K}}}}}",
            "temporal_delta_k=4 is not among",
        ),
        ("robot_types: {arm: {observation_indices: [4]}}", "robot_types.arm: observation_indices [4] must hold 0"),
        ("robot_types: {arm: {observations: [0, 4]}}", "keys ['observations'] are unknown to TemporalDataConfig"),
        ("mixtures: {both: [{dataset: one, weight: -1}]}", "dataset one has weight -1, which must be positive"),
        ("mixture: {}", "it must hold robot_types and mixtures"),
    ],
)
def test_a_file_of_mixtures_that_contradicts_itself_fails(folder, text, reason):
    (folder / "own.yaml").write_text(text)
    assert reason in failures(check(folder, "both"))["mixtures"]


def test_a_file_of_mixtures_that_cannot_be_read_is_an_error(folder):
    (folder / "own.yaml").write_text("mixtures: [")
    with pytest.raises(ValueError, match=r"own.yaml: no YAML"):
        check(folder, "both")


def test_a_dataset_alone_needs_no_mixture(folder, root):
    path = config_file(folder)
    findings = check_temporal(path, config=RUNTIME, dataset=root / "one")
    assert failures(findings) == {}
    assert findings.figures["one"]["valid_tk"] == sum(length - K for length in LENGTHS)
    of_config = check_temporal(config_file(folder, data={"data_directory": str(root / "one")}), config=RUNTIME)
    assert of_config.figures == findings.figures
    assert "observes_k.one" not in statuses(findings)
    assert "no such dataset" in failures(check_temporal(path, config=RUNTIME, dataset=folder / "none"))["path.none"]
    with pytest.raises(ValueError, match=r"--dataset .*one and --data-mix libero_all exclude each other"):
        check_temporal(path, "libero_all", dataset=root / "one")


def test_a_dataset_may_call_its_state_and_action_otherwise(folder):
    features = {
        "state": Feature("float32", (8,)),
        "actions": Feature("float32", (7,)),
        "image": Feature("image", (16, 16, 3)),
    }
    recordings.record(folder / "physical-intelligence" / "libero", (9,), features)
    model = {"action_horizon": 8, "temporal_delta_k": 7, "action_dim": 7, "robot_state_dim": 8}
    findings = check_temporal(config_file(folder, model), "libero_openpi", RUNTIME, data_root_dir=folder)
    assert failures(findings) == {}
    assert statuses(findings)["decode.physical-intelligence/libero"] == "pass"
    data = {"state_key": "state", "action_key": "actions"}
    alone = check_temporal(
        config_file(folder, model, data), config=RUNTIME, dataset=folder / "physical-intelligence/libero"
    )
    assert failures(alone) == {}


def test_a_dataset_is_opened_as_the_config_says(folder, root):
    path = config_file(folder, data={"max_len_data": 6})
    findings = check_temporal(path, config=RUNTIME, dataset=root / "one")
    assert (findings.figures["one"]["steps"], findings.figures["one"]["valid_tk"]) == (18, 6)
    assert findings.passed


def test_every_dataset_that_is_missing_fails_and_the_rest_is_skipped(folder, root):
    recorded = check(folder, "both", runtime=True, data_root_dir=folder)
    assert set(failures(recorded)) == {"path.one", "path.two"}
    assert (
        f"{folder / 'one'}: no such dataset; name the folder of all datasets with --data-root-dir"
        in (failures(recorded)["path.one"])
    )
    skipped = {id for id, status in statuses(recorded).items() if status == "skip"}
    assert skipped >= {"samples.one", "decode.two", "timestamps.one"}


def test_a_folder_that_holds_no_dataset_fails(folder):
    (folder / "one").mkdir()
    assert "not a LeRobot dataset" in failures(check(folder, "blind", runtime=True, data_root_dir=folder))["opens.one"]


def test_episodes_that_are_all_too_short_have_no_target(folder):
    recordings.record(folder / "one", (3, K))
    found = failures(check(folder, "short", {"action_horizon": 2}, runtime=True, data_root_dir=folder))
    assert found["targets.one"] == "0 of 7 steps (0.0%) have a target 4 steps later; record longer episodes, or lower k"


def test_samples_of_a_dataset_without_targets_are_not_looked_at(folder, root):
    findings = check(folder, "blind", runtime=True, data_root_dir=root)
    assert set(failures(findings)) == {"observes_k.one", "targets.one"}
    assert statuses(findings)["samples.one"] == "skip"


def test_data_that_cannot_be_read_are_a_failure(folder):
    write_v21(folder / "one", Foreign(lengths=(9,)))
    (video,) = (folder / "one").rglob("*.mp4")
    video.write_bytes(video.read_bytes()[:200])
    found = failures(check(folder, "short", {"action_horizon": 2, "temporal_delta_k": K}, True, data_root_dir=folder))
    assert "mp4" in found["samples.one"]


def test_a_dataset_without_pictures_fails(folder):
    features = {key: value for key, value in recordings.FEATURES.items() if "images" not in key}
    recordings.record(folder / "one", (9,), features)
    found = failures(check(folder, "short", {"action_horizon": 2}, runtime=True, data_root_dir=folder))
    assert "has no camera" in found["streams.one"]


def test_a_reader_that_passes_off_now_as_later_is_found_out(folder, root, monkeypatch):
    """The picture of now in the place of that of later, as valid as that would be."""
    real = TemporalView.rows

    def rows(self, sample):
        return [row | {"image_tk": row["image_t"]} for row in real(self, sample)]

    monkeypatch.setattr(temporal_dataset.TemporalView, "rows", rows)
    found = failures(check(folder, "short", {"action_horizon": 2}, runtime=True, data_root_dir=root))
    assert "is not the frame of step" in found["decode.one"]
    assert "k_within_chunk" in found
    assert "samples.one" not in found


def test_the_picture_in_the_place_of_a_target_is_not_compared(folder, root, monkeypatch):
    real = TemporalView.rows

    def rows(self, sample):
        return [row if row["valid_tk"] else row | {"image_tk": row["image_t"]} for row in real(self, sample)]

    monkeypatch.setattr(temporal_dataset.TemporalView, "rows", rows)
    assert statuses(check(folder, "both", runtime=True, data_root_dir=root))["decode.one"] == "pass"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda row: {"valid_tk": 1.0}, "valid_tk is 1.0, but 0.0 is right"),
        (lambda row: {"image": row["image_tk"]}, "image differs from image_t"),
        (lambda row: {"image_tk": row["image_tk"][:1]}, "image_tk is no list of 2 pictures"),
        (lambda row: {"action": row["action"].astype(np.float16)}, "action is no float32 array of shape [4, 2]"),
        (lambda row: {"action": row["action"] * np.nan}, "action holds a number that is not finite"),
        (lambda row: {"action_valid": ~row["action_valid"]}, "action_valid is"),
        (lambda row: {"state": row["state_tk"] + 1}, "state differs from state_t"),
        (lambda row: {"temporal_delta_k": 7}, "temporal_delta_k is 7, not 4"),
        (lambda row: {"lang": None}, "lang is no text"),
    ],
)
def test_samples_of_another_form_are_found_out(folder, root, monkeypatch, change, reason):
    real = TemporalView.rows
    changed = lambda self, sample: [row | change(row) for row in real(self, sample)]  # noqa: E731
    monkeypatch.setattr(temporal_dataset.TemporalView, "rows", changed)
    config = config_file(folder, {"robot_state_dim": 3})
    findings = check_temporal(config, "both", RUNTIME, mixtures=folder / "own.yaml", data_root_dir=root)
    assert reason in failures(findings)["samples.one"]


def test_the_chosen_episodes_follow_from_the_seed(folder, root, monkeypatch):
    chosen = []
    monkeypatch.setattr(
        temporal_runtime, "timestamps_problem", lambda source, keys, episodes: chosen.append(episodes) and None
    )
    for seed in (0, 0, 1, 2, 3):
        config = TemporalCheckConfig(True, max_trajectories=1, seed=seed)
        check_temporal(config_file(folder), "third", config, mixtures=folder / "own.yaml", data_root_dir=root)
    assert chosen[0] == chosen[1]
    assert len({episodes[0] for episodes in chosen}) > 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model: [1", "no YAML"),
        ("- 1", "holds \\[1\\], where a config holds keys and values"),
        ("", "holds None"),
        ("system: vla", "trains a VLAConfig, which has no temporal_delta_k; give a config of `tempovla train sagr`"),
        ("system: vlaa", "system 'vlaa' is unknown"),
        ("system: [sagr]", "system is \\['sagr'\\]; give the name of one, such as sagr"),
    ],
)
def test_input_that_cannot_be_used_is_an_error_and_no_finding(folder, text, message):
    (folder / "config.yaml").write_text(text)
    with pytest.raises(ValueError, match=message):
        check_temporal(folder / "config.yaml", "libero_all")


def test_what_is_not_given_is_taken_from_the_config_or_asked_for(folder, root):
    data = {"data_mix": "both", "data_root_dir": str(root), "mixtures": str(folder / "own.yaml")}
    assert check_temporal(config_file(folder, data=data), config=RUNTIME).passed
    with pytest.raises(ValueError, match=r"--data-mix is not given, and the config has no data\.data_mix"):
        check_temporal(config_file(folder))
    with pytest.raises(ValueError, match="--data-root-dir is not given"):
        check_temporal(config_file(folder), "libero_all", RUNTIME)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_trajectories": 0}, "max_trajectories=0 must be at least 1"),
        ({"seed": -1}, "seed=-1 must be at least 0"),
        ({"future_action_window_size": -1}, "future_action_window_size=-1 must be at least 0"),
    ],
)
def test_settings_of_the_check_are_checked(options, message):
    with pytest.raises(ValueError, match=message):
        TemporalCheckConfig(**options)
