"""Short drives in memory, with all sensors, for tests without a simulator."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from tempovla.data.memory import MemoryEpisode, MemorySource
from tempovla.model.sensor.bev import BEVGridConfig
from tempovla.model.vla.multi_sensor_config import BEVTemporalConfig, MultiSensorVLAConfig
from tempovla.model.vla.token_fusion_config import TokenFusionConfig
from tempovla.model.vlm.config import LLMBackboneConfig
from tempovla.timeline import CameraCalibration, Embodiment, StreamInfo
from tempovla.timeline.driving import (
    ACTION_NAMES,
    BOX_NAMES,
    BOXES_KEY,
    COMMANDS,
    CONTROL_RATE_HZ,
    HEAD_NAMES,
    HEADS_KEY,
    IMU_KEY,
    IMU_NAMES,
    LIDAR_KEY,
    LIDAR_NAMES,
    LIGHT_KEY,
    LIGHT_NAMES,
    LIGHT_STATES,
    RADAR_KEY,
    RADAR_NAMES,
    ROAD_KEY,
    ROAD_NAMES,
    STATE_NAMES,
)
from tempovla.timeline.keys import ACTION_KEY, IMAGE_KEY_PREFIX, POSE_KEY, STATE_KEY

CAMERAS = (IMAGE_KEY_PREFIX + "front", IMAGE_KEY_PREFIX + "back")
HEIGHT, WIDTH = 16, 32
COLUMNS = {LIDAR_KEY: LIDAR_NAMES, RADAR_KEY: RADAR_NAMES, IMU_KEY: IMU_NAMES}
COUNTS = {LIDAR_KEY: 40, RADAR_KEY: 6, IMU_KEY: 5}
BOXES = 4
"""Road users at a control step at the most."""
HEADS = 2
"""Heads of the traffic light at a control step at the most."""
ROAD = 24
"""Squares of the road at a control step at the most."""
LANGUAGE = LLMBackboneConfig(
    architecture={
        "model_type": "qwen2",
        "vocab_size": 32,
        "hidden_size": 8,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "max_position_embeddings": 64,
    }
)
"""A language model of few weights."""
TOKEN_FUSION = TokenFusionConfig(
    camera_dim=8,
    camera_tokens=(1, 1),
    lidar_centres=(4,),
    lidar_radii=(4.0,),
    lidar_dims=(8,),
    lidar_neighbours=4,
    num_queries=2,
    num_heads=2,
)
"""A fusion of tokens of few weights."""
TURNS = {"follow": 0.0, "left": 0.2, "right": -0.2, "straight": 0.0}


def calibration(stream: str, heading_rad: float) -> CameraCalibration:
    """A camera 1.5 m above the ground that looks in this direction of the car."""
    cos, sin = math.cos(heading_rad), math.sin(heading_rad)
    pose = ((sin, 0.0, cos, 1.0), (-cos, 0.0, sin, 0.0), (0.0, -1.0, 0.0, 1.5), (0.0, 0.0, 0.0, 1.0))
    return CameraCalibration(stream, WIDTH, HEIGHT, 20.0, 20.0, WIDTH / 2, HEIGHT / 2, pose, frame="base")


CALIBRATIONS = (calibration(CAMERAS[0], 0.0), calibration(CAMERAS[1], math.pi))
CAR = Embodiment(
    "car", len(STATE_NAMES), len(ACTION_NAMES), CONTROL_RATE_HZ, STATE_NAMES, ACTION_NAMES, cameras=CALIBRATIONS
)


def streams() -> dict[str, StreamInfo]:
    """The streams of a car with two cameras."""
    rate = CONTROL_RATE_HZ
    return {
        STATE_KEY: StreamInfo("state", (len(STATE_NAMES),), "float32", rate, STATE_NAMES),
        POSE_KEY: StreamInfo("state", (3,), "float32", rate),
        ACTION_KEY: StreamInfo("action", (len(ACTION_NAMES),), "float32", rate, ACTION_NAMES),
        BOXES_KEY: StreamInfo("points", (BOXES, len(BOX_NAMES)), "float32", rate, BOX_NAMES),
        ROAD_KEY: StreamInfo("points", (ROAD, len(ROAD_NAMES)), "float32", rate, ROAD_NAMES),
        HEADS_KEY: StreamInfo("points", (HEADS, len(HEAD_NAMES)), "float32", rate, HEAD_NAMES),
        LIGHT_KEY: StreamInfo("state", (len(LIGHT_NAMES),), "float32", rate, LIGHT_NAMES),
        **{camera: StreamInfo("image", (HEIGHT, WIDTH, 3), "uint8", rate) for camera in CAMERAS},
        **{
            key: StreamInfo("points", (COUNTS[key], len(names)), "float32", rate, names)
            for key, names in COLUMNS.items()
        },
    }


def drive(seed: int, length: int = 12) -> MemoryEpisode:
    """A drive at constant speed that turns as its commands say; a car is ahead, and a light, the same all the
    time, counts.
    """
    draw = np.random.default_rng(seed)
    commands = np.repeat(draw.choice(list(COMMANDS), 3), -(-length // 3))[:length]
    speed = draw.uniform(2.0, 8.0)
    steps = np.array([[speed / CONTROL_RATE_HZ, 0.0, TURNS[command]] for command in commands], np.float32)
    pose = np.zeros((length, 3), np.float32)
    for now in range(1, length):
        x, y, yaw = pose[now - 1]
        forward, left, turn = steps[now - 1]
        cos, sin = math.cos(yaw), math.sin(yaw)
        pose[now] = x + cos * forward - sin * left, y + sin * forward + cos * left, yaw + turn
    state = np.column_stack([np.full(length, speed), np.zeros((length, 2)), steps[:, 2]]).astype(np.float32)
    values: dict[str, Any] = {STATE_KEY: state, POSE_KEY: pose, ACTION_KEY: steps}
    for camera in CAMERAS:
        values[camera] = draw.integers(0, 256, (length, HEIGHT, WIDTH, 3)).astype(np.uint8)
    for key, names in COLUMNS.items():
        points = draw.normal(0.0, 5.0, (length, COUNTS[key], len(names))).astype(np.float32)
        points[:, -2:] = np.nan
        values[key] = points
    boxes = np.full((length, BOXES, len(BOX_NAMES)), np.nan, np.float32)
    boxes[:, 0] = [5.0, 0.0, 0.1, 4.5, 1.9, speed, 0.0, 1.0, 0.0]
    boxes[:, 1] = [-3.0, 2.0, 3.1, 4.5, 1.9, 0.0, 0.0, 0.0, 0.0]
    values[BOXES_KEY] = boxes
    ahead, left = np.meshgrid(np.arange(-3.5, 4.5), np.arange(-0.5, 2.0), indexing="ij")
    values[ROAD_KEY] = np.tile(np.stack([ahead.ravel(), left.ravel()], axis=1).astype(np.float32), (length, 1, 1))
    heads = np.full((length, HEADS, len(HEAD_NAMES)), np.nan, np.float32)
    if seed % len(LIGHT_STATES):
        heads[:, 0] = [15.0, -2.0, 3.0]
    values[HEADS_KEY] = heads
    values[LIGHT_KEY] = np.full((length, 1), seed % len(LIGHT_STATES), np.float32)
    values[IMU_KEY][..., 0] = np.linspace(-0.4, 0.0, COUNTS[IMU_KEY], dtype=np.float32)
    return MemoryEpisode(tuple(COMMANDS[command] for command in commands), length, values)


def drives(number: int = 4, length: int = 12) -> MemorySource:
    """Several drives."""
    return MemorySource("drives", CAR, streams(), [drive(seed, length) for seed in range(number)])


def tiny_config(**changed: Any) -> MultiSensorVLAConfig:
    """A model of few weights for these drives."""
    config = MultiSensorVLAConfig(
        cameras=CAMERAS,
        front_camera=CAMERAS[0],
        front_tokens=(1, 2),
        image_size=(HEIGHT, WIDTH),
        grid=BEVGridConfig(x_min=-8.0, x_max=8.0, y_min=-8.0, y_max=8.0, resolution=2.0),
        width=8,
        max_lidar_points=30,
        max_radar_points=6,
        vocabulary=64,
        max_instruction_tokens=6,
        token_dim=4,
        feature_dim=16,
        action_head_options={"mlp": {"hidden_dim": 16}, "modes": {"hidden_dim": 16}},
    )
    if changed.get("fusion", "bev") == "bev":
        lift = replace(config.lift, output_dim=8, depth_bins=4, max_depth=8.0)
        config = replace(config, lift=lift, bev_dim=8, bev_blocks=1, bev_tokens=2)
    else:
        config = replace(config, fusion=changed["fusion"], token_fusion=TOKEN_FUSION)
    return replace(config, **changed)


def tiny_temporal(**changed: Any) -> BEVTemporalConfig:
    """A temporal encoder of few weights."""
    return BEVTemporalConfig(**{"hidden_dim": 8, "num_heads": 2, "past_frames": 2, "sequence_length": 4} | changed)
