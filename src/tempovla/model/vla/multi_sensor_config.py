"""Sensors, sizes and parts of a policy that drives with many sensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Literal

from tempovla.model.action_head.registry import ACTION_HEAD_REGISTRY
from tempovla.model.fusion.bev_config import LiftConfig
from tempovla.model.sensor.bev import BEVGridConfig
from tempovla.model.temporal.core.config import TemporalPartConfig
from tempovla.model.vla.own_sensor_config import OwnSensorConfig, own_key
from tempovla.model.vla.token_fusion_config import FUSIONS, FusionKind, TokenFusionConfig
from tempovla.model.vlm.config import LLMBackboneConfig
from tempovla.timeline.driving import (
    ACTION_NAMES,
    BOX_NAMES,
    BOXES_KEY,
    CAMERA_KEYS,
    CONTROL_RATE_HZ,
    HEAD_NAMES,
    HEADS_KEY,
    IMU_KEY,
    IMU_NAMES,
    LIDAR_KEY,
    LIDAR_NAMES,
    LIGHT_KEY,
    LIGHT_NAMES,
    RADAR_KEY,
    RADAR_NAMES,
    ROAD_KEY,
    ROAD_NAMES,
    STATE_NAMES,
)
from tempovla.timeline.keys import ACTION_KEY, POSE_KEY, STATE_KEY
from tempovla.timeline.streams import StreamSpec

Sensor = Literal["cameras", "lidar", "radar", "imu"]
SENSORS: tuple[Sensor, ...] = ("cameras", "lidar", "radar", "imu")
MAPPED: tuple[Sensor, ...] = ("cameras", "lidar", "radar")
"""Sensors that are seen in the bird's eye view, or become tokens that attend to each other."""
_OF_BEV = ("lift", "bev_dim", "bev_blocks", "bev_tokens")
"""Fields that the bird's eye view alone has."""
POINT_STREAMS: dict[Sensor, tuple[str, tuple[str, ...]]] = {
    "lidar": (LIDAR_KEY, LIDAR_NAMES),
    "radar": (RADAR_KEY, RADAR_NAMES),
    "imu": (IMU_KEY, IMU_NAMES),
}
"""Key and columns of the streams of points, by sensor."""
_POSE_DIM = len(ACTION_NAMES)
"""A pose has as many numbers as the step from one to the next."""


