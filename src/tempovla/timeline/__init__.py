"""The contract: windows on a timeline, with validity, that dataset, model, loss, rollout and server share.

Offsets are integer control steps relative to *now*: offset 0 is the newest observation, and the action at
offset 0 is the first future action. Import the types from this package; each lives in a module of its own.
"""

from tempovla.timeline.bundle import Bundle
from tempovla.timeline.policy import ActionChunk, LossTerm, NoisyPolicy, Policy
from tempovla.timeline.sample import Context, TimelineSample
from tempovla.timeline.source import EpisodeInfo, EpisodeSource, Reading, Statistics, StreamInfo
from tempovla.timeline.task import Embodiment, Task
from tempovla.timeline.track import Track, Tracks
from tempovla.timeline.transform import Transform
from tempovla.timeline.window import Window, parse_offsets, parse_window

__all__ = [
    "ActionChunk",
    "Bundle",
    "Context",
    "Embodiment",
    "EpisodeInfo",
    "EpisodeSource",
    "LossTerm",
    "NoisyPolicy",
    "Policy",
    "Reading",
    "Statistics",
    "StreamInfo",
    "Task",
    "TimelineSample",
    "Track",
    "Tracks",
    "Transform",
    "Window",
    "parse_offsets",
    "parse_window",
]
