"""SA-GR's training: it resumes bit for bit, is the same in several processes, and shows what it should."""

from __future__ import annotations

import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from tests.gripper_recordings import ACTION, FEATURES, FRONT, STATE, WRIST, record
from tests.rounding import tolerance
from tests.sagr_runs import (
    EVERY_STEP,
    FOLLOWING,
    ONE_BAR,
    PHASE_A,
    RAMP,
    ended_at,
    record_moves,
    sagr_recipe,
    train_spread,
)
from tests.tiny import tiny_sagr_config
from tests.trained import act, assert_same, logged
from tests.unit.recipe.mixtures import DIMS, LARGE, SIDE, SMALL, member, record_body

from tempovla.control.context_builder import ContextBuilder
from tempovla.control.controller import Controller
from tempovla.data.writer import DatasetWriter
from tempovla.model.vla.lora import LoRAConfig
from tempovla.model.vla.sagr import SAGR
from tempovla.recipe.datasets.dataset_mixture import as_mixture
from tempovla.recipe.systems.sagr import build_policy, tell_targets, train_sagr
from tempovla.timeline import Bundle, Track
from tempovla.timeline.keys import ACTION_KEY
from tempovla.training.checkpoint import Checkpoint
from tempovla.training.interrupt import TrainingInterrupted
from tempovla.transform.per_dataset import bundle_for_dataset

TIMES = ("samples_per_s", "cpu_s")
ROWS = 8
"""Of a batch, over all processes."""


def figures_of(run: Path) -> list[dict[str, Any]]:
    """What was logged, without what a clock says."""
    return [{name: value for name, value in line.items() if name not in TIMES} for line in logged(run)]


