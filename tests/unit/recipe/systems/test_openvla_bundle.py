"""A published checkpoint of OpenVLA as a bundle: it acts as `predict_action` does."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tests.gripper_recordings import record
from tests.openvla_tiny import FRONT, save_published

from tempovla.control.context_builder import ContextBuilder
from tempovla.control.controller import Controller
from tempovla.env.registry import SIMULATOR_REGISTRY
from tempovla.model.vla.openvla_config import openvla_prompt
from tempovla.recipe.evaluation.offline import evaluate_offline
from tempovla.recipe.systems.openvla_bundle import openvla_bundle, write_openvla_bundle
from tempovla.recipe.systems.openvla_config import OpenVLAModelConfig, OpenVLARecipe, OpenVLATransformConfig
from tempovla.timeline import Bundle, Embodiment
from tempovla.transform.tokenizer import TransformersTokenizer

TOY = Embodiment("toy", state_dim=3, action_dim=3, rate_hz=10.0)
TASKS = ("task 0", "task 1")
NORM_STATS = {
    "bridge": {"action": {"q01": [-1.0, 0.25, 0.0], "q99": [3.0, 0.25, 1.0], "mask": [True, True, False]}},
    "toto": {"action": {"q01": [-2.0, -2.0, -2.0], "q99": [2.0, 2.0, 2.0]}},
}
"""The second dimension of the first never varied."""


@pytest.fixture(autouse=True)
def toy_robot(monkeypatch) -> None:
    monkeypatch.setitem(SIMULATOR_REGISTRY, "toy", (lambda: SimpleNamespace(embodiment=TOY), "a toy"))


@pytest.fixture
def published(tmp_path):
    return save_published(tmp_path / "published", *TASKS, norm_stats=NORM_STATS)


def a_recipe(tmp_path, gripper_open: float | None = None) -> OpenVLARecipe:
    model = OpenVLAModelConfig(str(tmp_path / "published"), (FRONT,), dtype="float32")
    return OpenVLARecipe(transform=OpenVLATransformConfig(gripper_open=gripper_open), model=model)


def act_on(bundle: Bundle, frames: np.ndarray) -> torch.Tensor:
    controller = Controller.from_bundle(bundle)
    builder = ContextBuilder(bundle.windows, bundle.embodiment, len(frames))
    for row, frame in enumerate(frames):
        builder.reset(row, TASKS[row], {FRONT: frame})
    return controller.act(builder.context(), controller.initial_state(len(frames)))[0].value


@pytest.mark.parametrize("key", ["bridge", "toto"])
def test_the_bundle_acts_as_the_checkpoint_predicts(tmp_path, published, key):
    write_openvla_bundle(a_recipe(tmp_path), tmp_path / "bundle", unnorm_key=key, robot="toy")
    bundle = Bundle.load(tmp_path / "bundle")
    assert bundle.embodiment == TOY
    frames = np.random.default_rng(0).integers(0, 256, (2, 30, 50, 3), dtype=np.uint8)
    tokenizer = TransformersTokenizer(str(tmp_path / "published"))
    ids = torch.tensor([tokenizer.encode(openvla_prompt(task)) for task in TASKS])
    expected = published.predict_action(torch.from_numpy(frames).movedim(-1, 1), ids, key)
    shutil.rmtree(tmp_path / "published")  # the bundle keeps what it needs of it
    actions = act_on(bundle, frames)
    assert actions.shape == (2, 1, 3)
    torch.testing.assert_close(actions[:, 0], expected, atol=2e-6, rtol=1e-6)


def test_the_gripper_is_said_in_the_robots_words(tmp_path, published):
    frames = np.random.default_rng(1).integers(0, 256, (2, 28, 28, 3), dtype=np.uint8)
    model = act_on(openvla_bundle(a_recipe(tmp_path), "bridge", "toy"), frames)
    robot = act_on(openvla_bundle(a_recipe(tmp_path, gripper_open=-1.0), "bridge", "toy"), frames)
    assert torch.equal(robot[..., :2], model[..., :2])
    torch.testing.assert_close(robot[..., 2], 1 - 2 * model[..., 2])


def test_the_middle_of_the_picture_can_be_all_that_is_seen(tmp_path, published):
    recipe = a_recipe(tmp_path)
    frames = np.random.default_rng(2).integers(0, 256, (2, 40, 20, 3), dtype=np.uint8)
    whole = openvla_bundle(recipe, "bridge", "toy")
    middle = openvla_bundle(replace(recipe, transform=replace(recipe.transform, crop_area=0.25)), "bridge", "toy")
    assert torch.equal(act_on(middle, frames), act_on(whole, frames[:, 10:30, 5:15]))


def test_a_bundle_is_compared_with_demonstrations(tmp_path, published):
    record(tmp_path / "dataset")
    write_openvla_bundle(a_recipe(tmp_path, -1.0), tmp_path / "bundle", unnorm_key="bridge", robot="toy")
    figures = evaluate_offline(tmp_path / "bundle", data=tmp_path / "dataset", split="all")
    assert (figures["episodes"], figures["samples"]) == (4, 36)
    assert figures["mse"] > 0
    assert 0 <= figures["gripper_accuracy"] <= 1
    with pytest.raises(ValueError, match="use split='all'"):
        evaluate_offline(tmp_path / "bundle", data=tmp_path / "dataset")


@pytest.mark.parametrize(
    ("key", "robot", "gripper_open", "message"),
    [
        ("bride", "toy", None, "unnorm_key='bride' is no dataset of this checkpoint's norm_stats; did you mean"),
        (None, "toy", None, r"unnorm_key=None is no dataset .*; choose one of \['bridge', 'toto'\]"),
        ("bridge", "libero", None, "'bridge' have 3 dimensions, but those of libero_panda 7; choose another"),
        (
            "bridge",
            "ur5",
            None,
            r"robot='ur5' is unknown; choose from \['dmc', 'driving', 'gym', 'libero', 'memory', 'metaworld', 'toy'\]",
        ),
        ("toto", "toy", -1.0, "last action dimension of 'toto' is normalised .*; leave gripper_open out"),
    ],
)
def test_mistakes_are_named_in_one_line(tmp_path, published, key, robot, gripper_open, message):
    with pytest.raises(ValueError, match=message):
        openvla_bundle(a_recipe(tmp_path, gripper_open), key, robot)


@pytest.mark.parametrize(
    ("entry", "value", "message"),
    [
        ("norm_stats", {"toto": {"action": {"q01": [0.0], "q99": [1.0, 1.0]}}}, "q01 has 1 dimensions, q99 2"),
        ("norm_stats", {"toto": 3}, "AttributeError: 'int' object has no attribute 'get'"),
        ("n_action_bins", "x", "TypeError"),
    ],
)
def test_what_is_wrong_in_a_config_json_is_told_with_the_checkpoint(tmp_path, published, entry, value, message):
    path = tmp_path / "published" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {entry: value}))
    with pytest.raises(ValueError, match=rf"^{path.parent}.*({message}).*; "):
        openvla_bundle(a_recipe(tmp_path), "toto", "toy")
