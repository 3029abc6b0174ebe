"""Trainings on datasets that are named as a mixture."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from tests import recordings
from tests.tiny import tiny_sagr_config

import tempovla
from tempovla.data.layout import Feature
from tempovla.data.loader import LoaderConfig, SampleLoader
from tempovla.data.mixture import Mixture
from tempovla.data.open import open_source
from tempovla.data.temporal.config import TemporalDataConfig
from tempovla.data.temporal.view import TemporalView
from tempovla.model.vla.sagr import SAGR
from tempovla.objective import Objective
from tempovla.recipe.datasets.config import MemberConfig
from tempovla.recipe.systems.mixture_data import MixtureDataConfig
from tempovla.recipe.systems.sagr import train_sagr
from tempovla.recipe.systems.sagr_config import SAGRDataConfig, SAGRRecipe, SAGRTraining
from tempovla.transform.image import ResizeImages
from tempovla.transform.pipeline import TransformPipeline
from tempovla.transform.tokenize import TokenizeInstruction
from tempovla.transform.tokenizer import WordTokenizer

OWN = """
robot_types:
  arm: {observation_indices: [0, 2], action_indices: [0, 1, 2, 3]}
mixtures:
  both: [{dataset: one, weight: 3, robot_type: arm}, {dataset: two, robot_type: arm}]
  alone: [{dataset: one, robot_type: arm}]
