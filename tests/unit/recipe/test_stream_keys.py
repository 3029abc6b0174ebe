"""Training on a dataset with other names of state and action: the same policy, which control feeds by those names."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.gripper_recordings import ACTION, FRONT, STATE, WRIST, record
from tests.smolvla_tiny import tiny_config
from tests.tiny import tiny_recipe, vla_recipe
from tests.trained import assert_same

from tempovla.control.body_selection import load_bundle
from tempovla.control.context_builder import ContextBuilder
from tempovla.control.controller import Controller
from tempovla.control.exported.signature import camera_keys
from tempovla.data.layout import Feature
from tempovla.data.lerobot import open_dataset
from tempovla.data.writer import DatasetWriter
from tempovla.export.deployed import DeployedPolicy
from tempovla.recipe.datasets.config import DataConfig, MemberConfig
from tempovla.recipe.evaluation.closed_loop import check_acts_here
from tempovla.recipe.evaluation.offline import evaluate_offline
from tempovla.recipe.systems.smolvla import train_smolvla
from tempovla.recipe.systems.smolvla_config import SmolVLARecipe
from tempovla.recipe.systems.statevla import train_phase
from tempovla.recipe.systems.vla import train_vla
from tempovla.recipe.systems.vla_config import VLATraining
from tempovla.timeline import Bundle, Embodiment, Window
from tempovla.timeline.config import config_from_json, config_to_json
from tempovla.timeline.parts import StreamPart
from tempovla.transform.join import JoinStreams
from tempovla.transform.pipeline import TransformPipeline

ARM, HAND, CAMERA = "observation.states.arm", "observation.states.hand", "image"
KEYS = {"state_key": (ARM, HAND), "action_key": ("actions[0]", "actions[1:]")}


def rename(root, target):
    """The dataset with its state in two streams, and with other names of its action and of a camera."""
    source = open_dataset(root)
    features = {
        ARM: Feature("float32", (2,)),
        HAND: Feature("float32", (1,)),
        "actions": Feature("float32", (3,)),
        CAMERA: Feature("image", source.streams[FRONT].shape),
        WRIST: Feature("image", source.streams[WRIST].shape),
    }
    with DatasetWriter(target, features, source.rate_hz, robot_type="toy") as writer:
        for episode in range(len(source)):
            steps = range(source.episode(episode).length)
            old = {key: source.read(episode, key, steps).value for key in (STATE, ACTION, FRONT, WRIST)}
            state = {ARM: old[STATE][:, :2], HAND: old[STATE][:, 2:]}
            frames = state | {"actions": old[ACTION], CAMERA: old[FRONT], WRIST: old[WRIST]}
            writer.add_episode(frames, source.episode(episode).instruction)
    return target


@pytest.fixture
def renamed(dataset, tmp_path):
    return rename(dataset, tmp_path / "renamed")


def keyed(recipe, root, **keys):
    """The recipe on the renamed dataset."""
    data = replace(recipe.data, data_directory=str(root), **(keys or KEYS))
    return replace(recipe, data=data, model=replace(recipe.model, cameras=(CAMERA, WRIST)))


def usual(recipe):
    return replace(recipe, model=replace(recipe.model, cameras=(FRONT, WRIST)))


def observed(root, *keys):
    source = open_dataset(root)
    return {key: source.read(0, key, [3]).value[0] for key in keys}


def decide(bundle: Bundle, observation):
    controller = Controller.from_bundle(bundle)
    builder = ContextBuilder(controller.windows, controller.embodiment, num_rows=1)
    builder.reset(0, "task 0", observation)
    state = controller.with_seeds(controller.initial_state(1), [5])
    return controller.act(builder.context(), state)[0].value


def test_a_vla_learns_the_same_and_acts_on_observations_by_the_datasets_names(dataset, renamed, tmp_path):
    plain = usual(vla_recipe(dataset))
    plain = replace(plain, transform=replace(plain.transform, shift_px=0))
    before = train_vla(plain, tmp_path / "plain")
    after = train_vla(keyed(plain, renamed), tmp_path / "keyed")
    first, second = Bundle.load(before.checkpoint), Bundle.load(after.checkpoint)
    assert_same(first.weights, second.weights)
    assert after.metrics["total"] == before.metrics["total"]
    assert [window.key for window in second.windows] == [ARM, HAND, CAMERA, WRIST, ACTION]
    assert second.transform["steps"][0]["name"] == "join_streams"
    assert config_from_json(type(plain), second.provenance["recipe"]) == keyed(plain, renamed)

    expected = decide(first, observed(dataset, STATE, FRONT, WRIST))
    own = observed(renamed, ARM, HAND, CAMERA, WRIST)
    joined = {CAMERA: own[CAMERA], WRIST: own[WRIST], STATE: observed(dataset, STATE)[STATE]}
    assert torch.equal(decide(second, own), expected)
    assert torch.equal(decide(second, joined), expected)
    with pytest.raises(ValueError, match=rf"needs streams \['{HAND}'\] for 'observation.state' = .* but is given"):
        decide(second, {key: value for key, value in own.items() if key != HAND})

    figures = [evaluate_offline(result.checkpoint, split="all") for result in (before, after)]
    assert figures[0]["dimensions"] == figures[1]["dimensions"]


def test_an_exported_policy_takes_the_datasets_names(renamed, tmp_path):
    recipe = keyed(usual(vla_recipe(renamed)), renamed, state_key=[HAND, f"{ARM}[1]"], action_key="actions")
    recipe = replace(recipe, model=replace(recipe.model, robot_state_dim=2))
    bundle = Bundle.load(train_vla(recipe, tmp_path / "run").checkpoint)
    assert camera_keys(bundle) == (CAMERA, WRIST)
    deployed = DeployedPolicy(bundle, {CAMERA: (24, 32), WRIST: (16, 16)}).eval()
    assert [spec.name for spec in deployed.inputs[:4]] == [CAMERA, WRIST, HAND, ARM]
    assert [spec.shape for spec in deployed.inputs[2:4]] == [(1,), (2,)]


def test_statevla_learns_the_same_in_both_phases(dataset, renamed, tmp_path):
    plain = usual(tiny_recipe(dataset))
    bundles = []
    for name, recipe in (("plain", plain), ("keyed", keyed(plain, renamed))):
        cached = replace(recipe.training, phase2=replace(recipe.training.phase2, cache_encodings=True))
        recipe = replace(recipe, training=cached)
        train_phase(recipe, 1, tmp_path / name)
        bundles.append(Bundle.load(train_phase(recipe, 2, tmp_path / name).checkpoint))
    assert_same(bundles[0].weights, bundles[1].weights)
    own = observed(renamed, ARM, HAND, CAMERA, WRIST)
    assert torch.equal(decide(bundles[1], own), decide(bundles[0], observed(dataset, STATE, FRONT, WRIST)))


def test_smolvla_acts_on_observations_by_the_datasets_names(renamed, tmp_path):
    recipe = SmolVLARecipe(
        data=DataConfig(data_directory=str(renamed), train_split=1.0, **KEYS),
        model=tiny_config({"resize": "stretch"}, action_dim=3, cameras=(CAMERA, WRIST)),
        training=VLATraining(batch_size=4, train_steps=1, save_interval=0, num_threads=1),
    )
    bundle = Bundle.load(train_smolvla(recipe, tmp_path / "run").checkpoint)
    own = observed(renamed, ARM, HAND, CAMERA, WRIST)
    joined = {CAMERA: own[CAMERA], WRIST: own[WRIST], STATE: np.concatenate([own[ARM], own[HAND]])}
    assert torch.equal(decide(bundle, own), decide(bundle, joined))


def test_a_dataset_of_a_mixture_has_keys_of_its_own(dataset, renamed, tmp_path):
    recipe = usual(vla_recipe(dataset))
    plain = MemberConfig(str(dataset), name="plain")
    other = MemberConfig(str(renamed), name="other", cameras={FRONT: CAMERA}, **KEYS)
    again = record(tmp_path / "again")
    bundles = []
    for name, member in (("a", other), ("b", MemberConfig(str(again), name="other"))):
        mixed = replace(recipe, data=replace(recipe.data, data_directory="", mixture=(plain, member)))
        checkpoint = train_vla(mixed, tmp_path / name).checkpoint
        bundles.append(load_bundle(checkpoint, "other"))
        evaluate_offline(checkpoint, dataset_name="other", split="all")
    assert_same(bundles[0].weights, bundles[1].weights)
    assert [window.key for window in bundles[0].windows] == [ARM, HAND, CAMERA, WRIST, ACTION]
    own = observed(renamed, ARM, HAND, CAMERA, WRIST)
    assert torch.equal(decide(bundles[0], own), decide(bundles[1], observed(dataset, STATE, FRONT, WRIST)))


def test_a_dataset_without_a_state_names_the_options(renamed, tmp_path):
    recipe = keyed(usual(vla_recipe(renamed)), renamed, state_key=None)
    remedy = rf"set --data.state_key '\[{ARM}, {HAND}\]' --data.action_key actions$"
    with pytest.raises(ValueError, match=remedy):
        train_vla(recipe, tmp_path / "run")


def test_keys_of_one_dataset_are_refused_beside_a_mixture_and_unreadable_ones_at_once():
    members = (MemberConfig("a"), MemberConfig("b"))
    with pytest.raises(ValueError, match=r"give each dataset of data\.mixture its own state_key"):
        DataConfig(mixture=members, state_key="state")
    with pytest.raises(ValueError, match=r"data\.action_key: 'actions\[' is not readable"):
        DataConfig(action_key="actions[")
    with pytest.raises(ValueError, match=r"data\.mixture: a: state_key: 's\[' is not readable"):
        MemberConfig("a", state_key="s[")


def test_a_list_of_keys_comes_back_from_a_bundle():
    for key in ("state", ("arm", "hand[0:1]"), None):
        config = DataConfig(state_key=key)
        assert config_from_json(DataConfig, config_to_json(config)) == config


class Simulator:
    """Nine state and three action dimensions."""

    title = "toy simulator"
    cameras = ("front",)
    sensors = ()

    @staticmethod
    def spaces():
        return {STATE: Box((9,))}, Box((3,))


class Box:
    def __init__(self, shape):
        self.shape = shape


def test_a_simulator_is_compared_with_what_the_policy_takes_of_it():
    windows = (Window(STATE, (0,)), Window(ACTION, (0,)))
    sliced = JoinStreams({STATE: ((StreamPart(STATE, 9, 0, 7),),)})
    renamed = JoinStreams({STATE: ((StreamPart("state", 7, 0, 7),), (StreamPart(STATE, 7, 0, 7),))})
    either = JoinStreams({STATE: ((StreamPart("state", 7, 0, 7),), (StreamPart(STATE, 9, 0, 7),))})
    for join, fits in ((sliced, True), (renamed, False), (either, True)):
        transform = TransformPipeline([join])
        body = Embodiment("arm", 7, 3, 10.0)
        bundle = Bundle("vla", {}, transform.own_windows(windows), body, transform.to_json(), {})
        if fits:
            check_acts_here(bundle, "run", Simulator())
        else:
            with pytest.raises(ValueError, match="with 7 state and 3 action dimensions, but toy"):
                check_acts_here(bundle, "run", Simulator())


def test_pictures_of_other_names_than_a_simulators_are_refused_with_its_own():
    windows = (Window(STATE, (0,)), Window("cam_top", (0,)), Window(ACTION, (0,)))
    bundle = Bundle("vla", {}, windows, Embodiment("arm", 9, 3, 10.0), {"steps": []}, {})
    told = r"^run: reads \['cam_top'\], but toy simulator gives \['observation.state', 'observation.images.front'\]; "
    with pytest.raises(ValueError, match=told):
        check_acts_here(bundle, "run", Simulator())
