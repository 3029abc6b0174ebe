from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tests import drives
from tests.contract.registry import POLICIES
from torch import nn

from tempovla.model.vla.multi_sensor_config import BEVTemporalConfig, MultiSensorVLAConfig, OwnSensorConfig
from tempovla.model.vla.multi_sensor_vla import MultiSensorVLA
from tempovla.model.vla.sensor_encoders import SENSOR_ENCODER_REGISTRY
from tempovla.objective import Objective
from tempovla.timeline import Context, Task, TimelineSample, Track, laws, training_windows
from tempovla.timeline.driving import IMU_KEY, LIDAR_KEY, RADAR_KEY
from tempovla.timeline.keys import ACTION_KEY, POSE_KEY, STATE_KEY, TOKENS_KEY, WORDS_KEY
from tempovla.transform.waypoints import Waypoints

SENSOR_KEYS = {"lidar": LIDAR_KEY, "radar": RADAR_KEY, "imu": IMU_KEY, "state": STATE_KEY, "front": drives.CAMERAS[0]}


def sample_of(name: str, rows: int = 4) -> tuple[MultiSensorVLA, TimelineSample]:
    case = POLICIES[name]
    policy = case.build()
    return policy, laws.random_sample(training_windows(policy), case.shapes, rows=rows, body=case.body)


def without(context: Context, *keys: str) -> Context:
    return replace(context, now={key: track for key, track in context.now.items() if key not in keys})


def invalid(context: Context, *keys: str) -> Context:
    def change(key: str, track: Track) -> Track:
        return replace(track, valid=torch.zeros_like(track.valid)) if key in keys else track

    return context.map_tracks(change)


NOT_READ = {
    "history.encoder.core." + name for name in ("no_hidden", "no_aggregated", "pool.score.weight", "pool_score.weight")
}
"""What temporal cores have for sequences without any frame, and for summaries of whole ones: every sequence ends with
the present frame, whose output is taken."""


@pytest.mark.parametrize("name", [name for name in POLICIES if name.startswith("driving")])
def test_every_weight_learns(name):
    policy, sample = sample_of(name, rows=8)
    with torch.no_grad():
        for weight in policy.parameters():  # a layer that begins at zero keeps the ones before it from learning
            weight.add_(0.1 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(0)))
    failed = invalid(sample.context, *drives.CAMERAS, LIDAR_KEY, RADAR_KEY, IMU_KEY, STATE_KEY)
    for context in (sample.context, failed):  # what stands for absent sensors learns where they are absent
        Objective()(policy(replace(sample, context=context))).total.backward()
    weights = dict(policy.named_parameters())
    still = {key for key, weight in weights.items() if weight.grad is None or not weight.grad.any()}
    assert still == NOT_READ & set(weights)


@torch.no_grad()
def plan(policy: MultiSensorVLA, context: Context) -> torch.Tensor:
    return policy.act(context, policy.initial_state(context.batch_size))[0].value


@pytest.mark.parametrize(
    "keys", [*[(key,) for key in SENSOR_KEYS.values()], drives.CAMERAS, tuple(SENSOR_KEYS.values())]
)
def test_a_sensor_that_is_not_given_is_as_one_whose_reading_is_invalid(keys):
    policy, sample = sample_of("driving")
    whole = plan(policy, sample.context)
    absent = plan(policy, without(sample.context, *keys))
    torch.testing.assert_close(absent, plan(policy, invalid(sample.context, *keys)))
    assert absent.isfinite().all()
    assert not torch.allclose(absent, whole)


@pytest.mark.parametrize("name", ["driving", "driving-taught-lstm"])
def test_rows_of_a_batch_are_seen_by_their_own_cameras(name):
    """Episodes of one dataset may have been recorded by cars whose cameras are mounted differently."""
    policy, sample = sample_of(name, rows=2)
    turned = tuple(replace(camera, pose=drives.calibration("", 0.7).pose) for camera in drives.CALIBRATIONS)
    other = Task("", replace(drives.CAR, cameras=turned))
    alike = policy.eval()(sample)["action_loss"].prediction
    context = replace(sample.context, task=(sample.context.task[0], other))
    mixed = policy(replace(sample, context=context))["action_loss"].prediction
    context = replace(sample.context, task=(other, other))
    others = policy(replace(sample, context=context))["action_loss"].prediction
    rows = [each.view(2, -1) for each in (alike, mixed, others)]
    torch.testing.assert_close(rows[1][0], rows[0][0])
    torch.testing.assert_close(rows[1][1], rows[2][1])
    assert not torch.allclose(rows[0][1], rows[1][1])


