"""Errors against held-out demonstrations, counted by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.gripper_recordings import ACTION, record

from tempovla.control.controller import Controller
from tempovla.data.lerobot import open_dataset
from tempovla.data.split import split_episodes
from tempovla.export.exporter import ExportConfig, export_checkpoint
from tempovla.recipe.evaluation.offline import ChunkErrors, dimension_names, evaluate_offline
from tempovla.recipe.systems.registry import recipe_of
from tempovla.recipe.systems.statevla import train_phase
from tempovla.timeline import ActionChunk, Bundle, Embodiment
from tempovla.timeline.bodies import LIBERO_PANDA
from tempovla.transform.pipeline import TransformPipeline


@pytest.fixture
def checkpoint(recipe, tmp_path):
    """Both phases of a tiny run; one of the four episodes is held out."""
    for phase in (1, 2):
        train_phase(recipe, phase, tmp_path / "run")
    return tmp_path / "run" / "phase2_flow_matching" / "checkpoint_latest"


class Idle:
    """Says 0 for everything, as the model sees it."""

    def initial_state(self, batch_size):
        return None

    def act(self, context, state):
        return ActionChunk.of(torch.zeros(context.batch_size, 4, 3), range(4)), None


def demonstrated(dataset, episodes) -> np.ndarray:
    """(N, 3) every valid action of every chunk of four, in the episodes of nine steps."""
    source = open_dataset(dataset)
    actions = [source.read(episode, ACTION, range(9)).value for episode in episodes]
    return np.concatenate([episode[step : step + 4] for episode in actions for step in range(9)]).astype(np.float64)


def test_errors_are_those_of_the_held_out_steps(checkpoint, dataset, monkeypatch):
    bundle = Bundle.load(checkpoint)
    transform = TransformPipeline.from_json(bundle.transform)
    monkeypatch.setattr(Controller, "from_bundle", lambda bundle, device: Controller(Idle(), transform, bundle))
    figures = evaluate_offline(checkpoint, batch_size=5)
    _, held_out = split_episodes(4, 0.25, 0)
    wanted = demonstrated(dataset, held_out)
    assert (
        (figures["episodes"], figures["samples"], figures["steps"]) == (1, 9, len(wanted)) == (1, 9, 6 * 4 + 3 + 2 + 1)
    )
    statistics = open_dataset(dataset).statistics[ACTION]
    mean, std = np.array([*statistics["mean"][:2], 0.0]), np.array([*statistics["std"][:2], 1.0])
    mse = np.square(wanted - mean).mean(axis=0)
    assert [row["mse"] for row in figures["dimensions"].values()] == pytest.approx(mse, rel=1e-5)
    normalized = np.square((wanted - mean) / std).mean(axis=0)
    assert [row["mse_normalized"] for row in figures["dimensions"].values()] == pytest.approx(normalized, rel=1e-5)
    relative = mse / np.square(wanted - wanted.mean(axis=0)).mean(axis=0)
    assert [row["mse_relative"] for row in figures["dimensions"].values()] == pytest.approx(relative, rel=1e-5)
    assert figures["mse"] == pytest.approx(mse.mean(), rel=1e-5)
    assert figures["motion"] == pytest.approx(
        {"mse": mse[:2].mean(), "mse_normalized": normalized[:2].mean(), "mse_relative": relative[:2].mean()}, rel=1e-5
    )
    assert figures["gripper_accuracy"] == pytest.approx((wanted[:, 2] < 0).mean())


def test_a_checkpoint_that_predicts_nan_is_refused(checkpoint, monkeypatch):
    def nan(self, context, state):
        return ActionChunk.of(torch.full((context.batch_size, 4, 3), torch.nan), range(4)), None

    monkeypatch.setattr(Idle, "act", nan)
    transform = TransformPipeline.from_json(Bundle.load(checkpoint).transform)
    monkeypatch.setattr(Controller, "from_bundle", lambda bundle, device: Controller(Idle(), transform, bundle))
    with pytest.raises(ValueError, match=r"checkpoint_latest: predicts actions that are not finite numbers; give an"):
        evaluate_offline(checkpoint)


def test_figures_repeat_whatever_the_batch(checkpoint):
    first, second = (evaluate_offline(checkpoint, batch_size=size) for size in (4, 9))
    assert first["dimensions"].keys() == second["dimensions"].keys()
    assert first["mse"] == pytest.approx(second["mse"], rel=1e-5)
    assert first == evaluate_offline(checkpoint, batch_size=4)


def test_an_exported_file_has_the_figures_of_its_checkpoint(checkpoint, tmp_path):
    exported = export_checkpoint(checkpoint, tmp_path / "policy.pt", ExportConfig("torchscript"))
    wanted, figures = evaluate_offline(checkpoint), evaluate_offline(exported.file)
    with pytest.raises(ValueError, match=r"policy\.pt: has no world model to predict with; leave out the horizon"):
        evaluate_offline(exported.file, horizon=3)
    assert wanted.pop("predictions")["streams"].keys() == {"latent"}  # of the world model, which is not exported
    assert figures.keys() == wanted.keys()
    assert [figures[key] for key in ("samples", "steps")] == [wanted[key] for key in ("samples", "steps")]
    assert figures["gripper_accuracy"] == wanted["gripper_accuracy"]
    for name, row in wanted["dimensions"].items():
        assert figures["dimensions"][name] == pytest.approx(row, rel=1e-4)


def test_a_moved_dataset_and_all_of_it(checkpoint, dataset, tmp_path):
    dataset.rename(tmp_path / "moved")
    with pytest.raises(ValueError, match=r"dataset: no such file or folder, though .* name it with data=FOLDER"):
        evaluate_offline(checkpoint)
    figures = evaluate_offline(checkpoint, data=tmp_path / "moved", split="all")
    assert (figures["episodes"], figures["samples"]) == (4, 36)
    assert evaluate_offline(checkpoint, data=tmp_path / "moved")["episodes"] == 1
    record(tmp_path / "other", episodes=5)
    with pytest.raises(ValueError, match=r"has 5 episodes, not the 4 that .* was trained with"):
        evaluate_offline(checkpoint, data=tmp_path / "other")
    assert evaluate_offline(checkpoint, data=tmp_path / "other", split="all")["episodes"] == 5


def test_demonstrations_of_another_rate_are_refused(checkpoint, tmp_path):
    bundle = Bundle.load(checkpoint)
    replace(bundle, embodiment=replace(bundle.embodiment, rate_hz=50.0)).save(tmp_path / "faster")
    with pytest.raises(ValueError, match=r"dataset: is recorded at 10 Hz, but .*faster learned at 50 Hz"):
        evaluate_offline(tmp_path / "faster")


def test_nothing_held_out_is_said(recipe, checkpoint, tmp_path):
    bundle = Bundle.load(checkpoint)
    bundle.provenance["recipe"]["data"]["train_split"] = 1.0
    bundle.save(tmp_path / "all")
    with pytest.raises(ValueError, match=r"trained on all episodes \(data\.train_split=1\.0\), none is held out"):
        evaluate_offline(tmp_path / "all")
    replace(bundle, provenance={}).save(tmp_path / "bare")
    with pytest.raises(ValueError, match="does not say what it was trained on"):
        evaluate_offline(tmp_path / "bare")
    with pytest.raises(ValueError, match="of phase 1 has not learned to act yet"):
        evaluate_offline(tmp_path / "run" / "phase1_temporal_jepa" / "checkpoint_latest")
    with pytest.raises(ValueError, match="batch_size=0 must be at least 1"):
        evaluate_offline(checkpoint, batch_size=0)


def test_an_action_that_never_varies_has_no_relative_error():
    errors, valid = ChunkErrors(), torch.ones(3, dtype=torch.bool)
    wanted = torch.tensor([[0.1, 1.0], [0.1, 2.0], [0.1, 3.0]], dtype=torch.float64)
    errors.wanted.add(wanted, valid)
    errors.wanted_squared.add(wanted.square(), valid)
    assert errors.of_mean_action.tolist() == pytest.approx([0.0, 2 / 3])
    assert errors.of_mean_action[0] == 0


def test_dimensions_have_the_names_that_the_body_gives_them():
    joints = (*(f"joint {i}" for i in range(6)), "gripper")
    assert dimension_names(Embodiment("arm", 6, 7, 10.0, (), joints)) == joints
    assert dimension_names(Embodiment("arm", 6, 7, 10.0)) == tuple(f"action {index}" for index in range(7))
    assert dimension_names(LIBERO_PANDA) == ("x", "y", "z", "rx", "ry", "rz", "gripper")
    assert dimension_names(Embodiment("toy", 1, 2, 10.0, (), ("left", "right"))) == ("left", "right")
    assert dimension_names(Embodiment("toy", 1, 3, 10.0, (), ("motor", "motor", "grip"))) == (
        "motor (action 0)",
        "motor (action 1)",
        "grip",
    )


def test_a_recipe_that_no_training_had_is_refused_with_its_checkpoint(recipe, checkpoint):
    bundle = Bundle.load(checkpoint)
    bundle.provenance["recipe"]["data"]["train_split"] = -1.0
    with pytest.raises(ValueError, match=r"there: .*data\.train_split=-1\.0 must lie in"):
        recipe_of(bundle, "there")