@dataclass(frozen=True, kw_only=True)
class BEVTemporalConfig(TemporalPartConfig):
    """A temporal encoder over the bird's eye views of the last frames, which ego motion brings onto the present one, or
    over their fused tokens.

    Attributes:
        past_frames: how many earlier frames are kept and read beside the present one.
        sequence_length: number of frames in a training window. Every frame is encoded once, and all are learned from.
        cell_size: cells of the bird's eye view along each side of a place whose past is read.
    """

    encoder_type: str = "lstm"
    num_layers: int = 1
    dropout: float = 0.0
    past_frames: int = 3
    sequence_length: int = 8
    cell_size: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("past_frames", "sequence_length", "cell_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"model.temporal.{name}={getattr(self, name)} must be at least 1")
        if not self.use_causal_mask:
            raise ValueError(
                "model.temporal.use_causal_mask=false is of no use: only the present frame is read; leave it"
            )

    @property
    def offsets(self) -> tuple[int, ...]:
        """The frames of a training window, in control steps relative to now."""
        return tuple(range(1 - self.sequence_length, 1))


@dataclass(frozen=True)
class MultiSensorVLAConfig:
    """Sensors to a bird's eye view and tokens, or to tokens alone, these and the instruction to features, and an action
    head.

    Attributes:
        sensors: sensors that are read: cameras, lidar, radar, imu; none of them makes a blind policy.
        cameras: keys of the image streams.
        front_camera: the camera that gives tokens of its own beside the bird's eye view, such as for traffic lights, or
            more tokens than the others; null for none.
        front_tokens: rows and columns of these tokens.
        image_size: height and width of the pictures that the model sees [px].
        front_size: those of the picture that the front camera's tokens are made from, by a network of its own, as
            traffic lights are small; null makes them from the features of the bird's eye view.
        reads_state: whether the ego status is read: speed, acceleration, yaw rate and steering angle.
        own_sensors: further sensors by name.
        fusion: how sensors come together: `bev` puts them into a bird's eye view, by the cameras' calibrations;
            `cross_modal` makes tokens of them, and each modality attends to all others; `hierarchical` makes a 3-D
            scene of the tokens of LiDAR and radar, and then adds those of the cameras.
        token_fusion: sizes of the fusions `cross_modal` and `hierarchical`; null for the default ones.
        grid: the cells of the bird's eye view; points outside it are not seen by any fusion.
        lift: how the pictures come into it.
        bev_dim: channels of the bird's eye view.
        bev_blocks: residual blocks over it.
        bev_tokens: tokens along each side of it.
        width: width of a token; with a language model its own width is used.
        max_lidar_points: number of LiDAR points that are seen; more are thinned evenly.
        max_radar_points: number of radar targets that are seen.
        language: a language model over all tokens and the instruction; null embeds the instruction's words.
        vocabulary: number of hashed words that are told apart without a language model.
        max_instruction_tokens: number of tokens of the longest instruction.
        film: whether the instruction also scales and shifts the features, so that a turn changes more than one token.
        token_dim: every token is projected to this many dimensions before all of them are put together.
        feature_dim: number of features that the action head gets.
        temporal: the temporal encoder; null sees the present frame only.
        modality_dropout: share of the samples in training in which a sensor is left out, for each sensor. A policy that
            learned without some sensors copes with their failure.
        state_dropout: share of the samples in training in which the ego status is left out, so that the policy does not
            merely go on as it drives.
        depth_weight: weight of a loss by which `lift.kind=splat` learns the depths that LiDAR measures. It reads the
            LiDAR in training, also where the policy drives without it. 0 leaves it out.
        occupancy_weight: weight of a loss by which the bird's eye view, where there is one, learns which of its cells
            other road users cover. It reads their boxes in training alone. 0 leaves it out.
        occupancy_times: moments from now on of which it learns that [s]; 0 is now. Boxes go on at constant velocity.
        occupancy_positive_weight: how much more covered cells count in this loss than free ones.
        brake_threshold: probability from which on a cell counts as covered when the policy drives: it then goes along
            its trajectory only as fast as it meets no such cell. It needs `occupancy_weight`, and can be changed for a
            trained policy. 0 drives every trajectory as it is.
        road_weight: weight of a loss by which the bird's eye view, where there is one, learns on which of its cells one
            can drive. It reads the map in training alone. 0 leaves it out.
        light_weight: weight of a loss by which the front camera, where it is read, learns to find the next traffic
            light on the route, and what it shows, of which a token is made. Where it is, is known in training alone. 0
            leaves it out.
        action_head: name of the action head, from `ACTION_HEAD_REGISTRY`.
        action_head_options: options of action heads, by the name of the head. Only those of `action_head` are used.
        num_modes: number of trajectories, with probabilities, that are predicted; more than 1 takes the head `modes`.
        action_horizon: number of waypoints of a trajectory.
        forward_weight: how many times as much a squared error of the way forward counts in the loss of trajectories.
            More than 1 lets the policy learn its speed at the expense of its steering.
        rate_hz: control rate, which is that of the waypoints [Hz].
        smooth_plan: let the first step of a trajectory be the one that the vehicle can take when it follows the whole
            of it, by pure pursuit.
        control_fields: the settings that control alone reads; they can be given anew to a trained policy.
    """

    control_fields: ClassVar[tuple[str, ...]] = ("brake_threshold",)

    sensors: tuple[Sensor, ...] = SENSORS
    cameras: tuple[str, ...] = CAMERA_KEYS
    front_camera: str | None = CAMERA_KEYS[0]
    front_tokens: tuple[int, int] = (4, 7)
    image_size: tuple[int, int] = (112, 200)
    front_size: tuple[int, int] | None = None
    reads_state: bool = True
    own_sensors: Mapping[str, OwnSensorConfig] = field(default_factory=dict)
    fusion: FusionKind = "bev"
    token_fusion: TokenFusionConfig | None = None
    grid: BEVGridConfig = field(default_factory=lambda: BEVGridConfig(resolution=2.0))
    lift: LiftConfig = field(default_factory=LiftConfig)
    bev_dim: int = 64
    bev_blocks: int = 2
    bev_tokens: int = 8
    width: int = 64
    max_lidar_points: int = 8192
    max_radar_points: int = 256
    language: LLMBackboneConfig | None = None
    vocabulary: int = 1024
    max_instruction_tokens: int = 16
    film: bool = False
    token_dim: int = 16
    feature_dim: int = 256
    temporal: BEVTemporalConfig | None = None
    modality_dropout: float = 0.0
    state_dropout: float = 0.0
    depth_weight: float = 0.0
    occupancy_weight: float = 0.0
    occupancy_times: tuple[float, ...] = (0.0, 1.0)
    occupancy_positive_weight: float = 3.0
    brake_threshold: float = 0.0
    road_weight: float = 0.0
    light_weight: float = 0.0
    action_head: str = "mlp"
    action_head_options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    num_modes: int = 1
    action_horizon: int = 6
    forward_weight: float = 1.0
    rate_hz: float = CONTROL_RATE_HZ
    smooth_plan: bool = False

    def __post_init__(self) -> None:
        self._check_sensors()
        self._check_sizes()
        for name in ("modality_dropout", "state_dropout"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise ValueError(f"model.{name}={getattr(self, name)} must be at least 0 and below 1")
        for name in self.action_head_options:
            if name not in ACTION_HEAD_REGISTRY:
                known = sorted(ACTION_HEAD_REGISTRY)
                raise ValueError(f"model.action_head_options.{name}: no such action head; choose from {known}")
        if self.num_modes > 1 and self.action_head not in ("mlp", "modes"):
            raise ValueError(
                f"model.num_modes={self.num_modes} trajectories come from the head modes, not "
                f"{self.action_head!r}; leave out one of the two settings"
            )
        self._check_fusion()
        self._check_supervision()
        if self.temporal is not None and self.fusion == "bev" and not self.mapped:
            raise ValueError(
                f"model.temporal reads earlier bird's eye views, which sensors={list(self.sensors)} do not make; add "
                f"one of {', '.join(MAPPED)}, or set model.temporal=null"
            )

    def _check_supervision(self) -> None:
        if self.depth_weight and not (self.uses("cameras") and self.lift.kind == "splat"):
            raise ValueError(
                f"model.depth_weight={self.depth_weight} is of cameras with model.lift.kind=splat alone; set it to 0"
            )
        for name in ("depth_weight", "occupancy_weight", "road_weight", "light_weight"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"model.{name}={getattr(self, name)} must be finite, and not negative")
        times = self.occupancy_times
        if not times or len(set(times)) != len(times) or not all(0 <= time < float("inf") for time in times):
            raise ValueError(f"model.occupancy_times={list(times)} must be moments of at least 0 s, and none twice")
        if not 0 < self.occupancy_positive_weight < float("inf"):
            raise ValueError(
                f"model.occupancy_positive_weight={self.occupancy_positive_weight} must be greater than 0, and finite"
            )
        if not 0 <= self.brake_threshold < 1 or (self.brake_threshold and not self.occupancy_weight):
            raise ValueError(
                f"model.brake_threshold={self.brake_threshold} must be a probability below 1, and needs predictions of "
                "where others are; set it to 0, or train a policy with model.occupancy_weight above 0"
            )

    def _check_sensors(self) -> None:
        if isinstance(self.sensors, str):
            raise ValueError(f"model.sensors={self.sensors!r} must be a list, such as [{self.sensors}]")
        unknown = [sensor for sensor in self.sensors if sensor not in SENSORS]
        if unknown or len(set(self.sensors)) != len(self.sensors):
            raise ValueError(f"model.sensors={list(self.sensors)} must be some of {', '.join(SENSORS)}, none twice")
        if "cameras" in self.sensors and (not self.cameras or len(set(self.cameras)) != len(self.cameras)):
            raise ValueError(f"model.cameras={list(self.cameras)} must name at least one camera, and none twice")
        if self.front_camera is not None and self.uses("cameras") and self.front_camera not in self.cameras:
            raise ValueError(
                f"model.front_camera={self.front_camera} is not among model.cameras={list(self.cameras)}; name one of "
                "them, or null"
            )

    def _check_fusion(self) -> None:
        if self.fusion not in FUSIONS:
            raise ValueError(f"model.fusion={self.fusion!r} is unknown; choose from {', '.join(FUSIONS)}")
        if self.fusion == "bev":
            if self.token_fusion is not None:
                raise ValueError(
                    "model.token_fusion has no effect with model.fusion=bev; set it to null, or choose cross_modal or "
                    "hierarchical"
                )
            return
        least = MAPPED if self.fusion == "cross_modal" else ("lidar", "radar")
        if not set(least) & set(self.sensors):
            raise ValueError(
                f"model.fusion={self.fusion} needs one of {', '.join(least)}, but model.sensors={list(self.sensors)}; "
                "add one, or choose another fusion"
            )
        defaults = {each.name: each for each in fields(self)}
        for name in _OF_BEV:
            default = defaults[name]
            usual = default.default_factory() if callable(default.default_factory) else default.default
            if getattr(self, name) != usual:
                raise ValueError(
                    f"model.{name} has no effect with model.fusion={self.fusion}; leave it out, as the config "
                    "driving_city_tokens does"
                )
        if self.temporal is not None and self.temporal.cell_size != BEVTemporalConfig().cell_size:
            raise ValueError(
                f"model.temporal.cell_size={self.temporal.cell_size} has no effect with model.fusion={self.fusion}, "
                "whose tokens have no place on a map; leave it out"
            )
        if self.depth_weight:
            raise ValueError(
                f"model.depth_weight={self.depth_weight} has no effect with model.fusion={self.fusion}; set it to 0"
            )

    def _check_sizes(self) -> None:
        widths = ("bev_dim", "bev_tokens", "width", "vocabulary", "token_dim", "feature_dim", "num_modes")
        limits = ("max_lidar_points", "max_radar_points", "max_instruction_tokens", "action_horizon")
        for name in (*widths, *limits):
            if getattr(self, name) < 1:
                raise ValueError(f"model.{name}={getattr(self, name)} must be at least 1")
        for name in ("image_size", "front_size", "front_tokens"):
            size = getattr(self, name)
            if size is not None and min(size) < 1:
                raise ValueError(f"model.{name}={list(size)} must be a height and a width of at least 1")
        for name in ("rate_hz", "forward_weight"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ValueError(f"model.{name}={getattr(self, name)} must be greater than 0, and finite")

    def uses(self, sensor: Sensor) -> bool:
        """Return whether a sensor is read."""
        return sensor in self.sensors

    @property
    def reads_front(self) -> bool:
        """Whether the front camera gives tokens of its own."""
        return self.uses("cameras") and self.front_camera is not None and self.fusion == "bev"

    @property
    def finds_lights(self) -> bool:
        """Whether the front camera looks for traffic lights."""
        return self.reads_front and self.light_weight > 0

    @property
    def learns_occupancy(self) -> bool:
        """Whether the bird's eye view learns where others are."""
        return bool(self.mapped) and self.occupancy_weight > 0

    @property
    def learns_road(self) -> bool:
        """Whether the bird's eye view learns where one can drive."""
        return bool(self.mapped) and self.road_weight > 0

    @property
    def without_effect(self) -> dict[str, str]:
        """By name, those of `control_fields` that a policy with these settings does not read: why, and the remedy."""
        if not self.brake_threshold or self.learns_occupancy:
            return {}
        return {"brake_threshold": "the policy has no bird's eye view, on which it would predict others; leave it out"}

    @property
    def mapped(self) -> tuple[Sensor, ...]:
        """The sensors that are read and seen in the bird's eye view."""
        return tuple(sensor for sensor in MAPPED if sensor in self.sensors and self.fusion == "bev")

    @property
    def head(self) -> str:
        """Name of the action head that is built."""
        return "modes" if self.num_modes > 1 else self.action_head

    @property
    def action_dim(self) -> int:
        """Dimensions of an action."""
        return len(ACTION_NAMES)

    def streams(self) -> dict[str, StreamSpec]:
        """Return the streams that are read and imitated, by key."""
        found = {camera: StreamSpec("image") for camera in self.cameras if self.uses("cameras")}
        for sensor, (key, names) in POINT_STREAMS.items():
            if self.uses(sensor):
                found[key] = StreamSpec("points", (len(names),))
        for name, own in self.own_sensors.items():
            found[own_key(name, own)] = StreamSpec(own.kind, own.shape or None, normalized=False)
        if self.reads_state:
            found[STATE_KEY] = StreamSpec("state", (len(STATE_NAMES),), normalized=False)
        if self.temporal is not None:
            found[POSE_KEY] = StreamSpec("state", (_POSE_DIM,), normalized=False)
        return {**found, **self.taught(), ACTION_KEY: StreamSpec("action", (self.action_dim,))}

    def taught(self) -> dict[str, StreamSpec]:
        """Return those of the streams that are read in training alone, by key."""
        found = {}
        if self.depth_weight and not self.uses("lidar"):
            found[LIDAR_KEY] = StreamSpec("points", (len(LIDAR_NAMES),))
        if self.learns_occupancy:
            found[BOXES_KEY] = StreamSpec("points", (len(BOX_NAMES),))
        if self.finds_lights:
            found[HEADS_KEY] = StreamSpec("points", (len(HEAD_NAMES),))
        if self.learns_road:
            found[ROAD_KEY] = StreamSpec("points", (len(ROAD_NAMES),))
        if self.finds_lights:
            found[LIGHT_KEY] = StreamSpec("state", (len(LIGHT_NAMES),), normalized=False)
        return found
