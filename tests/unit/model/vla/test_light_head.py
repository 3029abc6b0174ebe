from __future__ import annotations

from dataclasses import replace

import torch
from tests import drives
from tests.contract.registry import POLICIES
from torch import Tensor

from tempovla.model.sensor.calibrations import view_cameras
from tempovla.model.vla.light_head import FrontView, LightHead, evidence, light_of, shown_state
from tempovla.model.vla.multi_sensor_vla import MultiSensorVLA
from tempovla.objective.objective import measure
from tempovla.timeline import Task, Track, laws, training_windows

SIZE = (drives.HEIGHT, drives.WIDTH)
CELLS = (4, 8)
"""Each is 4 x 4 pixels."""


def view(logits: Tensor | None = None) -> FrontView:
    return FrontView(torch.zeros(1, 2, *CELLS), logits, SIZE)


def targets(state: int, *heads: list[float], present: bool = True) -> Tensor:
    cameras = view_cameras([Task("", drives.CAR)], [drives.CAMERAS[0]], SIZE)
    assert cameras.intrinsics is not None
    assert cameras.extrinsics is not None
    places = torch.tensor([heads]) if heads else torch.zeros(1, 1, 3)
    there = torch.full(places.shape[:2], present and bool(heads))
    head = LightHead(2, 4)
    return head.targets(places, there, torch.tensor([state]), cameras.intrinsics, cameras.extrinsics, view())


def test_the_cells_of_the_heads_show_the_light():
    """The camera sits 1 m ahead at a height of 1.5 m and has a focal length of 20 pixels."""
    near, far = [11.0, 0.5, 1.6], [11.0, -5.0, 3.5]
    shown = targets(2, near, far)[0]
    cells = []
    for x, y, z in (near, far):
        column, row = 16 - 20 * y / (x - 1), 8 - 20 * (z - 1.5) / (x - 1)
        cells.append([int(row // 4), int(column // 4)])
    assert shown.nonzero().tolist() == sorted(cells)
    assert set(shown[shown > 0].tolist()) == {2}


def test_heads_that_are_absent_or_out_of_the_picture_show_nothing():
    assert not targets(1).any()
    assert not targets(1, [11.0, 0.5, 1.6], present=False).any()
    assert not targets(1, [-9.0, 0.5, 1.6], [3.0, 8.0, 1.6], [3.0, 0.0, 9.0]).any()


def test_the_state_is_that_of_the_strongest_evidence():
    logits = torch.zeros(3, 4, *CELLS)
    logits[:, 0] = 1.0
    logits[0, 3, 2, 5] = 4.0
    logits[0, 1, 0, 0] = 3.0
    logits[1, 2, 3, 7] = 1.5
    assert shown_state(logits).tolist() == [3, 2, 0]
    assert evidence(logits)[0].tolist() == [2.0, -1.0, 3.0]


def test_cells_with_a_light_count_more_and_unseen_lights_are_no_mistakes():
    head = LightHead(2, 4, positive_weight=10.0)
    logits = torch.zeros(1, 4, *CELLS)
    logits[0, 0] = 0.1
    target = torch.zeros(1, *CELLS, dtype=torch.long)
    target[0, 1, 1] = 1
    yes, state = torch.ones(1, dtype=torch.bool), torch.ones(1, dtype=torch.long)
    terms = head.terms(view(logits), yes, state, target, 0.5)
    loss = terms["light_loss"]
    free = -torch.log_softmax(logits[0, :, 0, 0], dim=0)
    torch.testing.assert_close(loss.prediction[0, 1, 1], 10.0 * free[1])
    torch.testing.assert_close(loss.prediction[0, 0, 0], free[0])
    assert loss.weight == 0.5
    assert measure("light_accuracy", terms["light_accuracy"]).tolist() == [0.0, 1.0]
    unseen = head.terms(view(logits), yes, state, torch.zeros_like(target), 0.5)
    assert measure("light_accuracy", unseen["light_accuracy"]).tolist() == [0.0, 0.0]


def test_unknown_states_are_zero_and_not_valid():
    track = replace(Track.of(torch.tensor([[[3.0]], [[torch.nan]]]), (0,)), valid=torch.tensor([[True], [False]]))
    state, valid = light_of(track)
    assert state.tolist() == [3, 0]
    assert valid.tolist() == [True, False]


def test_the_front_camera_may_see_a_larger_picture_than_the_others():
    case = POLICIES["driving-taught"]
    policy = case.build()
    assert isinstance(policy, MultiSensorVLA)
    assert policy.config.front_size is not None
    assert policy.encoder.front_backbone is not None
    sample = laws.random_sample(training_windows(policy), case.shapes, rows=2, body=case.body)
    high, wide = policy.config.front_size
    key = drives.CAMERAS[0]
    large = torch.randint(0, 256, (2, 1, 3, high, wide), dtype=torch.uint8)

    def seen(picture: Tensor) -> tuple[Tensor, Tensor]:
        now = {**sample.context.now, key: replace(sample.context.now[key], value=picture)}
        with torch.no_grad():
            found = policy.encoder(replace(sample.context, now=now))
        assert found.view is not None
        assert found.view.size == (high, wide)
        return found.view.cells, found.tokens

    cells, tokens = seen(large)
    assert cells.shape[-2:] == (-(-high // 8), -(-wide // 8))
    other_cells, other_tokens = seen(255 - large)
    assert not torch.equal(cells, other_cells)
    assert not torch.equal(tokens, other_tokens)
