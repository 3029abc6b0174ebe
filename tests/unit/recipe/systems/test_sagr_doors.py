"""A trained SA-GR through the doors that every policy has: training, loading, acting, saving, figures, a report."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.gripper_recordings import FRONT, STATE, WRIST
from tests.sagr_runs import sagr_recipe
from tests.tiny_models import save_tokenizer
from tests.trained import observation

import tempovla
from tempovla.control.context_builder import ContextBuilder
from tempovla.control.controller import Controller
from tempovla.control.exported.policy import ExportedPolicy
from tempovla.export.exporter import ExportConfig, export_checkpoint
from tempovla.model.vla.sagr import SAGR
from tempovla.recipe.evaluation.offline import evaluate_offline
from tempovla.recipe.systems.sagr import build_policy
from tempovla.report.page import write_report
from tempovla.timeline import Bundle

K, STEPS = 2, 7


@pytest.fixture(scope="module")
def run(tmp_path_factory, recorded) -> Path:
    """A run of `tempovla.train` that plans anew where the world departs."""
    folder = tmp_path_factory.mktemp("doors") / "run"
    recipe = sagr_recipe(recorded, {"replan": True}, save_interval_steps=None, validation_interval=3)
    done = tempovla.train(recipe, folder, device="cpu")
    assert done.train_step == 6
    return folder


def played(policy: tempovla.RobotPolicy) -> np.ndarray:
    """The actions of an episode, step by step."""
    policy.reset()
    policy.seed(4)
    return np.stack([policy.step({**observation(step), "task": "task 1"}) for step in range(STEPS)])


def by_hand(bundle: Bundle) -> np.ndarray:
    """The same with an explicit state."""
    controller, builder = Controller.from_bundle(bundle), ContextBuilder(bundle.windows, bundle.embodiment, 1)
    state = controller.with_seeds(controller.initial_state(1), [4])
    seen = [{key: observation(step)[key] for key in (STATE, FRONT, WRIST)} for step in range(STEPS + K)]
    builder.reset(0, "task 1", seen[0])
    actions: list[np.ndarray] = []
    while len(actions) < STEPS:
        chunk, state = controller.act(builder.context(), state)
        for action in chunk.value[0, :K].numpy():
            actions.append(action)
            builder.add(0, action[None], seen[len(actions)])
    return np.stack(actions[:STEPS])


def test_it_is_loaded_and_acts_step_by_step_with_its_memory_at_its_own_stride(run):
    policy = tempovla.load(run / "checkpoint_latest", device="cpu")
    assert (policy.frame_stride, policy.execution_horizon, policy.action_horizon) == (K, K, 4)
    found = played(policy)
    np.testing.assert_array_equal(found, by_hand(Bundle.load(run / "checkpoint_latest")))
    np.testing.assert_array_equal(played(policy), found)


def test_another_stride_than_that_of_its_memory_is_refused(run):
    with pytest.raises(ValueError, match="execution_horizon=3") as refused:
        tempovla.load(run / "checkpoint_latest", device="cpu", execution_horizon=3)
    assert "\n" not in str(refused.value)


def test_a_folder_of_save_pretrained_acts_like_the_checkpoint(tmp_path, run):
    policy = SAGR.from_pretrained(run / "checkpoint_latest")
    policy.save_pretrained(tmp_path / "alone")
    again = SAGR.from_pretrained(tmp_path / "alone")
    assert again.config == policy.config
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in policy.state_dict().items())
    expected = played(tempovla.load(run / "checkpoint_latest", device="cpu"))
    loaded = tempovla.load(tmp_path / "alone", transforms_from=run / "checkpoint_latest", device="cpu")
    np.testing.assert_array_equal(played(loaded), expected)


def test_an_exported_file_acts_like_the_checkpoint(tmp_path, run):
    file = export_checkpoint(run / "checkpoint_latest", tmp_path, ExportConfig("torchscript")).file
    assert ExportedPolicy(file).frame_stride == K
    expected = played(tempovla.load(run / "checkpoint_latest", device="cpu"))
    np.testing.assert_allclose(played(tempovla.load(file)), expected, rtol=1e-4, atol=1e-4)


def test_offline_evaluation_finds_its_recipe(run):
    figures = evaluate_offline(run / "checkpoint_latest")
    assert (figures["episodes"], figures["samples"]) == (1, 9)
    assert np.isfinite(figures["mse_normalized"])


def test_a_report_of_its_run_shows_the_losses_and_folds_the_details(tmp_path, run):
    html = write_report(run, tmp_path / "report.html").read_text()
    open_part = html[: html.index("<details>")]
    assert all(f"<code>{name}" in open_part for name in ("total", "action_loss", "dyn_loss", "debug/sagr/mse_dyn"))
    assert open_part.count("<code>debug/") == 1
    for group in ("debug/temporal/*", "debug/sagr_schedule/*", "debug/sagr/*", "debug/loss/*"):
        assert html.count(f"<summary>{group}</summary>") == 1


def test_a_recipe_that_contradicts_itself_is_told_in_one_line(recorded):
    recipe = sagr_recipe(recorded)
    data = replace(recipe.data, observation_indices=(0, 3))
    with pytest.raises(ValueError, match=r"temporal_delta_k=2 is not among data\.observation_indices=\[0, 3\]"):
        replace(recipe, data=data)


def test_special_tokens_of_the_tokenizer_but_not_that_of_unknown_words_are_named_to_the_task_tokens(tmp_path, recorded):
    save_tokenizer(tmp_path)
    recipe = sagr_recipe(recorded)
    policy = build_policy(replace(recipe, transform=replace(recipe.transform, tokenizer=str(tmp_path))))
    assert policy.config.special_token_ids == (0, 2)
    assert build_policy(recipe).config.special_token_ids == ()
