"""The contract: windows on a timeline, with validity, that dataset, model, loss, rollout and server share.

Offsets are integer control steps relative to *now*: offset 0 is the newest observation, and the action at
offset 0 is the first future action. Import the types from this package; each lives in a module of its own, which is
loaded when it is asked for: most need torch, which simulator workers do without.
"""

from typing import TYPE_CHECKING

from tempovla.timeline.lazy import lazy_names

if TYPE_CHECKING:
    from tempovla.timeline.bundle import Bundle
    from tempovla.timeline.calibration import CameraCalibration
    from tempovla.timeline.capabilities import (
        EncodingPolicy,
        ExploringPolicy,
        NoisyPolicy,
        PlanTellingPolicy,
        PlanTold,
        PredictingPolicy,
        Prediction,
        ReportingPolicy,
        ScheduledPolicy,
        SequencePolicy,
        ShardedPolicy,
        StridedPolicy,
        training_windows,
        window_ends,
    )
    from tempovla.timeline.policy import (
        ActionChunk,
        LossTerm,
        LossTerms,
        Metric,
        Policy,
        Progress,
    )
    from tempovla.timeline.sample import Context, TimelineSample
    from tempovla.timeline.source import EpisodeInfo, EpisodeSource, Reading, Statistics, StreamInfo
    from tempovla.timeline.task import Embodiment, Task
    from tempovla.timeline.track import Track, Tracks
    from tempovla.timeline.transform import Transform
    from tempovla.timeline.window import Window, parse_offsets, parse_window

__all__ = [
    "ActionChunk",
    "Bundle",
    "CameraCalibration",
    "Context",
    "Embodiment",
    "EncodingPolicy",
    "EpisodeInfo",
    "EpisodeSource",
    "ExploringPolicy",
    "LossTerm",
    "LossTerms",
    "Metric",
    "NoisyPolicy",
    "PlanTellingPolicy",
    "PlanTold",
    "Policy",
    "PredictingPolicy",
    "Prediction",
    "Progress",
    "Reading",
    "ReportingPolicy",
    "ScheduledPolicy",
    "SequencePolicy",
    "ShardedPolicy",
    "Statistics",
    "StreamInfo",
    "StridedPolicy",
    "Task",
    "TimelineSample",
    "Track",
    "Tracks",
    "Transform",
    "Window",
    "parse_offsets",
    "parse_window",
    "training_windows",
    "window_ends",
]

_MODULES = {
    "bundle": ("Bundle",),
    "calibration": ("CameraCalibration",),
    "capabilities": (
        "EncodingPolicy",
        "ExploringPolicy",
        "NoisyPolicy",
        "PlanTellingPolicy",
        "PlanTold",
        "PredictingPolicy",
        "Prediction",
        "ReportingPolicy",
        "ScheduledPolicy",
        "SequencePolicy",
        "ShardedPolicy",
        "StridedPolicy",
        "training_windows",
        "window_ends",
    ),
    "policy": (
        "ActionChunk",
        "LossTerm",
        "LossTerms",
        "Metric",
        "Policy",
        "Progress",
    ),
    "sample": ("Context", "TimelineSample"),
    "source": ("EpisodeInfo", "EpisodeSource", "Reading", "Statistics", "StreamInfo"),
    "task": ("Embodiment", "Task"),
    "track": ("Track", "Tracks"),
    "transform": ("Transform",),
    "window": ("Window", "parse_offsets", "parse_window"),
}

if not TYPE_CHECKING:
    __getattr__ = lazy_names(__name__, _MODULES)
