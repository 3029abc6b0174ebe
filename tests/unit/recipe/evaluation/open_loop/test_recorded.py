"""Moments of recorded scenes, and what a car would have touched there."""

from __future__ import annotations

import numpy as np
from tests.driven_scenes import driven, scenes

from tempovla.data.mixture import Mixture
from tempovla.recipe.evaluation.open_loop.collisions import Footprint
from tempovla.recipe.evaluation.open_loop.recorded import collisions_of, off_road_of, read_recorded
from tempovla.timeline.driving import COMMANDS

CAR = Footprint(length=4.0, width=2.0, middle=1.0)


def test_each_control_step_is_a_moment_with_what_followed():
    words = [COMMANDS["follow"]] * 3 + [COMMANDS["left"]] * 5
    source = scenes(driven(np.full(4, 2.0)), driven(np.arange(8.0), words=words))
    recorded = read_recorded(Mixture([source]), 6)
    assert recorded.scene.tolist() == [0] * 4 + [1] * 8
    assert recorded.step.tolist() == [*range(4), *range(8)]
    assert recorded.words[4:] == tuple(words)
    assert recorded.state[4:, 0].tolist() == [*range(8)]
    assert recorded.known.sum(axis=1).tolist() == [4, 3, 2, 1, 6, 6, 6, 5, 4, 3, 2, 1]
    assert recorded.whole.sum() == 3
    np.testing.assert_allclose(recorded.poses[4, :, 0], np.cumsum(np.arange(6)) / 2, rtol=1e-6)
    chosen = recorded.chosen(recorded.scene == 1)
    assert (len(chosen.scene), chosen.words[3]) == (8, COMMANDS["left"])


def test_a_chosen_part_of_the_scenes_keeps_their_numbers():
    source = scenes(*(driven(np.full(3, float(speed))) for speed in range(3)))
    recorded = read_recorded(Mixture([source], episodes=[[0, 2]]), 2)
    assert sorted(set(recorded.scene.tolist())) == [0, 2]


def test_others_are_touched_where_they_were_at_that_time():
    source = scenes(driven(np.full(7, 4.0)))  # 2 m each control step
    recorded = read_recorded(Mixture([source]), 6).chosen(np.array([0]))
    standing = np.zeros((1, 6, 3))
    faster = recorded.poses * [1.5, 1, 1]
    asked = []

    def boxes_at(scene, step):
        asked.append((scene, step))
        ahead = 16.0 - 2.0 * step  # stands 16 m ahead of where the car began
        return np.array([[ahead, 0.0, 0.0, 2.0, 2.0]])

    found = collisions_of(recorded, np.stack([recorded.poses, standing, faster]), boxes_at, CAR)
    assert asked == [(0, step) for step in range(1, 7)]
    # The box reaches from 15 to 17 m, the car from 1 m behind its axle to 3 m ahead of it.
    assert found[:, 0].tolist() == [
        [False] * 6,  # its axle comes to 12 m, its front to 15 m
        [False] * 6,
        [False] * 4 + [True, False],  # 15 m, and 18 m, where its rear has left the box
    ]


def test_poses_that_are_not_known_touch_nobody():
    recorded = read_recorded(Mixture([scenes(driven(np.full(3, 4.0)))]), 6).chosen(np.array([0]))
    on_it = np.zeros((1, 1, 6, 3))

    def boxes_at(scene, step):
        return np.array([[-2.0 * step, 0.0, 0.0, 4.0, 4.0]])

    assert collisions_of(recorded, on_it, boxes_at, CAR)[0, 0].tolist() == [True] * 3 + [False] * 3
    assert off_road_of(recorded, on_it, lambda scene, step, points: points[..., 0] > 9, CAR)[0, 0].tolist() == (
        [True] * 3 + [False] * 3
    )


def test_a_corner_off_the_road_counts():
    recorded = read_recorded(Mixture([scenes(driven(np.full(7, 4.0)))]), 6).chosen(np.array([0]))
    veering = recorded.poses + np.array([0, 1, 0]) * np.arange(6)[:, None] * 0.4

    def drivable_at(scene, step, points):
        assert (scene, step, points.shape) == (0, 0, (2, 6, 4, 2))
        return np.abs(points[..., 1]) < 2.1

    found = off_road_of(recorded, np.stack([recorded.poses, veering]), drivable_at, CAR)
    assert found[:, 0].tolist() == [[False] * 6, [False] * 3 + [True] * 3]  # 1 m beside its middle, and 1.2 m
