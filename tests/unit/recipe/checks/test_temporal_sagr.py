"""The check with the configs of SA-GR itself."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from tests import recordings

from tempovla.recipe.checks.findings import Findings
from tempovla.recipe.checks.temporal import TemporalCheckConfig, check_temporal

PACKAGED = "sagr_metaworld"
LIBERO = {"action_horizon": 8, "temporal_delta_k": 7, "replan": False}
"""Of a model that fits the mixture `libero_all`."""


def failures(findings: Findings) -> dict[str, str]:
    return {finding.id: finding.message for finding in findings.made if finding.status == "fail"}


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
    ("data", "reason"),
    [
        ({"observation_indices": [0]}, "model.temporal_delta_k=7 is not among data.observation_indices=[0]"),
        ({"observation_indices": [7]}, "leaves out 0, the frame of now"),
        ({"action_indices": [0, 1]}, "are not the model.action_horizon=8 steps"),
        ({"include_state": True}, "data.include_state=true with model.robot_state_dim=None"),
        ({"observations": [0, 7]}, "observations"),
    ],
)
def test_a_config_that_contradicts_itself_is_a_failure(tmp_path, data, reason):
    found = failures(check_temporal(written(tmp_path, LIBERO, data), "libero_all"))
    assert set(found) == {"config"}
    assert reason in found["config"]


def test_keys_in_comments_are_not_settings(tmp_path):
    path = written(tmp_path, {"action_horizon": 16, "temporal_delta_k": 8, "replan": False})
    path.write_text(path.read_text() + "# model: {action_horizon: 8, temporal_delta_k: 7}\n# image_tk valid_tk\n")
    assert len(failures(check_temporal(path, "libero_all"))) == 8


def test_a_packaged_config_is_checked_with_a_dataset_of_its_own(tmp_path):
    recordings.record(tmp_path / "set", (20, 9))
    findings = check_temporal(PACKAGED, config=TemporalCheckConfig(check_runtime=True), dataset=tmp_path / "set")
    assert set(failures(findings)) == {"streams.set"}
    assert "has no camera 'observation.images.corner2'" in failures(findings)["streams.set"]
    assert "stream 'action' has shape [2], but the model's action_dim is 4" in failures(findings)["streams.set"]
    assert findings.figures["set"]["valid_tk"] == 12 + 1
