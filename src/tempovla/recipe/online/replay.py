"""The replay of a run: the episodes that a policy met with while it learned."""

from __future__ import annotations

from pathlib import Path

from tempovla.data.replay import ReplaySource
from tempovla.data.replay_files import DESCRIPTION
from tempovla.env.protocol import SimulatorEnv
from tempovla.timeline import StreamInfo
from tempovla.timeline.keys import ACTION_KEY, DONE_KEY, IMAGE_KEY_PREFIX, REWARD_KEY, SUCCESS_KEY, TERMINATED_KEY
from tempovla.timeline.source import StreamKind


def open_replay(folder: Path, env: SimulatorEnv, simulator: str, *, max_bytes: int, capacity: int) -> ReplaySource:
    """Return the replay of a run, whose episodes are those of one simulator and task.

    Args:
        folder: of the replay.
        env: the environment that is acted in.
        simulator: its name.
        max_bytes: most memory that episodes take; the others are read from the disk.
        capacity: most control steps that are drawn from; older episodes are then left out.

    Raises:
        ValueError: if the folder holds episodes of another simulator or task, or another run appends to them.
    """
    body = env.config.embodiment
    facts = {"simulator": simulator, "task": env.task, "settings": env.config.recording(simulator)}
    streams = streams_of(env)
    if not (folder / DESCRIPTION).exists():
        return ReplaySource.create(folder, streams, body.rate_hz, body, facts, max_bytes=max_bytes, capacity=capacity)
    return ReplaySource.open(folder, facts, streams, max_bytes=max_bytes, capacity=capacity)


def require_replay(folder: Path) -> None:
    """Refuse to go on without the episodes of a run, before anything is made in its folder.

    Raises:
        ValueError: naming the folder.
    """
    if not (folder / DESCRIPTION).exists():
        raise ValueError(
            f"{folder}: holds no replay, without which a run of learning online cannot go on; give the run's own "
            "folder, with its replay, or start a new run"
        )


def streams_of(env: SimulatorEnv) -> dict[str, StreamInfo]:
    """Return the streams of the episodes of an environment."""
    body = env.config.embodiment
    observations, _ = env.config.spaces()
    streams = {}
    for key, space in observations.spaces.items():
        kind: StreamKind = "image" if key.startswith(IMAGE_KEY_PREFIX) else "state"
        streams[key] = StreamInfo(kind, space.shape or (), str(space.dtype), body.rate_hz)
    streams[ACTION_KEY] = StreamInfo("action", (body.action_dim,), "float32", body.rate_hz)
    kinds = {REWARD_KEY: "float32", TERMINATED_KEY: "bool", SUCCESS_KEY: "bool", DONE_KEY: "bool"}
    return streams | {key: StreamInfo("scalar", (1,), dtype, body.rate_hz) for key, dtype in kinds.items()}
