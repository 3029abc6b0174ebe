"""The policies that `driving_table.py` compares, and what they drive."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
CONFIG, TOKENS_CONFIG = CONFIGS / "driving_city.yaml", CONFIGS / "driving_city_tokens.yaml"
BLIND, ALL, NO_DROPOUT = "blind", "all sensors", "all, no dropout"
PAST = {"model.temporal.encoder_type": "lstm", "training.batch_size": 2}
"""Sequences of eight frames, which are as many frames a step as the others have."""
BASE = "base"
"""Among the settings of a policy: the name of another one whose weights it starts from."""
LONGER = {BASE: "LiDAR", "model.sensors": ["lidar"], "training.train_steps": 1500, "training.learning_rate": 3e-4}
ARMS: dict[str, dict[str, Any]] = {
    BLIND: {"model.sensors": []},
    "radar + IMU": {"model.sensors": ["radar", "imu"]},
    "LiDAR": {"model.sensors": ["lidar"]},
    "LiDAR, with the past": {"model.sensors": ["lidar"]} | PAST,
    "LiDAR, longer": LONGER,
    "LiDAR, longer, with the past": LONGER | PAST,
    "cameras": {"model.sensors": ["cameras"]},
    ALL: {},
    NO_DROPOUT: {"model.modality_dropout": 0.0},
    "all, with the past": PAST,
    "all, trajectories alone": {"model.occupancy_weight": 0, "model.road_weight": 0, "model.light_weight": 0}
    | {"model.brake_threshold": 0},
    "cross-modal fusion": {"model.fusion": "cross_modal"},
    "hierarchical fusion": {"model.fusion": "hierarchical"},
}
"""By name, how a policy differs from the config, which is `TOKENS_CONFIG` where tokens are fused."""
FUSED = (ALL, NO_DROPOUT)
"""Policies of several sensors, one of which may break."""
EXPERT = "expert"
"""The rule-based driver of the demonstrations."""

UNSEEN, DEAF = "unseen town", "wrong turns"
PLAYS: dict[str, tuple[str, ...]] = {
    "day": ("--tasks", "day"),
    "night": ("--tasks", "night"),
    "fog": ("--tasks", "fog"),
    UNSEEN: ("--tasks", "day", "--town", "hillcrest"),
    DEAF: ("--tasks", "day", "--wrong_instruction", "true"),
}
INTACT = "nothing broken"
_ANY = ("--tasks", "day,night,fog")
BROKEN: dict[str, tuple[str, ...]] = {
    INTACT: _ANY,
    "without LiDAR": (*_ANY, "--without", '["lidar"]'),
    "without radar": (*_ANY, "--without", '["radar"]'),
    "without front camera": (*_ANY, "--without", '["front"]'),
    "without cameras": (*_ANY, "--without", '["cameras"]'),
}
"""Where one of the sensors is missing; on other routes than `PLAYS`, half as many by task."""
OTHER_ROUTES = 1000
"""By how much the seed of these is larger."""
SEEN = ("day", "night", "fog")
"""Plays in the town of the demonstrations."""
WHERE: dict[str, Sequence[str]] = {
    "seen town": SEEN,
    "day": ("day",),
    "night and fog": ("night", "fog"),
    UNSEEN: (UNSEEN,),
}
"""Plays over which policies are compared."""
PAIRS = (
    (ALL, BLIND),
    (ALL, "cameras"),
    (ALL, "LiDAR"),
    ("LiDAR, with the past", "LiDAR"),
    ("LiDAR, longer, with the past", "LiDAR, longer"),
    ("all, with the past", ALL),
    ("all, trajectories alone", ALL),
    (NO_DROPOUT, ALL),
    ("cross-modal fusion", ALL),
    ("hierarchical fusion", ALL),
)
FIGURES = ("completion", "driving_score", "pdm_score", "collision", "red_lights", "off_road", "off_route", "timeout")
"""That are kept of each episode, and shown."""
OPEN_LOOP = "open loop"
CONVENTIONS = {"uniad": "UniAD", "stp3": "ST-P3, VAD"}
"""Of the distances: at the time, and the mean up to it."""
COLLISIONS = ("collision", "collision_new")

Record = dict[str, Any]
"""What is kept of an evaluation."""