def test_the_policy_acts_when_all_sensors_have_failed():
    policy, sample = sample_of("driving-taught-lstm")
    keys = policy.observation_keys()
    chunk = plan(policy, without(sample.context, *keys))
    assert chunk.shape == (4, 6, 3)
    assert chunk.isfinite().all()
    words = sample.context.now[TOKENS_KEY].value
    assert not torch.equal(words[0], words[1])
    assert not torch.equal(chunk[0], chunk[1])  # the instruction is still heard


@torch.no_grad()
def test_acting_step_by_step_equals_learning_from_the_sequence():
    """The prediction at every frame of a window is the plan that the policy makes when it comes there by driving."""
    policy, sample = sample_of("driving-taught-lstm", rows=2)
    policy.eval()
    offsets = policy.config.temporal.offsets
    learned = policy(sample)["action_loss"].prediction.view(2, len(offsets), 6, 3)
    state = policy.initial_state(2)
    for place, offset in enumerate(offsets):
        now = {}
        for key in sample.context.now:
            track = sample.context.track(key)
            now[key] = replace(track.select(track.offset == offset), offset=torch.zeros(1, dtype=torch.int64))
        first = torch.full((2,), place == 0)
        chunk, state = policy.act(Context({}, now, sample.context.task, first), state)
        torch.testing.assert_close(chunk.value, learned[:, place])


