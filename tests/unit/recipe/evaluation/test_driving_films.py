"""Evaluations of a car: what its films show, and sensors that are broken."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from types import SimpleNamespace

import av
import numpy as np
import pytest
import torch
from torch import Tensor

pytest.importorskip("gymnasium")

from tests.driven_scenes import CAR
from tests.in_process import InProcessWorker, simulators_in_process
from tests.toy_road import RoadConfig

from tempovla.control.controller import Controller
from tempovla.env.checks import check_simulator
from tempovla.env.registry import SIMULATOR_REGISTRY
from tempovla.recipe.evaluation import closed_loop
from tempovla.recipe.evaluation.closed_loop import evaluate_checkpoint
from tempovla.recipe.evaluation.driving_films import camera_grid, driving_frames, plans_of, viewer_of
from tempovla.recipe.evaluation.outputs import Outputs
from tempovla.report.page import write_report
from tempovla.rollout import survey as surveying
from tempovla.rollout.evaluate import EvaluationConfig, run_specs
from tempovla.rollout.replay import replay
from tempovla.rollout.runner import EpisodeSpec
from tempovla.timeline import ActionChunk, Bundle, Context, Window
from tempovla.timeline.driving import CAMERA_KEYS, COMMANDS, LIDAR_KEY
from tempovla.timeline.keys import ACTION_KEY, STATE_KEY
from tempovla.transform.pipeline import TransformPipeline

FRONT, BACK = CAMERA_KEYS[0], CAMERA_KEYS[3]
CONFIG = EvaluationConfig(episodes=2, seed=1, num_envs=2, workers=1, execution_horizon=1)


@dataclass(frozen=True)
class Driver:
    """Drives 2 m each control step, and slower to the left where it is told to turn; remembers what it read."""

    sensors: tuple[str, ...] = (FRONT, BACK, LIDAR_KEY)
    read: list[list[str]] = field(default_factory=list)

    def windows(self) -> tuple[Window, ...]:
        seen = (Window(key, (0,), optional=key != STATE_KEY) for key in (STATE_KEY, *self.sensors))
        return *seen, Window(ACTION_KEY, tuple(range(6)))

    def initial_state(self, batch_size: int) -> Tensor:
        return torch.zeros(batch_size)

    def act(self, context: Context, state: Tensor) -> tuple[ActionChunk, Tensor]:
        self.read.append(sorted(context.now))
        left = torch.tensor([task.instruction == COMMANDS["left"] for task in context.task])
        steps = torch.zeros(context.batch_size, 6, 3)
        steps[..., 0] = torch.where(left, 1.5, 2.0)[:, None]
        steps[..., 1] = torch.where(left, 0.1, 0.0)[:, None]
        return ActionChunk.of(steps, range(6)), state

    @property
    def bundle(self) -> Bundle:
        known = {"instructions": [*COMMANDS.values()]}
        return Bundle("driver", {}, self.windows(), CAR, {"steps": []}, {}, provenance=known)

    def controller(self) -> Controller:
        return Controller(self, TransformPipeline([]), self.bundle)


@pytest.fixture
def here(monkeypatch):
    """Simulators run in this process."""
    monkeypatch.setattr(surveying, "Worker", InProcessWorker)
    with simulators_in_process():
        yield


@pytest.fixture
def evaluated(tmp_path, monkeypatch, here):
    """A function that evaluates a driver, with videos."""
    monkeypatch.setattr(closed_loop, "check_has_learned_to_act", lambda *arguments: None)
    monkeypatch.setattr(closed_loop, "check_body", lambda *arguments: None)
    monkeypatch.setitem(SIMULATOR_REGISTRY, "road", (RoadConfig, "a road"))

    def evaluate(driver: Driver, config: RoadConfig, **settings):
        opened = SimpleNamespace(bundle=driver.bundle, actor=driver.controller, device="cpu", identity={})
        monkeypatch.setattr(closed_loop, "open_policy", lambda *arguments: opened)
        outputs = Outputs(results=tmp_path / "run" / "results.json", videos=tmp_path / "run" / "rollouts")
        return evaluate_checkpoint(tmp_path, config, ["day"], CONFIG, outputs=outputs, **settings)

    return evaluate


def test_the_road_keeps_the_rules_of_simulators():
    check_simulator(RoadConfig())


def test_a_video_shows_the_cameras_and_the_view_from_above(evaluated, tmp_path):
    driver = Driver()
    results = evaluated(driver, RoadConfig())
    assert results["mean"]["success"] == 1
    assert results["mean"]["figures"]["driving_score"]["mean"] == 1
    assert driver.read[0] == sorted([FRONT, BACK, LIDAR_KEY, STATE_KEY])
    (entry,) = json.loads((tmp_path / "run" / "rollouts" / "index.json").read_text())
    assert entry["figures"]["completion"] == 1
    with av.open(tmp_path / "run" / "rollouts" / entry["file"]) as video:
        frames = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
        assert float(video.streams.video[0].average_rate) == 4
    assert len(frames) == entry["steps"]
    assert frames[0].shape == (2 * 112, 3 * 196 + 4 + 178, 3)
    page = write_report(tmp_path / "run", tmp_path / "report.html").read_text()
    assert "driving score" in page
    assert 'class="grid wide"' in page


def test_the_navigator_that_is_wrong_is_asked_for_by_the_evaluation(evaluated):
    results = evaluated(Driver(), RoadConfig(), wrong_instruction=True)
    assert results["simulator"]["wrong_commands"] is True


@pytest.mark.parametrize("broken", [("lidar",), ("front",), ("front", "back", "lidar")])
def test_a_broken_sensor_is_missing_from_what_the_policy_sees(evaluated, broken):
    driver = Driver()
    results = evaluated(driver, RoadConfig(without=broken))
    assert results["mean"]["success"] == 1
    left = [key for key in (FRONT, BACK, LIDAR_KEY) if key.rpartition(".")[2] not in broken]
    assert {tuple(keys) for keys in driver.read} == {tuple(sorted([*left, STATE_KEY]))}


def test_plans_are_those_of_the_decisions_and_words_those_of_their_steps(here):
    driver, config = Driver(), RoadConfig(lidar=True)
    (played,) = run_specs(driver.controller(), [EpisodeSpec("day", 3)], config, CONFIG)
    (result,) = replay([played], config, 1)
    told = [COMMANDS["follow"]] * 3 + [COMMANDS["left"]] * (played.steps - 3)
    assert list(result.instructions) == told
    plans, decided = plans_of(driver.controller(), result, 1)
    assert decided.tolist() == [*range(played.steps)]
    assert plans[:, 0, 0].tolist() == [2.0] * 3 + [1.5] * (played.steps - 3)
    np.testing.assert_array_equal(plans[:, 0, :2], played.actions[:, :2])
    plans, decided = plans_of(driver.controller(), result, 2)
    assert decided.tolist() == [step // 2 * 2 for step in range(played.steps)]
    assert plans[:6, 0, 0].tolist() == [2.0, 2.0, 2.0, 2.0, 1.5, 1.5]  # told after the second decision


def test_the_driven_path_and_the_plan_are_drawn_where_they_are(here):
    driver, config = Driver(), RoadConfig(lidar=True)
    (played,) = run_specs(driver.controller(), [EpisodeSpec("day", 3)], config, CONFIG)
    (result,) = replay([played], config, 1)
    viewer = viewer_of(driver.controller(), config, 1)
    assert viewer is not None
    driven = viewer.view(result)
    assert driven.snapshots is not None
    assert len(driven.snapshots) == played.steps
    frames = driving_frames(result, driven)
    assert frames.shape[0] == played.steps
    above = frames[0][:, -178:]
    red, amber = (above == (235, 90, 80)).all(axis=2), (above == (214, 176, 92)).all(axis=2)
    assert red.any()
    assert amber.any()
    rows, columns = np.nonzero(red)
    assert rows.min() < rows.max()
    assert abs(columns.mean() - 89) < 3  # straight ahead
    assert np.nonzero(amber)[1].mean() < 89  # the other car stands to the left
    unseen = driving_frames(result, replace(driven, snapshots=None))
    assert unseen.shape == frames.shape


def test_policies_that_do_not_drive_have_no_such_viewer():
    hand = SimpleNamespace(embodiment=replace(CAR, action_names=()))
    assert viewer_of(hand, RoadConfig(), 1) is None


def test_cameras_stand_as_around_the_car():
    front, left = (np.full((1, 112, 20, 3), value, np.uint8) for value in (100, 50))
    grid = camera_grid({FRONT: front, "observation.images.front_left": left})
    assert grid is not None
    assert grid.shape == (1, 112, 60, 3)
    assert grid[0, 5, [5, 25, 45], 0].tolist() == [50, 100, 0]
    assert camera_grid({}) is None
    with pytest.raises(ValueError, match="a video shows pictures of one shape"):
        camera_grid({FRONT: front, BACK: left[:, :56]})
