"""SA-GR learns from depth, with the calibrations of the cameras that measured it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.gripper_recordings import ACTION, FRONT, STATE
from tests.sagr_runs import ONE_BAR, sagr_recipe

import tempovla
from tempovla.data.writer import DatasetWriter, infer_features
from tempovla.model.sensor import DepthGeometryConfig, PointTokensConfig
from tempovla.recipe.datasets.config import MemberConfig
from tempovla.recipe.systems.sagr import train_sagr
from tempovla.timeline import CameraCalibration

DEPTH = "observation.depth.front"


def record_depth(root: Path, *cameras: CameraCalibration) -> Path:
    """Two episodes of eight steps with one camera and its depth."""
    with DatasetWriter(root, infer_features(depth_episode(0)), 10.0, robot_type="arm") as writer:
        for seed in range(2):
            writer.calibrate(cameras)
            writer.add_episode(depth_episode(seed), "push")
    return root


def depth_episode(seed: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    return {
        STATE: random.normal(size=(8, 1)).astype(np.float32),
        ACTION: random.normal(size=(8, 1)).astype(np.float32),
        FRONT: random.integers(0, 256, (8, 16, 16, 3), np.uint8),
        DEPTH: (random.integers(500, 1500, (8, 16, 16, 1)) * 0.001).astype(np.float32),
    }


def depth_recipe(root: Path) -> Any:
    tokens = PointTokensConfig(grid=2, output_dim=6, hidden_dim=8, num_bands=2)
    model = {**ONE_BAR, "geometry": DepthGeometryConfig(tokens=tokens), "geometry_heads": 2}
    recipe = sagr_recipe(root, model, train_steps=3, save_interval_steps=None)
    return replace(recipe, data=replace(recipe.data, train_split=1.0))


def test_it_learns_from_depth_and_acts_on_it(tmp_path):
    camera = CameraCalibration(DEPTH, 16, 16, 14.0, 14.0, 8.0, 8.0)
    result = train_sagr(depth_recipe(record_depth(tmp_path / "set", camera)), tmp_path / "run")
    policy = tempovla.load(result.checkpoint, device="cpu")
    seen = {key: value[0] for key, value in depth_episode(3).items() if key != ACTION}
    near = {**seen, DEPTH: seen[DEPTH] * 0.2}
    actions = []
    for each in (seen, near):
        policy.reset()
        policy.seed(0)
        actions.append(policy.step({**each, "task": "push"}))
    assert all(np.isfinite(action).all() for action in actions)
    assert (actions[0] != actions[1]).all()


def test_depth_without_a_calibration_is_told_in_one_line(tmp_path):
    with pytest.raises(ValueError, match=DEPTH) as refused:
        train_sagr(depth_recipe(record_depth(tmp_path / "set")), tmp_path / "run")
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "run").exists()


def test_of_a_mixture_the_dataset_without_a_calibration_is_named(tmp_path):
    camera = CameraCalibration(DEPTH, 16, 16, 14.0, 14.0, 8.0, 8.0)
    roots = [record_depth(tmp_path / "seen", camera), record_depth(tmp_path / "blind")]
    recipe = depth_recipe(roots[0])
    mixture = tuple(MemberConfig(str(root)) for root in roots)
    with pytest.raises(ValueError, match=r"blind: 'observation.depth.front' of 'arm' has no calibration"):
        train_sagr(replace(recipe, data=replace(recipe.data, data_directory="", mixture=mixture)), tmp_path / "run")