"""


@pytest.fixture
def data(tmp_path) -> MixtureDataConfig:
    (tmp_path / "own.yaml").write_text(OWN)
    return MixtureDataConfig(data_mix="both", data_root_dir=str(tmp_path), mixtures=str(tmp_path / "own.yaml"))


def test_a_mixture_becomes_its_datasets_with_their_weights(tmp_path, data):
    found = data.resolved((2,), 4)
    assert [(member.data_directory, member.weight) for member in found.mixture] == [
        (str(tmp_path / "one"), 3.0),
        (str(tmp_path / "two"), 1.0),
    ]
    assert found.resolved((2,), 4) == found
    alone = replace(data, data_mix="alone").resolved((2,), 4)
    assert (alone.data_directory, alone.mixture) == (str(tmp_path / "one"), ())


def test_the_names_of_state_and_action_go_with_their_dataset(tmp_path):
    found = MixtureDataConfig(data_mix="libero_openpi", data_root_dir=str(tmp_path)).resolved((7,), 8)
    assert (found.state_key, found.action_key) == ("state", "actions")


def test_a_folder_of_all_datasets_without_a_mixture_is_refused(tmp_path):
    one = str(tmp_path / "one")
    for given in ({}, {"data_directory": one}, {"mixture": (MemberConfig(one),)}):
        with pytest.raises(
            ValueError, match=r"^data.data_root_dir=elsewhere is .*; set data.data_mix, or leave data.*$"
        ):
            MixtureDataConfig(data_root_dir="elsewhere", **given).resolved((2,), 4)
    inside = MixtureDataConfig(data_root_dir=str(tmp_path), data_directory=one)
    assert inside.resolved((2,), 4) is inside


def test_without_a_mixture_nothing_changes():
    plain = MixtureDataConfig(data_directory="somewhere")
    assert plain.resolved((2,), 4) is plain


@pytest.mark.parametrize(
    ("changed", "later", "horizon", "message"),
    [
        ({"data_mix": "libero_al"}, (2,), 4, "mixture 'libero_al' is unknown; did you mean libero_all"),
        ({}, (3, 2), 4, r"one is of the robot type arm, which observes \[0, 2\], not 3 steps later; set .*_k=2, or"),
        (
            {},
            (2, 3),
            4,
            r"\[0, 2\], not 3 steps later; leave 3 out of model.horizons, or add 3 to the observation_indices of arm",
        ),
        ({}, (), 8, "robot type arm, which holds 4 actions; set model.action_horizon=4"),
        ({"data_mix": "bridge"}, (8,), 16, r"oxe_bridge, which observes \[0\], not 8 steps later; choose another"),
        ({"data_root_dir": ""}, (2,), 4, "data.data_mix=both: set data.data_root_dir to the folder"),
    ],
)
def test_a_mixture_that_does_not_fit_the_policy_is_refused(data, changed, later, horizon, message):
    with pytest.raises(ValueError, match=message):
        replace(data, **changed).resolved(later, horizon)


def test_a_policy_without_a_target_needs_no_later_observation(tmp_path):
    data = MixtureDataConfig(data_mix="bridge", data_root_dir=str(tmp_path))
    assert data.resolved((), 16).data_directory == str(tmp_path / "bridge_orig_1.0.0_lerobot")


def test_a_mixture_and_other_datasets_exclude_each_other():
    with pytest.raises(ValueError, match=r"data.data_mix=libero_all and data.data_directory exclude each other"):
        MixtureDataConfig(data_mix="libero_all", data_directory="somewhere")


def test_sagr_trains_on_a_named_mixture(tmp_path, data):
    for name in ("one", "two"):
        recordings.record(tmp_path / name, (9, 8))
    model = tiny_sagr_config(action_dim=2, has_gripper=False)
    training = SAGRTraining(batch_size=4, train_steps=2, num_threads=1, log_interval=1, save_interval=0)
    fields = {name: getattr(data, name) for name in ("data_mix", "data_root_dir", "mixtures")}
    recipe = SAGRRecipe(data=SAGRDataConfig(**fields, train_split=1.0), model=model, training=training)
    result = train_sagr(recipe, tmp_path / "run")
    assert result.train_step == 2
    facts = json.loads((result.checkpoint / "bundle.json").read_text())["provenance"]
    assert sorted(facts["datasets"]) == ["one", "two"]


LIBERO = """
robot_types: {franka: {observation_indices: [0, 8], action_indices: [0, 1, 2, 3, 4, 5, 6, 7], has_gripper: true}}
mixtures: {suites: [{dataset: one, robot_type: franka}, {dataset: two, robot_type: franka}]}
"""


def test_the_packaged_config_for_libero_trains_on_a_mixture_of_its_kind(tmp_path):
    features = {
        "observation.state": Feature("float32", (8,)),
        "action": Feature("float32", (7,)),
        **{f"observation.images.{name}": Feature("image", (64, 64, 3)) for name in ("image", "wrist_image")},
    }
    for name in ("one", "two"):
        recordings.record(tmp_path / name, (12, 9), features)
    (tmp_path / "own.yaml").write_text(LIBERO)
    data = {"data_mix": "suites", "data_root_dir": str(tmp_path), "mixtures": str(tmp_path / "own.yaml")}
    short = {"training.train_steps": 1, "training.batch_size": 2, "training.num_threads": 1}
    settings = {f"data.{name}": value for name, value in data.items()} | short
    result = tempovla.train("sagr_libero", tmp_path / "run", settings=settings, device="cpu")
    assert tempovla.load(result.checkpoint, device="cpu", dataset_name="one").action_horizon == 8


@pytest.mark.parametrize("k", [2, 4])
def test_a_policy_makes_the_same_of_dicts_as_of_the_loaders_batches(tmp_path, k):
    recordings.record(tmp_path / "one", (9, 3))
    source = open_source(tmp_path / "one")
    policy = SAGR(tiny_sagr_config(action_dim=2, has_gripper=False, temporal_delta_k=k)).eval()
    windows = policy.training_windows()
    loaded = next(iter(SampleLoader(Mixture([source]), windows, LoaderConfig(12), seed=3)))
    config = TemporalDataConfig((0, k), (0, 1, 2, 3))
    cameras, size = policy.config.cameras, policy.config.vlm.vision.image_size
    view = TemporalView(config, cameras, k, size, include_state=True, include_past=True)
    assert {window.key: window.offsets for window in view.windows} == {w.key: w.offsets for w in windows}
    rows = view.rows(loaded)
    assert {row["valid_tk"] for row in rows} == {0.0, 1.0}
    tokenize = TokenizeInstruction(WordTokenizer(policy.vlm.language.vocab_size), policy.config.max_instruction_tokens)
    transform = TransformPipeline([ResizeImages(size), tokenize])
    samples = [transform.forward_sample(sample) for sample in (loaded, view.sample(rows, source.embodiment))]
    with torch.no_grad():
        of_loader, of_dicts = (Objective()(policy(sample)) for sample in samples)
    assert torch.equal(of_loader.total, of_dicts.total)
