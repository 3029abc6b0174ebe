"""A policy that reads depth: trained, loaded, asked on a robot and evaluated in the simulator that recorded it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.depth_policy import ACTION, DEPTH, STATE, DepthConfig, DepthPolicy
from tests.in_process import simulators_in_process

import tempovla
from tempovla.data.lerobot import open_dataset
from tempovla.data.loader import collate
from tempovla.data.mixture import Mixture
from tempovla.data.sampler import SampleBatch
from tempovla.data.writer import DatasetWriter, infer_features
from tempovla.export.exporter import export_checkpoint
from tempovla.model.vla.registry import POLICY_REGISTRY
from tempovla.recipe.datasets.config import DataConfig
from tempovla.recipe.datasets.fits import check_fits
from tempovla.recipe.evaluation.outputs import Outputs
from tempovla.recipe.systems.own_policy import register_policy
from tempovla.recipe.systems.registry import SYSTEM_REGISTRY
from tempovla.rollout.evaluate import EvaluationConfig
from tempovla.timeline import Bundle, CameraCalibration, laws
from tempovla.training.config import TrainConfig
from tempovla.transform.pipeline import TransformPipeline

POSE = ((1.0, 0.0, 0.0, 0.1), (0.0, -1.0, 0.0, 0.2), (0.0, 0.0, -1.0, 1.5), (0.0, 0.0, 0.0, 1.0))
CAMERA = CameraCalibration(DEPTH, 16, 16, 14.0, 14.0, 8.0, 8.0, POSE)
BRIEF = TrainConfig(train_steps=3, batch_size=4)


@pytest.fixture
def recipe_class():
    yield register_policy("depth_policy", DepthPolicy, DepthConfig, "reads depth")
    for registry in (POLICY_REGISTRY, SYSTEM_REGISTRY):
        del registry["depth_policy"]


def episode(seed: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    depth = random.integers(500, 1500, (6, 16, 16, 1)) * 0.001
    depth[:, :2] = 0.0
    numbers = random.normal(size=(6, 4)).astype(np.float32)
    return {STATE: numbers, DEPTH: depth.astype(np.float32), ACTION: numbers}


def recorded(root: Path, *cameras: CameraCalibration) -> Path:
    with DatasetWriter(root, infer_features(episode(0)), 80.0, robot_type="arm") as writer:
        for seed in range(4):
            writer.calibrate(cameras)
            writer.add_episode(episode(seed), "push")
    return root


def trained(recipe_class, tmp_path: Path, **model) -> Path:
    recipe = recipe_class(
        data=DataConfig(data_directory=str(tmp_path / "data"), train_split=1.0),
        model=DepthConfig(**model),
        training=BRIEF,
    )
    tempovla.train(recipe, tmp_path / "run")
    return tmp_path / "run" / "checkpoint_latest"


def test_it_is_trained_saved_with_its_calibration_and_acts_on_depth(recipe_class, tmp_path):
    recorded(tmp_path / "data", CAMERA)
    checkpoint = trained(recipe_class, tmp_path)
    bundle = Bundle.load(checkpoint)
    assert bundle.embodiment.cameras == (CAMERA,)
    assert bundle.transform["steps"][0] == {"name": "resize_depth", "keys": [DEPTH], "size": 8, "blank": False}
    policy = tempovla.load(checkpoint)
    near, far = ({STATE: np.zeros(4), DEPTH: np.full((16, 16), metres)} for metres in (0.6, 1.4))
    assert policy.act(near).shape == (3, 4)
    assert not np.allclose(policy.act(near), policy.act(far))
    with pytest.raises(ValueError, match=r"uint16, whose unit is not known; give floats"):
        policy.act(near | {DEPTH: np.full((16, 16), 600, np.uint16)})
    assert "observation.depth.corner2" in str(policy)
    with pytest.raises(ValueError, match="DepthPolicy has no features_of, actions_from and") as error:
        export_checkpoint(checkpoint, tmp_path / "policy.onnx")
    assert "\n" not in str(error.value)


def test_a_robot_may_have_its_cameras_elsewhere(recipe_class, tmp_path):
    recorded(tmp_path / "data", CAMERA)
    checkpoint = trained(recipe_class, tmp_path)
    seen = {STATE: np.zeros(4), DEPTH: np.full((16, 16), 0.9)}
    higher = replace(CAMERA, pose=(*POSE[:2], (0.0, 0.0, -1.0, 1.8), POSE[3]))
    usual, moved = tempovla.load(checkpoint), tempovla.load(checkpoint, cameras=[higher])
    assert usual.embodiment.camera(DEPTH) == CAMERA
    assert moved.embodiment.camera(DEPTH) == higher
    assert not np.allclose(usual.act(seen), moved.act(seen))
    assert np.allclose(usual.act(seen), tempovla.load(checkpoint, cameras=(CAMERA,)).act(seen))
    for wrong, told in (([POSE], "are no calibrations; give a list"), ([CAMERA, CAMERA], "is calibrated twice")):
        with pytest.raises(ValueError, match=told) as error:
            tempovla.load(checkpoint, cameras=wrong)
        assert "\n" not in str(error.value)


def test_law_8_a_robot_shows_what_training_saw(recipe_class, tmp_path):
    source = open_dataset(recorded(tmp_path / "data", CAMERA))
    bundle = Bundle.load(trained(recipe_class, tmp_path))
    transform = TransformPipeline.of(bundle)
    batch = SampleBatch(np.zeros(3, dtype=np.int64), np.arange(3), torch.arange(3))
    sample = collate(Mixture([source]), bundle.windows, batch)
    assert sample.context.task[0].embodiment.camera(DEPTH) == CAMERA
    policy = DepthPolicy(DepthConfig())
    policy.load_state_dict(dict(bundle.weights))
    expected = transform.inverse(policy.act(transform.forward_sample(sample).context, None)[0]).value
    robot = tempovla.load(tmp_path / "run" / "checkpoint_latest")
    for step in range(3):
        seen = {key: source.read(0, key, [step]).value[0] for key in (STATE, DEPTH)}
        np.testing.assert_allclose(robot.act(seen), expected[step].detach().numpy(), rtol=1e-5, atol=1e-6)


def test_its_policy_keeps_the_laws():
    config = DepthConfig(frame="camera")
    policy, shapes = DepthPolicy(config), {STATE: (4,), DEPTH: (1, 8, 8), ACTION: (4,)}
    body = replace(laws.samples.EMBODIMENT, cameras=(CAMERA,))
    sample = laws.with_gaps(laws.random_sample(policy.windows(), shapes))
    task = tuple(replace(one, embodiment=body) for one in sample.context.task)
    sample = replace(sample, context=replace(sample.context, task=task))
    contexts = [replace(c, task=task) for c in laws.random_contexts(policy.windows(), shapes)]
    laws.check_policy(policy, sample, contexts)


@pytest.mark.parametrize(
    ("cameras", "model", "told"),
    [
        (
            (),
            {},
            r"'observation\.depth\.corner2' of 'arm' has no calibration, which the geometry encoder",
        ),
        (
            (replace(CAMERA, pose=None),),
            {},
            r"'observation\.depth\.corner2' of 'arm' has no fixed pose, which",
        ),
        (
            (CAMERA,),
            {"depth": "observation.depth.top"},
            r"has no depth 'observation\.depth\.top', which",
        ),
    ],
)
def test_what_its_dataset_lacks_is_told_in_one_line(recipe_class, tmp_path, cameras, model, told):
    recorded(tmp_path / "data", *cameras)
    with pytest.raises(ValueError, match=told) as error:
        trained(recipe_class, tmp_path, **model)
    assert "\n" not in str(error.value)


def test_a_dataset_without_any_depth_says_how_to_record_some(tmp_path):
    plain = {key: value for key, value in episode(0).items() if key != DEPTH}
    with DatasetWriter(tmp_path / "data", infer_features(plain), 80.0) as writer:
        writer.add_episode(plain, "push")
    with pytest.raises(ValueError, match="which the model reads; record it, such as with --depth true"):
        check_fits(DepthConfig(), open_dataset(tmp_path / "data"))


@pytest.mark.sim
def test_it_learns_from_a_simulators_depth_and_is_evaluated_there(recipe_class, tmp_path):
    pytest.importorskip("metaworld")
    from tempovla.env.metaworld import MetaWorldConfig
    from tempovla.recipe.collection.collect import Collection, collect_dataset

    config = MetaWorldConfig.for_experts(depth=True, cameras=("corner2",), image_size=16, supersample=1)
    with simulators_in_process():
        source = collect_dataset(tmp_path / "data", Collection(config, ["reach-v3"], 1), workers=1)
        assert source.embodiment.camera(DEPTH).pose is not None
        checkpoint = trained(recipe_class, tmp_path)
        results = tempovla.evaluate(
            checkpoint,
            "metaworld",
            ["reach-v3"],
            EvaluationConfig(episodes=1, max_steps=6, num_envs=1, workers=1),
            outputs=Outputs(recordings=tmp_path / "rollouts", videos=tmp_path / "videos"),
        )
    assert results["mean"]["episodes"] == 1
    assert results["simulator"]["depth"] is True
    rollouts = open_dataset(tmp_path / "rollouts")
    assert rollouts.streams[DEPTH].kind == "depth"
    seen, learned = rollouts.embodiment.camera(DEPTH), source.embodiment.camera(DEPTH)
    assert (seen.width, learned.width) == (64, 16)
    assert seen.has_pose_of(learned)
    assert seen.has_intrinsics_of(learned)


@pytest.mark.sim
def test_in_a_simulator_its_calibration_counts_and_not_that_of_the_training_data(recipe_class, tmp_path):
    pytest.importorskip("metaworld")
    from tempovla.env.metaworld import MetaWorldConfig

    recorded(tmp_path / "data", CAMERA)
    checkpoint = trained(recipe_class, tmp_path)
    with simulators_in_process():
        tempovla.evaluate(
            checkpoint,
            "metaworld",
            ["reach-v3"],
            EvaluationConfig(episodes=1, max_steps=3, num_envs=1, workers=1),
            outputs=Outputs(recordings=tmp_path / "rollouts"),
        )
    env = MetaWorldConfig(task="reach-v3", cameras=("corner2",), depth=True).make()
    env.reset(seed=0)
    there = open_dataset(tmp_path / "rollouts").embodiment.camera(DEPTH)
    assert there == next(camera for camera in env.calibrations() if camera.stream == DEPTH)
    assert there.pose != POSE
