"""Open-loop figures and pictures of a policy on scenes in nuScenes' format."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image
from tests.driven_scenes import CAR, driven, scenes
from tests.nuscenes_scenes import SPEED, TURN_RATE, Rates, write
from torch import Tensor

from tempovla.control.controller import Controller
from tempovla.data.joined import JoinedSource
from tempovla.data.memory import PreloadedSource, preload
from tempovla.data.mixture import Mixture
from tempovla.data.open import open_source
from tempovla.data.selection import Selection
from tempovla.data.window import origin_of
from tempovla.recipe.evaluation.open_loop import measure
from tempovla.recipe.evaluation.open_loop.around import around_of, rectangles_of
from tempovla.recipe.evaluation.open_loop.baselines import constant_turn_rate, fit_and_predict
from tempovla.recipe.evaluation.open_loop.driving import drives, measure_driving
from tempovla.recipe.evaluation.open_loop.pictures import INDEX, chosen_rows
from tempovla.recipe.evaluation.open_loop.recorded import read_recorded
from tempovla.report.open_loop import open_loop_lines, open_loop_section
from tempovla.timeline import ActionChunk, Bundle, Context, Embodiment, Window
from tempovla.timeline.keys import ACTION_KEY, STATE_KEY
from tempovla.transform.pipeline import TransformPipeline


class Told(NamedTuple):
    waypoints: Tensor
    probability: Tensor


@dataclass(frozen=True)
class Circling:
    """Drives the circle of the scenes, or straight on with half of the probability."""

    modes: int = 2

    def windows(self) -> tuple[Window, ...]:
        return Window(STATE_KEY, (0,)), Window(ACTION_KEY, tuple(range(6)))

    def initial_state(self, batch_size: int) -> Tensor:
        return torch.zeros(batch_size)

    def act(self, context: Context, state: Tensor) -> tuple[ActionChunk, Tensor]:
        raise AssertionError("its steps are given")

    def trajectories(self, context: Context, state: Tensor) -> tuple[Told, Tensor]:
        status = torch.zeros(context.batch_size, 4, dtype=torch.float64)
        status[:, 0] = SPEED
        straight = torch.from_numpy(constant_turn_rate(status.numpy(), 6, 2.0))
        status[:, 2] = TURN_RATE
        arc = torch.from_numpy(constant_turn_rate(status.numpy(), 6, 2.0))
        both = torch.stack([straight, arc], dim=1)[:, : self.modes]
        return Told(both, torch.full((context.batch_size, self.modes), 0.5)), state

    def controller(self) -> Controller:
        return Controller(self, TransformPipeline([]), Bundle("circling", {}, self.windows(), CAR, {"steps": []}, {}))


@pytest.fixture(scope="module")
def town(tmp_path_factory):
    return open_source(write(tmp_path_factory.mktemp("town"), (9, 10), Rates(2, 2, 2, 10)))


def test_only_cars_drive():
    assert drives(CAR)
    assert not drives(Embodiment("hand", 1, 3, 10.0))


def test_a_policy_is_judged_on_scenes_with_all_that_is_known_of_them(town, tmp_path, monkeypatch):
    monkeypatch.setattr(measure, "fit_and_predict", partial(fit_and_predict, steps=10))
    mixture = Mixture([town], episodes=[[1]])
    recorded = read_recorded(mixture, 6)
    figures = measure_driving(
        Circling().controller(), mixture, recorded.steps, batch_size=4, pictures=tmp_path / "predictions"
    )
    assert figures["scenes"] == 1
    rows = figures["rows"]
    assert rows["policy"]["fde"]["mean"] == pytest.approx(0, abs=1e-5)
    assert rows["policy"]["modes"]["2"]["min_fde"]["mean"] == pytest.approx(0, abs=0.02)
    assert rows["policy"]["modes"]["1"]["min_fde"]["mean"] > 1
    assert rows["constant turn rate"]["fde"]["mean"] < rows["constant velocity"]["fde"]["mean"]
    assert "ego status MLP" in rows  # it learned from the other scene
    assert rows["policy"]["collision"]["uniad"]["1"]["mean"] == 0
    index = json.loads((tmp_path / "predictions" / INDEX).read_text())
    assert figures["pictures"] == len(index) > 0
    with Image.open(tmp_path / "predictions" / index[0]["file"]) as picture:
        shown = np.asarray(picture)
    assert shown.shape == (316, 240, 3)
    assert ((shown == (235, 90, 80)).all(axis=2)).any()  # the predicted trajectory lies on the true one
    (tmp_path / "offline.json").write_text(json.dumps({"open_loop": figures}))
    page = str(open_loop_section(tmp_path))
    assert page.count("data:image/png") == len(index)
    assert "constant velocity" in page
    lines = open_loop_lines(figures)
    assert any(line.startswith("policy, best of 2") for line in lines)
    start = next(place for place, line in enumerate(lines) if line.startswith("Distance from"))
    groups, columns = lines[start + 1 : start + 3]
    assert "ST-P3, VAD" in groups
    assert columns.split()[:3] == ["1", "s", "2"]


def test_boxes_and_the_road_are_those_of_the_dataset(town):
    around = around_of(town, [0, 1])
    assert around.boxes_at is not None
    boxes = town.boxes(0, 2)
    expected = np.column_stack([boxes.center[:, :2], boxes.yaw, boxes.size[:, 1], boxes.size[:, 0]])
    np.testing.assert_allclose(around.boxes_at(0, 2), expected)
    assert rectangles_of(boxes, ("human",)).shape == (1, 5)
    chosen = around_of(Selection(town, [1]), [0])
    assert chosen.boxes_at is not None
    np.testing.assert_array_equal(chosen.boxes_at(0, 1), around.boxes_at(1, 1))
    assert around.drivable_at is not None
    area, pose = town.drivable(1), town.ego_poses(1)[3]
    ahead = np.array([[5.0, 1.0], [0.0, 40.0]])
    globally = ahead @ pose[:2, :2].T + pose[:2, 3]
    assert around.drivable_at(1, 3, ahead).tolist() == area.contains(globally).tolist()


def test_sources_made_from_a_dataset_know_the_boxes_and_the_road_of_their_episodes(town):
    renamed = JoinedSource(Selection(town, [1]), {}, {"status": STATE_KEY})
    kept = preload(renamed, ["status"], 1 << 20)
    assert isinstance(kept, PreloadedSource)
    assert origin_of(kept, 0) == (town, 1)
    around, known = around_of(kept, [0]), around_of(town, [1])
    assert around.boxes_at is not None
    assert around.drivable_at is not None
    np.testing.assert_array_equal(around.boxes_at(0, 1), known.boxes_at(1, 1))
    places = np.stack(np.meshgrid(np.linspace(-40, 40, 9), np.linspace(-40, 40, 9)), axis=-1)
    inside = around.drivable_at(0, 3, places)
    assert inside.any()
    assert not inside.all()
    np.testing.assert_array_equal(inside, known.drivable_at(1, 3, places))


def test_a_dataset_without_annotations_tells_distances_alone(monkeypatch):
    monkeypatch.setattr(measure, "fit_and_predict", lambda known, poses, valid, asked: np.zeros((len(asked), 6, 3)))
    source = scenes(driven(np.full(9, 3.0)), driven(np.full(9, 2.0)))
    mixture = Mixture([source])
    figures = measure_driving(Circling(modes=1).controller(), mixture, read_recorded(mixture, 6).steps)
    assert "collision" not in figures["rows"]["policy"]
    assert "modes" not in figures["rows"]["policy"]
    assert figures["rows"]["policy"]["l2"]["stp3"]["3"]["mean"] == 0


def test_a_dataset_without_the_status_of_the_car_is_refused():
    source = scenes(driven(np.full(9, 3.0)))
    source.streams = {ACTION_KEY: source.streams[ACTION_KEY]}
    with pytest.raises(ValueError, match=r"town: has no stream 'observation\.state', from which the baselines predict"):
        measure_driving(Circling().controller(), Mixture([source]), np.zeros((9, 6, 3)))


def test_the_best_a_middling_and_the_worst_are_drawn():
    errors = np.array([5.0, 1.0, 4.0, 2.0, 3.0, 9.0])
    assert chosen_rows(np.arange(5), errors) == [1, 4, 0]
    assert chosen_rows(np.array([0, 3]), errors) == [3, 0]
    assert chosen_rows(np.array([], int), errors) == []


def test_a_damaged_file_is_told_by_name(tmp_path: Path):
    assert open_loop_section(tmp_path) is None
    (tmp_path / "offline.json").write_text("{}")
    assert open_loop_section(tmp_path) is None
    (tmp_path / "offline.json").write_text('{"open_loop": {"rows": {}}}')
    with pytest.raises(ValueError, match=r"offline\.json.*run `tempovla eval offline` again"):
        open_loop_section(tmp_path)
