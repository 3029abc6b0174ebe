"""Geometry comes in through gates that begin closed, from depth with the calibration of its camera."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tests.contract.samples import random_sample
from tests.sagr_policies import SHAPES, sagr
from tests.tiny import FRONT, WRIST, tiny_sagr_config

from tempovla.model.sensor.config import (
    DepthGeometryConfig,
    LatentGeometryConfig,
    PointMapGeometryConfig,
    PointTokensConfig,
)
from tempovla.model.vla.sagr import SAGR
from tempovla.model.vlm.config import VisionEncoderConfig
from tempovla.timeline import CameraCalibration, Embodiment, training_windows
from tempovla.timeline.keys import DEPTH_KEY_PREFIX, IMAGE_KEY_PREFIX

DEPTHS = tuple(DEPTH_KEY_PREFIX + key.removeprefix(IMAGE_KEY_PREFIX) for key in (FRONT, WRIST))
DEPTH = DepthGeometryConfig(tokens=PointTokensConfig(grid=2, output_dim=8, hidden_dim=8, num_bands=2))
LATENT = LatentGeometryConfig(vision=VisionEncoderConfig("conv", image_size=16, patch_size=8, output_dim=8))
CLOSED = ("frames.geometry.fusion.gamma", "frames.anchor.gamma")


def calibrated(sample):
    """The sample with bodies whose cameras are known."""
    cameras = tuple(
        CameraCalibration(stream=key, width=16, height=16, fx=16.0, fy=16.0, cx=8.0, cy=8.0) for key in DEPTHS
    )
    body = Embodiment("toy", 3, 4, 10.0, cameras=cameras)
    task = tuple(replace(each, embodiment=body) for each in sample.context.task)
    return replace(sample, context=replace(sample.context, task=task))


def sample_of(policy):
    """A sample whose depth is from half a metre on."""
    shapes = SHAPES | dict.fromkeys(policy.config.depths, (1, 16, 16))
    sample = random_sample(training_windows(policy), shapes)

    def measured(key, track):
        return track.with_value(0.5 + track.value.float() / 255.0) if key in DEPTHS else track

    return sample.map_tracks(measured)


def with_gates(policy, gamma):
    with torch.no_grad():
        for name, parameter in policy.named_parameters():
            if name in CLOSED:
                parameter.fill_(gamma)
    return policy


@pytest.mark.parametrize("geometry", [DEPTH, LATENT], ids=["depth", "latent"])
def test_with_closed_gates_nothing_differs_from_pictures_alone(geometry):
    policy = with_gates(sagr(geometry=geometry), 0.0)
    plain = SAGR(tiny_sagr_config()).eval()
    weights = policy.state_dict()
    plain.load_state_dict({name: weights[name] for name in plain.state_dict()})
    sample = calibrated(sample_of(policy))
    for name in ("action_loss", "dyn_loss"):
        expected = plain(sample)[name].prediction
        torch.testing.assert_close(policy(sample)[name].prediction, expected, rtol=0, atol=0)


@pytest.mark.parametrize("geometry", [DEPTH, LATENT], ids=["depth", "latent"])
def test_closed_gates_learn_to_open(geometry):
    policy = with_gates(sagr(geometry=geometry), 0.0)
    policy(calibrated(sample_of(policy)))["action_loss"].prediction.square().sum().backward()
    gates = {name: each for name, each in policy.named_parameters() if name in CLOSED}
    assert set(gates) == set(CLOSED)
    assert all(each.grad.abs().item() > 0 for each in gates.values())


def test_depth_changes_the_task_tokens_of_now_and_of_the_target():
    policy = with_gates(sagr(geometry=DEPTH), 1.0)
    sample = calibrated(sample_of(policy))
    nearer = {key: track.map(lambda value: 0.6 * value) for key, track in sample.context.now.items() if key in DEPTHS}
    other = replace(sample.context, now={**sample.context.now, **nearer})
    assert (policy.task_tokens(other) - policy.task_tokens(sample.context)).abs().max() > 1e-3
    ahead = {key: track.map(lambda value: 0.6 * value) for key, track in sample.future.items() if key in DEPTHS}
    words = policy.frames.words(sample.context)
    target, moved = (policy.frames.target(future, 2, words) for future in (sample.future, {**sample.future, **ahead}))
    assert (target - moved).abs().max() > 1e-3


def test_a_row_without_a_reading_sees_its_pictures_alone():
    policy = with_gates(sagr(geometry=DEPTH), 1.0)
    sample = calibrated(sample_of(policy))
    blank = {key: track.map(torch.zeros_like) for key, track in sample.context.now.items() if key in DEPTHS}
    context = replace(sample.context, now={**sample.context.now, **blank})
    closed = with_gates(sagr(geometry=DEPTH), 0.0)
    torch.testing.assert_close(policy.task_tokens(context), closed.task_tokens(context))


def test_a_missing_calibration_is_named():
    policy = sagr(geometry=DEPTH)
    with pytest.raises(ValueError, match=r"'observation.depth.front' of 'toy' has no calibration") as refused:
        policy(sample_of(policy))
    assert "\n" not in str(refused.value)


def test_point_maps_have_no_stream():
    with pytest.raises(ValueError, match=r"model.geometry.kind=point_map: .* choose depth or latent"):
        tiny_sagr_config(geometry=PointMapGeometryConfig())
