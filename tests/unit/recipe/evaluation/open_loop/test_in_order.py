"""Decisions along recorded scenes, by a policy that counts what it has seen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from tests.driven_scenes import CAR, driven, scenes
from torch import Tensor

from tempovla.control.controller import Controller
from tempovla.data.mixture import Mixture
from tempovla.recipe.evaluation.open_loop import measure
from tempovla.recipe.evaluation.open_loop.driving import measure_driving
from tempovla.recipe.evaluation.open_loop.in_order import chunks_in_order, remembers
from tempovla.timeline import ActionChunk, Bundle, Context, Window
from tempovla.timeline.keys import ACTION_KEY, STATE_KEY
from tempovla.transform.pipeline import TransformPipeline


@dataclass(frozen=True)
class Counting:
    """Tells how many frames it has seen since the scene began; `frames` of training make it remember."""

    frames: int = 2

    def windows(self) -> tuple[Window, ...]:
        return Window(STATE_KEY, (0,)), Window(ACTION_KEY, tuple(range(6)))

    def training_windows(self) -> tuple[Window, ...]:
        return Window(STATE_KEY, tuple(range(1 - self.frames, 1))), Window(ACTION_KEY, tuple(range(6)))

    def window_ends(self, length: int) -> list[int]:
        return list(range(length))

    def initial_state(self, batch_size: int) -> Tensor:
        return torch.full((batch_size,), 7.0)

    def act(self, context: Context, state: Tensor) -> tuple[ActionChunk, Tensor]:
        seen = torch.where(context.first, 0.0, state) + 1
        speed = context.now[STATE_KEY].value[:, 0, 0]
        value = torch.stack([seen, speed, torch.zeros_like(seen)], dim=1)
        return ActionChunk.of(value[:, None].repeat(1, 6, 1), range(6)), seen

    def controller(self) -> Controller:
        return Controller(self, TransformPipeline([]), Bundle("counting", {}, self.windows(), CAR, {"steps": []}, {}))


@pytest.fixture
def mixture():
    """Scenes of 3, 1 and 5 control steps, of which the first and the last are chosen, and one of 9."""
    speeds = [np.arange(float(length)) + 10 * length for length in (3, 1, 5, 9)]
    return Mixture([scenes(*map(driven, speeds))], episodes=[[0, 2, 3]])


@pytest.mark.parametrize("at_once", [1, 2, 5])
def test_every_scene_is_seen_from_its_beginning_in_order(mixture, at_once):
    chunks = chunks_in_order(Counting().controller(), mixture, at_once)
    assert chunks.shape == (17, 6, 3)
    assert chunks[:, 0, 0].tolist() == [1, 2, 3, 1, 2, 3, 4, 5, 1, 2, 3, 4, 5, 6, 7, 8, 9]
    assert chunks[:, 0, 1].tolist() == [30, 31, 32, 50, 51, 52, 53, 54, *range(90, 99)]


def test_a_policy_remembers_if_it_learned_from_several_frames():
    assert remembers(Counting().controller())
    assert not remembers(Counting(frames=1).controller())


@pytest.mark.parametrize(("frames", "is_same"), [(2, True), (1, False)])
def test_one_that_remembers_is_judged_by_what_it_decides_in_order(mixture, monkeypatch, frames, is_same):
    monkeypatch.setattr(measure, "fit_and_predict", lambda known, poses, valid, asked: np.zeros((len(asked), 6, 3)))
    in_order = chunks_in_order(Counting().controller(), mixture, 2).numpy()
    alone = in_order + np.array([2.0, 0, 0])  # what it would decide by its present window alone
    policy = Counting(frames).controller()
    told = [measure_driving(policy, mixture, steps)["rows"]["policy"]["ade"]["mean"] for steps in (in_order, alone)]
    assert (told[0] == told[1]) is is_same
