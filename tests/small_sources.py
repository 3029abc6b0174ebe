"""Sources of one short episode."""

from __future__ import annotations

import numpy as np
from tests.gripper_recordings import ACTION, FRONT, STATE

from tempovla.data.memory import MemoryEpisode, MemorySource
from tempovla.timeline import Embodiment, EpisodeSource, StreamInfo


def memory_source(name: str = "toy", instruction: str = "go", **changed: np.ndarray) -> MemorySource:
    streams = {
        STATE: StreamInfo("state", (2,), "float32", 10.0),
        ACTION: StreamInfo("action", (1,), "float32", 10.0),
        FRONT: StreamInfo("image", (2, 2, 3), "uint8", 10.0),
    }
    values = {
        STATE: np.arange(8, dtype=np.float32).reshape(4, 2),
        ACTION: np.zeros((4, 1), dtype=np.float32),
        FRONT: np.arange(48, dtype=np.uint8).reshape(4, 2, 2, 3),
    }
    episode = MemoryEpisode(instruction, 4, values | changed)
    return MemorySource(name, Embodiment("toy", 2, 1, 10.0), streams, [episode])


class Plain:
    """A source of one's own, which knows nothing of hashes."""

    def __init__(self, source: EpisodeSource) -> None:
        self.source = source

    def __getattr__(self, name: str):
        if name == "content_hash":
            raise AttributeError(name)
        return getattr(self.source, name)

    def __len__(self) -> int:
        return len(self.source)
