"""Models that read more than pictures, a state and actions."""

from __future__ import annotations

from dataclasses import dataclass

from tempovla.timeline.streams import StreamSpec

STATE, ACTION, FORCE = "observation.state", "action", "observation.force"
FRONT, DEPTH = "observation.images.front", "observation.depth.front"


@dataclass(frozen=True)
class Config:
    """Reads a force beside the state."""

    force: tuple[int, ...] | None = (3,)

    def streams(self) -> dict[str, StreamSpec]:
        return {
            STATE: StreamSpec("state", (3,)),
            FORCE: StreamSpec("state", self.force),
            FRONT: StreamSpec("image"),
            ACTION: StreamSpec("action", (2,)),
        }


@dataclass(frozen=True)
class Deep(Config):
    """Reads depth beside pictures."""

    def streams(self) -> dict[str, StreamSpec]:
        return {
            STATE: StreamSpec("state", (3,)),
            DEPTH: StreamSpec("depth"),
            FRONT: StreamSpec("image"),
            ACTION: StreamSpec("action", (2,)),
        }