def assert_same_run(one: Path, other: Path) -> None:
    """Weights, statistics, their average and the optimiser are the same bits, and so is every figure."""
    left, right = (Checkpoint.load(run / "checkpoint_latest") for run in (one, other))
    assert_same(dict(right.tensors), dict(left.tensors))
    assert left.record["train_step"] == right.record["train_step"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory, recorded) -> Path:
    """A run that nothing interrupts, with a checkpoint of each of its six steps."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "is_available", lambda: False)
        train_sagr(sagr_recipe(recorded, FOLLOWING, **EVERY_STEP), folder / "run")
    return folder / "run"


@pytest.mark.parametrize("train_step", [1, PHASE_A, PHASE_A + 1, PHASE_A + RAMP])
def test_a_resumed_run_ends_where_an_uninterrupted_one_does_whatever_the_phase(tmp_path, recorded, whole, train_step):
    resume = whole / "checkpoints" / f"step_{train_step:08d}"
    train_sagr(sagr_recipe(recorded, FOLLOWING), tmp_path / "again", resume=resume)
    assert_same_run(whole, tmp_path / "again")
    assert figures_of(tmp_path / "again") == figures_of(whole)[train_step:]


def test_what_follows_the_training_is_in_its_checkpoints(whole):
    first, last = (Checkpoint.load(whole / "checkpoints" / f"step_{step:08d}").part("weights") for step in (1, 6))
    kept = [name for name in first if name.startswith(("residuals.", "frames.copy."))]
    assert {"residuals.variance", "residuals.norm", "residuals.updates"} < set(kept)
    assert last["residuals.updates"] == 6
    assert not torch.equal(first["residuals.variance"], last["residuals.variance"])
    assert any(not torch.equal(first[name], last[name]) for name in kept if name.startswith("frames.copy."))


def test_a_run_that_is_stopped_in_the_second_phase_goes_on_as_if_it_had_not_been(tmp_path, recorded, whole):
    recipe = sagr_recipe(recorded, FOLLOWING)
    with pytest.raises(TrainingInterrupted):
        ended_at(PHASE_A + 1, lambda: signal.raise_signal(signal.SIGTERM), recipe, tmp_path / "run")
    train_sagr(recipe, tmp_path / "run", resume=tmp_path / "run/checkpoint_latest")
    assert_same_run(whole, tmp_path / "run")
    assert figures_of(tmp_path / "run") == figures_of(whole)


@pytest.mark.slow
def test_a_run_that_is_killed_goes_on_from_its_last_checkpoint_as_if_it_had_not_been(tmp_path, dataset, nursery):
    """Five steps in: the checkpoint is of the fourth, in the middle of what makes one line of figures."""
    nursery.start(1, "tests.sagr_runs:train_until_killed", dataset, tmp_path / "run", 5)
    assert nursery.wait()[0] == [-signal.SIGKILL]
    recipe = sagr_recipe(dataset, FOLLOWING, save_interval_steps=2, keep_every=2, log_interval=3)
    train_sagr(recipe, tmp_path / "run", resume=tmp_path / "run/checkpoint_latest")
    train_sagr(recipe, tmp_path / "whole")
    assert_same_run(tmp_path / "whole", tmp_path / "run")
    assert figures_of(tmp_path / "run") == figures_of(tmp_path / "whole")


@pytest.fixture(scope="module")
def pairs(tmp_path_factory, nursery) -> Path:
    """Runs of two processes with half of the rows each, and the dataset beside them."""
    folder = tmp_path_factory.mktemp("pairs")
    record(folder / "dataset")
    nursery.run(2, "tests.sagr_runs:train_pairs", folder, ROWS // 2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "is_available", lambda: False)
        train_spread(folder / "dataset", folder / "one", ROWS)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_two_processes_with_unevenly_many_targets_learn_what_one_does(pairs, parallel):
    """Rows without a target fall on either process by chance: means must be over the whole batch."""
    one, two = figures_of(pairs / "one"), figures_of(pairs / parallel)
    assert len(one) == len(two) == 4
    assert len({line["debug/temporal/valid_tk_ratio"] for line in one}) > 1
    for alone, together in zip(one, two, strict=True):
        of_own_rows = ("_p50", "_p95")  # each process has its own, which are averaged
        names = [name for name in alone if name != "phase" and not name.endswith(of_own_rows)]
        assert {"total", "dyn_loss", "dyn_loss_k1", "geo_loss", "flare_loss", "reg_loss", "grad_norm"} < set(names)
        expected = [alone[name] for name in names]
        assert [together[name] for name in names] == pytest.approx(expected, rel=tolerance(), abs=tolerance())
    left, right = (Bundle.load(pairs / run / "checkpoint_latest").weights for run in ("one", parallel))
    torch.testing.assert_close(dict(right), dict(left), rtol=1e-4, atol=1e-5)
    assert left["residuals.updates"] == right["residuals.updates"] == 4


@pytest.mark.slow
@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_two_processes_resume_bit_for_bit(pairs, parallel):
    assert_same_run(pairs / parallel, pairs / f"{parallel}_again")
    assert figures_of(pairs / f"{parallel}_again") == figures_of(pairs / parallel)[2:]


def test_the_phases_count_optimiser_steps_and_not_batches(tmp_path, recorded):
    recipe = sagr_recipe(recorded, batch_size=2, gradient_accumulation=2, train_steps=5)
    train_sagr(recipe, tmp_path / "run")
    assert [line["debug/sagr_schedule/phase"] for line in logged(tmp_path / "run")] == [1, 1, 2, 2, 3]


def test_a_run_shows_the_signs_that_its_users_look_for(tmp_path, recorded):
    """An epoch of three episodes of nine steps, three batches of nine rows, and then another."""
    train_sagr(sagr_recipe(recorded, batch_size=9), tmp_path / "run")
    lines = logged(tmp_path / "run")
    assert {line["debug/temporal/has_image_tk"] for line in lines} == {1.0}
    assert {line["debug/temporal/task_tokens_next_available"] for line in lines} == {1.0}
    for epoch in (lines[:3], lines[3:]):
        found = [line["debug/temporal/valid_tk_ratio"] for line in epoch]
        assert np.mean(found) == pytest.approx((9 - 2) / 9)
        assert [line["debug/loss/valid_tk_ratio"] for line in epoch] == found
    assert [line["debug/sagr_schedule/phase"] for line in lines] == [1, 1, 2, 2, 3, 3]
    alphas = [0.0, 0.0, 0.5, 1.0, 1.0, 1.0]
    assert [line["debug/sagr_schedule/alpha"] for line in lines] == pytest.approx(alphas)
    for name, weight in (("dyn", 0.2), ("geo", 0.1), ("reg", 1e-3)):
        expected = pytest.approx([weight * alpha for alpha in alphas])
        assert [line[f"debug/sagr_schedule/loss_w_{name}"] for line in lines] == expected
        assert [line[f"debug/loss/weight_{name}"] for line in lines] == expected
    assert {line["debug/sagr_schedule/loss_w_fm"] for line in lines} == {1.0}


SLOW = pytest.mark.slow


@pytest.mark.parametrize(("target", "share"), [("state", 0.3), pytest.param("vision", 0.8, marks=SLOW)])
def test_the_world_predictor_beats_persistence_where_the_future_follows_from_the_actions(tmp_path, target, share):
    moves = record_moves(tmp_path / "moves")
    model = {
        **ONE_BAR,
        "world_target": target,
        "loss_w_dyn": 1.0,
        "world_target_encoder": "frozen",
        "use_drift": False,
        "world_hidden_dim": 16,
    }
    steps = {"batch_size": 16, "train_steps": 60, "learning_rate": 1e-2, "log_interval": 20}
    phases = {"sagr_phase_a_steps": 0, "sagr_phase_b_ramp_steps": 0, "save_interval_steps": None}
    recipe = sagr_recipe(moves, model, **steps, **phases)
    train_sagr(replace(recipe, transform=replace(recipe.transform, shift_px=0)), tmp_path / "run")
    last = [line for line in logged(tmp_path / "run") if "debug/sagr/mse_dyn" in line][-1]
    assert last["debug/sagr/mse_dyn"] < share * last["debug/sagr/persistence"]


@pytest.mark.parametrize(
    ("training", "model", "phases"),
    [
        ((5, None), (0, 0), (5, 0)),
        ((None, None), (3, 2), (3, 2)),
        ((5, 2), (5, 0), (5, 2)),
        ((0, None), (0, 2), (0, 2)),
    ],
)
def test_phases_may_be_given_to_the_training_or_to_the_model(tmp_path, training, model, phases):
    names = ("sagr_phase_a_steps", "sagr_phase_b_ramp_steps")
    recipe = sagr_recipe(tmp_path, dict(zip(names, model, strict=True)), **dict(zip(names, training, strict=True)))
    assert tuple(getattr(recipe.resolved_model, name) for name in names) == phases


@pytest.mark.parametrize(("training", "model"), [(2, 1), (0, 1)])
def test_phases_that_are_given_twice_with_different_values_are_refused(tmp_path, training, model):
    message = rf"^training.sagr_phase_a_steps={training} and model.sagr_phase_a_steps={model} differ; leave one of them"
    with pytest.raises(ValueError, match=message):
        sagr_recipe(tmp_path, {"sagr_phase_a_steps": model}, sagr_phase_a_steps=training)


def test_a_phase_of_less_than_no_step_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"^training.sagr_phase_b_ramp_steps=-1 must not be negative; give 0"):
        sagr_recipe(tmp_path, sagr_phase_b_ramp_steps=-1)


def test_a_prediction_that_never_learns_is_warned_of(tmp_path, caplog):
    recipe = sagr_recipe(tmp_path, {"loss_w_dyn": 0.0, "loss_w_geo": 0.0})
    build_policy(recipe)
    assert "the world predictor never learns" in caplog.text
    caplog.clear()
    build_policy(replace(recipe, model=replace(recipe.model, use_drift=False)))
    assert caplog.text == ""


def test_an_episode_shorter_than_k_has_no_targets_and_is_no_error(tmp_path, caplog):
    caplog.set_level("INFO")
    random = np.random.default_rng(0)
    with DatasetWriter(tmp_path / "short", FEATURES, 10.0, robot_type="toy") as writer:
        for length in (3, 6):
            frames: dict[str, Any] = {
                key: random.normal(size=(length, 3)).astype(np.float32) for key in (STATE, ACTION)
            }
            frames[ACTION][:, 2] = np.where(np.arange(length) < 2, -1.0, 1.0)
            pictures = {key: np.zeros((length, *FEATURES[key].shape), np.uint8) for key in (FRONT, WRIST)}
            writer.add_episode({**frames, **pictures}, "task")
    recipe = sagr_recipe(tmp_path / "short", {"temporal_delta_k": 4}, batch_size=9, train_steps=2)
    train_sagr(replace(recipe, data=replace(recipe.data, train_split=1.0)), tmp_path / "run")
    (first, _) = logged(tmp_path / "run")
    assert first["debug/temporal/valid_tk_ratio"] == pytest.approx(2 / 9)
    assert "short: 2 of 9 steps (22.2%) have a target 4 steps later" in caplog.text


def test_a_dataset_without_any_target_is_warned_of(recorded, caplog):
    head = replace(tiny_sagr_config().action_head, max_seq_len=100)
    far = {"temporal_delta_k": 2, "horizons": [100], "action_horizon": 100, "action_head": head}
    recipe = sagr_recipe(recorded, far)
    tell_targets(recipe.model, as_mixture(None, recipe))
    (warning,) = caplog.messages
    assert (
        "steps (0.0%) have a target 100 steps later, so the prediction learns nothing from it; record longer" in warning
    )
    assert warning.endswith("or lower model.horizons")
    caplog.clear()
    alone = replace(recipe.model, horizons=(), loss_w_dyn=0.0, loss_w_geo=0.0, use_drift=False)
    tell_targets(alone, as_mixture(None, recipe))
    assert not caplog.messages


def test_what_an_invalid_target_holds_reaches_no_loss_and_no_weight(tmp_path, recorded, monkeypatch):
    recipe = sagr_recipe(recorded, {"world_target": "state"}, sagr_phase_a_steps=0)
    train_sagr(recipe, tmp_path / "clean")
    forward = SAGR.forward

    def poisoned(policy: SAGR, sample: Any, progress: Any = None) -> Any:
        def with_nan(key: str, track: Track) -> Track:
            gone = ~track.valid[..., None]
            return track.with_value(track.value.masked_fill(gone, float("nan"))) if key in (STATE, ACTION) else track

        future = {key: with_nan(key, track) for key, track in sample.future.items()}
        return forward(policy, replace(sample, future=future), progress)

    monkeypatch.setattr(SAGR, "forward", poisoned)
    train_sagr(recipe, tmp_path / "poisoned")
    assert_same_run(tmp_path / "clean", tmp_path / "poisoned")
    assert figures_of(tmp_path / "poisoned") == figures_of(tmp_path / "clean")


def test_a_mixture_with_a_member_that_never_sees_t_plus_k_is_refused_by_its_name(tmp_path, recorded):
    steps = {"action_indices": [0, 1, 2, 3], "has_gripper": True}
    types = {"ahead": {"observation_indices": [0, 2], **steps}, "now": {"observation_indices": [0], **steps}}
    both = [{"dataset": "drawer", "robot_type": "ahead"}, {"dataset": "lamp", "robot_type": "now"}]
    (tmp_path / "mixtures.yaml").write_text(yaml.safe_dump({"robot_types": types, "mixtures": {"both": both}}))
    recipe = sagr_recipe(recorded)
    data = {"data_mix": "both", "data_root_dir": str(tmp_path), "mixtures": str(tmp_path / "mixtures.yaml")}
    recipe = replace(recipe, data=replace(recipe.data, data_directory="", **data))
    with pytest.raises(ValueError, match=r"data\.data_mix=both: lamp .* observes \[0\], not 2 steps later") as refused:
        train_sagr(recipe, tmp_path / "run")
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "run").exists()


def test_a_mixture_of_bodies_of_different_sizes_trains_and_acts(tmp_path):
    for body, episodes in ((SMALL, 2), (LARGE, 5)):
        record_body(tmp_path / body, body, episodes=episodes)
    recipe = sagr_recipe("", {"robot_state_dim": 4, "action_dim": 5}, batch_size=7, train_steps=9)
    members = tuple(member(tmp_path, body) for body in (SMALL, LARGE))
    data = replace(recipe.data, data_directory="", mixture=members, train_split=1.0)
    result = train_sagr(replace(recipe, data=data), tmp_path / "run")
    lines = logged(tmp_path / "run")
    assert 0.6 < np.mean([line["debug/temporal/valid_tk_ratio"] for line in lines]) < 0.95
    bundle = Bundle.load(result.checkpoint)
    assert bundle.config["optional_cameras"] == [WRIST]
    for body in (SMALL, LARGE):
        one = bundle_for_dataset(bundle, body)
        cameras = {FRONT: (16, 16, 3), WRIST: (16, 16, 3)} if body == SMALL else {SIDE: (24, 32, 3)}
        assert act_for(one, cameras).shape == (1, 4, DIMS[body][1])


def act_for(bundle: Bundle, cameras: dict[str, tuple[int, ...]]) -> torch.Tensor:
    """A body's first actions."""
    seen: dict[str, np.ndarray] = {key: np.zeros(shape, np.uint8) for key, shape in cameras.items()}
    builder = ContextBuilder(bundle.windows, bundle.embodiment, 1)
    builder.reset(0, "task 0", {STATE: np.zeros(bundle.embodiment.state_dim, np.float32), **seen})
    controller = Controller.from_bundle(bundle)
    return controller.act(builder.context(), controller.initial_state(1))[0].value