def test_every_frame_of_a_sequence_learns_the_waypoints_from_there_on():
    """The plans of a circle are the same at all frames, although past actions are steps and future ones waypoints."""
    policy, sample = sample_of("driving-taught-lstm", rows=2)
    source, steps = drives.drives(), torch.tensor([2.0, 0.0, 0.2])
    window = next(window for window in policy.training_windows() if window.key == ACTION_KEY)
    whole = Track.of(steps.expand(2, len(window.offsets), 3).clone(), window.offsets)
    past, future = whole.select(whole.offset < 0), whole.select(whole.offset >= 0)
    context = replace(sample.context, past={**sample.context.past, ACTION_KEY: past})
    context, later = Waypoints(source.rate_hz).forward(context, {ACTION_KEY: future})
    target = policy(TimelineSample(context, later, sample.seed))["action_loss"].target
    torch.testing.assert_close(target, target[:1].expand_as(target), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(target[:2].mean(dim=0), later[ACTION_KEY].value[0], rtol=1e-5, atol=1e-5)


def test_what_is_dropped_in_training_follows_from_the_seeds_alone():
    policy = POLICIES["driving"].build()
    config = replace(policy.config, modality_dropout=0.5, state_dropout=0.5)
    torch.manual_seed(0)
    dropping = MultiSensorVLA(config)
    dropping.load_state_dict(policy.state_dict())
    _, sample = sample_of("driving", rows=16)
    with torch.no_grad():
        full = dropping.eval()(sample)["action_loss"].prediction
        torch.testing.assert_close(full, policy(sample)["action_loss"].prediction)
        first, again = (dropping.train()(sample)["action_loss"].prediction for _ in range(2))
        other = dropping(replace(sample, seed=sample.seed + 1))["action_loss"].prediction
    assert torch.equal(first, again)
    changed = [(each - full).abs().amax(dim=(1, 2)) > 1e-6 for each in (first, other)]
    assert 8 <= int(changed[0].sum()) <= 16
    assert not torch.equal(first, other)


def test_a_policy_learns_what_its_command_says():
    """Frames and sensors are the same; only words tell the turns apart."""
    torch.manual_seed(0)
    policy = MultiSensorVLA(drives.tiny_config(sensors=(), reads_state=False))
    ids = torch.full((2, 6), -1)
    ids[0, :2], ids[1, :2] = torch.tensor([1, 2]), torch.tensor([1, 3])
    task = (Task("", drives.CAR),) * 2
    context = Context({}, {TOKENS_KEY: Track.of(ids[:, None], (0,))}, task, torch.zeros(2, dtype=torch.bool))
    wanted = torch.tensor([1.0, -1.0])[:, None, None].expand(2, 6, 3)
    sample = TimelineSample(context, {ACTION_KEY: Track.of(wanted, range(6))}, torch.arange(2))
    optimizer = torch.optim.Adam(policy.parameters(), lr=1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        Objective()(policy(sample)).total.backward()
        optimizer.step()
    assert Objective()(policy(sample)).total < 0.15


def test_modes_are_told_with_their_probabilities():
    policy, sample = sample_of("driving-modes")
    told, _ = policy.trajectories(sample.context, policy.initial_state(4))
    assert told.waypoints.shape == (4, 3, 6, 3)
    torch.testing.assert_close(told.probability.sum(dim=1), torch.ones(4))
    single, one = sample_of("driving")
    told, after = single.trajectories(one.context, single.initial_state(4))
    assert told.waypoints.shape == (4, 1, 6, 3)
    assert told.probability.tolist() == [[1.0]] * 4
    assert after.noise.decision.tolist() == [1] * 4


def test_a_smooth_plan_begins_with_the_step_that_the_car_can_take():
    policy, sample = sample_of("driving")
    smooth = MultiSensorVLA(replace(policy.config, smooth_plan=True)).eval()
    smooth.load_state_dict(policy.state_dict())
    plain, changed = plan(policy, sample.context), plan(smooth, sample.context)
    assert torch.equal(plain[:, 1:], changed[:, 1:])
    assert not torch.equal(plain[:, 0], changed[:, 0])


@pytest.mark.parametrize("name", ["driving", "driving-modes"])
def test_the_way_forward_counts_as_the_config_says(name):
    """The head predicts a larger way forward, of which errors count more; plans are told in the units of before."""
    policy, sample = sample_of(name)
    weighed = MultiSensorVLA(replace(policy.config, forward_weight=4.0, smooth_plan=False)).eval()
    weighed.load_state_dict(policy.state_dict())
    plain = MultiSensorVLA(replace(policy.config, smooth_plan=False)).eval()
    plain.load_state_dict(policy.state_dict())
    scale = torch.tensor([2.0, 1.0, 1.0])
    torch.testing.assert_close(plan(weighed, sample.context) * scale, plan(plain, sample.context))
    told, _ = weighed.trajectories(sample.context, weighed.initial_state(4))
    other, _ = plain.trajectories(sample.context, plain.initial_state(4))
    torch.testing.assert_close(told.waypoints[..., 1:], other.waypoints[..., 1:])
    assert not torch.allclose(told.waypoints[..., 0], other.waypoints[..., 0])
    if name == "driving":
        term, before = weighed(sample)["action_loss"], plain(sample)["action_loss"]
        torch.testing.assert_close(term.target, before.target * scale)


class Thermometer(nn.Module):
    """A sensor of one's own."""

    def __init__(self, output_dim: int, scale: float = 1.0) -> None:
        super().__init__()
        self.output_dim, self.scale = output_dim, scale
        self.layer = nn.Linear(1, output_dim)

    def forward(self, value: torch.Tensor) -> torch.Tensor:
        return self.layer(value * self.scale)


def test_a_sensor_of_ones_own_is_read_and_may_be_missing():
    torch.manual_seed(0)
    policy = MultiSensorVLA(drives.tiny_config(sensors=()), sensor_encoders={"warmth": Thermometer(5)}).eval()
    key = "observation.warmth"
    assert key in policy.observation_keys()
    shapes = {key: (1,), STATE_KEY: (4,), ACTION_KEY: (3,), TOKENS_KEY: (6,)}
    sample = laws.random_sample(policy.windows(), shapes, body=drives.CAR)
    laws.check_padding_invariance(policy, laws.with_gaps(sample))
    torch.testing.assert_close(plan(policy, without(sample.context, key)), plan(policy, invalid(sample.context, key)))
    assert not torch.allclose(plan(policy, sample.context), plan(policy, without(sample.context, key)))
    with pytest.raises(ValueError, match=r"sensor_encoders\['mine'\]: Linear has no attribute output_dim"):
        MultiSensorVLA(drives.tiny_config(), sensor_encoders={"mine": nn.Linear(1, 2)})


@pytest.mark.parametrize("name", ["cameras", "lidar", "imu", "state", "front", "vision", "scene"])
def test_a_sensor_of_ones_own_cannot_be_called_as_a_part_of_the_policy(name: str):
    with pytest.raises(ValueError, match=f"is called '{name}', as is a part of the policy; choose another name$"):
        MultiSensorVLA(drives.tiny_config(), sensor_encoders={name: Thermometer(5)})


@pytest.mark.parametrize("name", ["", "points.lidar"])
def test_a_sensor_of_ones_own_has_a_name_without_dots(name: str):
    with pytest.raises(ValueError, match=r"without dots, and name a stream other than observation.NAME as model"):
        MultiSensorVLA(drives.tiny_config(), sensor_encoders={name: Thermometer(5)})


def test_a_registered_encoder_is_named_in_the_config(monkeypatch):
    monkeypatch.setitem(SENSOR_ENCODER_REGISTRY, "thermometer", Thermometer)
    own = {"warmth": OwnSensorConfig("thermometer", 5, "state", (1,), options={"scale": 2.0})}
    policy = MultiSensorVLA(drives.tiny_config(own_sensors=own))
    assert policy.encoder.own["warmth"].scale == 2.0
    assert policy.config.streams()["observation.warmth"].shape == (1,)
    with pytest.raises(ValueError, match=r"warmth.encoder='mine' is unknown; registered are .*'thermometer'"):
        MultiSensorVLA(drives.tiny_config(own_sensors={"warmth": OwnSensorConfig("mine", 5, shape=(1,))}))


def test_past_words_are_asked_for_sequences_only():
    single, sequences = (POLICIES[name].build() for name in ("driving", "driving-taught-lstm"))
    assert WORDS_KEY not in {window.key for window in training_windows(single)}
    assert {window.key: window.offsets for window in training_windows(sequences)}[WORDS_KEY] == (-3, -2, -1)
    assert POSE_KEY not in single.observation_keys()
    assert all(window.optional for window in sequences.windows() if window.key != ACTION_KEY)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"sensors": ("cameras", "cameras")}, "must be some of cameras, lidar, radar, imu, none twice"),
        ({"sensors": "lidar"}, r"model.sensors='lidar' must be a list, such as \[lidar\]"),
        ({"cameras": ()}, r"model.cameras=\[\] must name at least one"),
        ({"front_camera": "observation.images.left"}, "is not among model.cameras"),
        ({"sensors": ("imu",), "temporal": BEVTemporalConfig()}, "add one of cameras, lidar, radar"),
        ({"num_modes": 3, "action_head": "diffusion"}, "come from the head modes, not 'diffusion'"),
        ({"action_head_options": {"mpl": {}}}, "model.action_head_options.mpl"),
        ({"modality_dropout": 1.0}, "modality_dropout=1.0 must be at least 0 and below 1"),
        ({"bev_tokens": 0}, "model.bev_tokens=0 must be at least 1"),
        ({"image_size": (0, 4)}, r"model.image_size=\[0, 4\]"),
        ({"rate_hz": 0.0}, "model.rate_hz=0"),
        ({"forward_weight": 0.0}, "model.forward_weight=0.0 must be greater than 0"),
        ({"depth_weight": float("nan")}, "model.depth_weight=nan must be finite, and not negative"),
        ({"depth_weight": 1.0, "sensors": ("lidar",)}, "model.depth_weight=1.0 is of cameras with model.lift.kind"),
    ],
)
def test_settings_that_do_not_fit_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        MultiSensorVLAConfig(**fields)
    with pytest.raises(ValueError, match="past_frames=0 must be at least 1"):
        BEVTemporalConfig(past_frames=0)


def test_lidar_teaches_the_depths_of_pictures_and_is_not_needed_to_drive():
    policy, sample = sample_of("driving-taught")
    assert LIDAR_KEY not in {window.key for window in policy.windows()}
    assert LIDAR_KEY in {window.key for window in training_windows(policy)}
    ahead = torch.tensor([[[5.0, 0.0, 1.5, 0.0], [7.0, 0.0, 1.5, 0.0]]]).expand(4, 2, 4)
    cloud = Track.of_points(ahead[:, None], (0,))
    context = replace(sample.context, now={**sample.context.now, LIDAR_KEY: cloud})
    term = policy(replace(sample, context=context))["depth_loss"]
    assert (term.kind, term.weight) == ("cross_entropy", 0.5)
    # The front camera is 1 m ahead of the axle: both points lie in one feature, 4 m and 6 m away, and the nearest
    # counts. The bins lie 2 m apart, from 2 m on.
    assert term.valid[:, 0].sum().item() == 4
    assert not term.valid[:, 1].any()
    assert term.target[term.valid].tolist() == [1] * 4
    assert "depth_loss" not in policy(replace(sample, context=without(sample.context, LIDAR_KEY)))
