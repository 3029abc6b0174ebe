"""Policies that drive by tokens of their sensors, which attend to each other."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tests import drives
from tests.contract.policy_cases import driving
from torch.nn import functional as F

from tempovla.model.sensor.bev import BEVGridConfig
from tempovla.model.vla.multi_sensor_config import MultiSensorVLAConfig, OwnSensorConfig
from tempovla.model.vla.multi_sensor_vla import MultiSensorVLA
from tempovla.model.vla.token_fusion_config import TokenFusionConfig
from tempovla.timeline import Context, TimelineSample, laws
from tempovla.timeline.driving import IMU_KEY, LIDAR_KEY, RADAR_KEY
from tempovla.timeline.keys import ACTION_KEY, DEPTH_KEY_PREFIX, STATE_KEY, TOKENS_KEY

FUSIONS = ("cross_modal", "hierarchical")
DEPTH_KEY = DEPTH_KEY_PREFIX + "front"


def sample_of(fusion: str, rows: int = 4) -> tuple[MultiSensorVLA, TimelineSample]:
    case = driving(fusion=fusion)
    policy = case.build()
    return policy, laws.random_sample(policy.training_windows(), case.shapes, rows=rows, body=case.body)


def changed(context: Context, *keys: str, **fields: object) -> Context:
    return context.map_tracks(lambda key, track: replace(track, **fields) if key in keys else track)


def without(context: Context, *keys: str) -> Context:
    return replace(context, now={key: track for key, track in context.now.items() if key not in keys})


@torch.no_grad()
def plan(policy: MultiSensorVLA, context: Context) -> torch.Tensor:
    return policy.act(context, policy.initial_state(context.batch_size))[0].value


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize(
    "keys",
    [
        (LIDAR_KEY,),
        (RADAR_KEY,),
        drives.CAMERAS[:1],
        drives.CAMERAS,
        (LIDAR_KEY, RADAR_KEY),
        (*drives.CAMERAS, LIDAR_KEY, RADAR_KEY),
        (*drives.CAMERAS, LIDAR_KEY, RADAR_KEY, IMU_KEY, STATE_KEY),
    ],
)
def test_a_sensor_that_is_not_given_is_as_one_whose_reading_is_invalid(fusion, keys):
    policy, sample = sample_of(fusion)
    absent = plan(policy, without(sample.context, *keys))
    never = torch.zeros(4, 1, dtype=torch.bool)
    torch.testing.assert_close(absent, plan(policy, changed(sample.context, *keys, valid=never)))
    assert absent.isfinite().all()
    assert not torch.allclose(absent, plan(policy, sample.context))


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("key", [LIDAR_KEY, RADAR_KEY])
def test_order_and_padding_of_points_change_nothing(fusion, key):
    policy, sample = sample_of(fusion)
    track = sample.context.now[key]
    order = torch.randperm(track.value.shape[2], generator=torch.Generator().manual_seed(0))
    value, there = track.value[:, :, order], track.element_valid[:, :, order]
    value, there = F.pad(value, (0, 0, 3, 5), value=torch.nan), F.pad(there, (3, 5))
    context = changed(sample.context, key, value=value, element_valid=there)
    torch.testing.assert_close(plan(policy, context), plan(policy, sample.context))


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("key", [LIDAR_KEY, RADAR_KEY])
def test_a_sensor_that_works_and_sees_nothing_is_no_absent_one(fusion, key):
    policy, sample = sample_of(fusion)
    nothing = torch.zeros_like(sample.context.now[key].element_valid)
    empty = plan(policy, changed(sample.context, key, element_valid=nothing))
    assert empty.isfinite().all()
    assert not torch.allclose(empty, plan(policy, without(sample.context, key)))


def test_the_cross_modal_fusion_reads_the_ego_status_and_the_hierarchical_one_does_not():
    for fusion, hears in (("cross_modal", True), ("hierarchical", False)):
        policy, sample = sample_of(fusion)
        vision = policy.encoder.token_fusion.cameras.count
        with torch.no_grad():
            full = policy.encoder(sample.context)
            other = policy.encoder(without(sample.context, STATE_KEY, IMU_KEY))
        assert full.bev is None
        assert full.tokens.shape == (4, policy.encoder.num_tokens, 8)
        assert torch.equal(full.tokens[:, :vision], other.tokens[:, :vision]) is not hears
        assert not torch.equal(full.tokens[:, -1], other.tokens[:, -1])


@pytest.mark.parametrize("fusion", FUSIONS)
def test_what_the_radar_sees_changes_the_tokens_of_the_cameras(fusion):
    policy, sample = sample_of(fusion)
    vision = policy.encoder.token_fusion.cameras.count
    with torch.no_grad():
        full, other = (policy.encoder(each).tokens for each in (sample.context, without(sample.context, RADAR_KEY)))
    assert not torch.allclose(full[:, :vision], other[:, :vision], atol=1e-4)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_what_is_dropped_in_training_follows_from_the_seeds_alone(fusion):
    policy, sample = sample_of(fusion, rows=16)
    dropping = MultiSensorVLA(replace(policy.config, modality_dropout=0.5, state_dropout=0.5))
    dropping.load_state_dict(policy.state_dict())
    with torch.no_grad():
        full = dropping.eval()(sample)["action_loss"].prediction
        first, again = (dropping.train()(sample)["action_loss"].prediction for _ in range(2))
        other = dropping(replace(sample, seed=sample.seed + 1))["action_loss"].prediction
    torch.testing.assert_close(full, policy(sample)["action_loss"].prediction)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert 8 <= int(((first - full).abs().amax(dim=(1, 2)) > 1e-6).sum()) <= 16


@pytest.mark.parametrize("sensors", [("lidar",), ("radar", "imu"), ("cameras", "radar")], ids="+".join)
def test_any_subset_of_sensors_fuses(sensors):
    fusion = "cross_modal" if "imu" in sensors else "hierarchical"
    policy = MultiSensorVLA(drives.tiny_config(fusion=fusion, sensors=sensors)).eval()
    shapes = driving().shapes
    read = {window.key for window in policy.windows()} | {TOKENS_KEY}
    sample = laws.random_sample(policy.windows(), {key: shapes[key] for key in read}, body=drives.CAR)
    laws.check_padding_invariance(policy, laws.with_gaps(sample))
    assert plan(policy, without(sample.context, *(read - {TOKENS_KEY}))).isfinite().all()


def test_the_fused_tokens_go_to_the_language_model():
    policy = MultiSensorVLA(drives.tiny_config(fusion="hierarchical", language=drives.LANGUAGE)).eval()
    case = driving(fusion="hierarchical")
    sample = laws.random_sample(policy.windows(), case.shapes, body=case.body)
    whole = plan(policy, sample.context)
    assert whole.shape == (4, 6, 3)
    assert not torch.allclose(whole, plan(policy, without(sample.context, LIDAR_KEY)))


def test_depth_is_fused_as_a_sensor_of_ones_own():
    own = {"depth": OwnSensorConfig("depth", 8, "depth", (16, 32, 1), DEPTH_KEY, {"hidden_dim": 4})}
    policy = MultiSensorVLA(drives.tiny_config(fusion="cross_modal", sensors=("cameras",), own_sensors=own)).eval()
    assert policy.config.streams()[DEPTH_KEY].kind == "depth"
    shapes = {key: driving().shapes[key] for key in (*drives.CAMERAS, STATE_KEY, ACTION_KEY, TOKENS_KEY)}
    sample = laws.random_sample(policy.windows(), {**shapes, DEPTH_KEY: (1, 16, 32)}, body=drives.CAR)
    laws.check_padding_invariance(policy, laws.with_gaps(sample))
    vision = policy.encoder.token_fusion.cameras.count
    with torch.no_grad():
        full, other = (policy.encoder(each).tokens for each in (sample.context, without(sample.context, DEPTH_KEY)))
    assert not torch.equal(full[:, :vision], other[:, :vision])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"fusion": "attention"}, "model.fusion='attention' is unknown; choose from bev, cross_modal, hierarchical"),
        (
            {"fusion": "bev", "token_fusion": TokenFusionConfig()},
            "model.token_fusion has no effect with model.fusion=bev",
        ),
        ({"fusion": "hierarchical", "bev_dim": 32}, "model.bev_dim has no effect with model.fusion=hierarchical"),
        (
            {"temporal": drives.tiny_temporal(cell_size=4)},
            "model.temporal.cell_size=4 has no effect with model.fusion=cross_modal",
        ),
        ({"depth_weight": 0.5}, "model.depth_weight=0.5 has no effect with model.fusion=cross_modal"),
        ({"sensors": ("imu",)}, "needs one of cameras, lidar, radar, but model.sensors"),
        ({"fusion": "hierarchical", "sensors": ("cameras",)}, "needs one of lidar, radar, but model.sensors"),
    ],
)
def test_settings_that_do_not_fit_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        MultiSensorVLAConfig(**{"fusion": "cross_modal", **fields})


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="num_queries=0 must be at least 1"):
        TokenFusionConfig(num_queries=0)
    with pytest.raises(ValueError, match=r"camera_tokens=\[0, 2\]"):
        TokenFusionConfig(camera_tokens=(0, 2))
    with pytest.raises(ValueError, match="give one number above 0 for each level"):
        TokenFusionConfig(lidar_centres=(8,))
    with pytest.raises(ValueError, match="num_heads=3 does not divide the width 8 of a token"):
        MultiSensorVLA(drives.tiny_config(fusion="cross_modal", token_fusion=TokenFusionConfig(num_heads=3)))
    assert MultiSensorVLAConfig(fusion="cross_modal", grid=BEVGridConfig(resolution=1.0)).mapped == ()


def test_each_camera_has_tokens_of_its_own_which_are_absent_when_it_fails():
    policy, _ = sample_of("cross_modal")
    fusion = policy.encoder.token_fusion
    features = torch.randn(2, 1, 8, 2, 4, generator=torch.Generator().manual_seed(0)).expand(-1, 2, -1, -1, -1)
    seen = fusion.cameras(features, torch.tensor([[True, True], [True, False]]), drives.CAMERAS)
    assert seen.valid.tolist() == [[True] * 3, [True, True, False]]  # two tokens of the front camera, one of the other
    alone = fusion.cameras(features[:, 1:], torch.ones(2, 1, dtype=torch.bool), drives.CAMERAS[1:])
    assert alone.valid.tolist() == [[False, False, True]] * 2
    torch.testing.assert_close(alone.tokens[:, 2], seen.tokens[:, 2])