def test_a_model_that_no_memory_can_hold_is_told_in_one_line(tmp_path, recorded):
    with pytest.raises(ValueError, match=r"^there is not enough memory for a model of this size; make its parts"):
        train_sagr(sagr_recipe(recorded, {"drift_hidden_dim": 10**9}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_it_trains_and_the_policy_acts(whole):
    bundle = Bundle.load(whole / "checkpoint_latest")
    assert bundle.policy == "sagr"
    actions = act(bundle)
    assert actions.shape == (2, 4, 3)
    assert set(actions[..., 2].unique().tolist()) <= {-1.0, 1.0}
    assert [window.offsets for window in bundle.windows if window.key == ACTION_KEY] == [tuple(range(-2, 4))]


def test_recomputed_activations_change_nothing(tmp_path, recorded):
    for recomputes in (True, False):
        recipe = sagr_recipe(recorded, FOLLOWING, recompute_activations=recomputes, save_interval_steps=None)
        train_sagr(recipe, tmp_path / str(recomputes))
    assert_same_run(tmp_path / "True", tmp_path / "False")


def test_adapters_train_resume_and_act(tmp_path, recorded):
    pytest.importorskip("peft")
    recipe = sagr_recipe(recorded, {"lora": LoRAConfig(r=2, alpha=4.0)}, **EVERY_STEP)
    result = train_sagr(recipe, tmp_path / "run")
    folders = (tmp_path / "run/checkpoints" / f"step_{step:08d}" for step in (1, 6))
    before, after = (Bundle.load(folder).weights for folder in folders)
    language = {name for name in after if name.startswith("frames.vlm.language.")}
    moved = {name for name in language if not torch.equal(after[name], before[name])}
    assert moved
    assert all("lora_" in name for name in moved)
    train_sagr(recipe, tmp_path / "again", resume=tmp_path / "run/checkpoints/step_00000003")
    assert_same_run(tmp_path / "run", tmp_path / "again")
    assert torch.isfinite(act(Bundle.load(result.checkpoint))).all()


def test_a_run_starts_from_the_vision_language_model_of_another(tmp_path, recorded, whole):
    recipe = sagr_recipe(recorded, train_steps=1, save_interval_steps=None)
    frozen = replace(recipe.model.vlm.language, freeze=True)
    recipe = replace(recipe, model=replace(recipe.model, vlm=replace(recipe.model.vlm, language=frozen)))
    second = train_sagr(recipe, tmp_path / "second", pretrained_vlm=whole / "checkpoint_latest")
    before, after = (Bundle.load(folder).weights for folder in (whole / "checkpoint_latest", second.checkpoint))
    language = [name for name in before if name.startswith("frames.vlm.language.")]
    assert language
    assert_same({name: after[name] for name in language}, {name: before[name] for name in language})
