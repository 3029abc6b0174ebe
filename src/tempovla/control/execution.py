"""How many actions of a chunk are executed, and whether overlapping chunks are averaged."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tempovla.model.action_head.action_chunker import ActionChunker, ChunkPlayer
from tempovla.timeline import Window
from tempovla.timeline.arguments import brief, plain, whole_number
from tempovla.timeline.keys import ACTION_KEY

DEFAULT_EXECUTION_HORIZON = 6


def chunk_length(windows: Sequence[Window]) -> int | None:
    """Return the number of actions in a chunk of a policy with these windows; None if they do not show it."""
    return next((max(window.offsets) + 1 for window in windows if window.key == ACTION_KEY), None)


def choose_execution_horizon(
    asked: int | None, frame_stride: int | None, chunk: int | None = None, temporal_ensemble: float | None = None
) -> int:
    """Return how many actions of a chunk to execute: `asked`, else the policy's stride, else 6 or the whole chunk.

    With temporal ensembling the default is 1, so that every step has the opinions of as many chunks as there can be.

    Args:
        asked: None leaves it to the policy.
        frame_stride: stride of the policy; None if it may decide at any step.
        chunk: number of actions of a chunk, see `chunk_length`; None if unknown.
        temporal_ensemble: see `check_temporal_ensemble`.

    Raises:
        ValueError: if more actions are asked for than a chunk has, or another number than the only one that shows the
            policy the frames it learned from.
    """
    if asked is not None:
        asked = whole_number("execution_horizon", asked, least=1)
    if frame_stride is not None:
        if asked not in (None, frame_stride):
            raise ValueError(
                f"execution_horizon={asked} is not the policy's frame_stride={frame_stride}, the control steps between "
                "the frames it learned from; leave execution_horizon out, or train with another stride"
            )
        return frame_stride
    if asked is None:
        default = DEFAULT_EXECUTION_HORIZON if temporal_ensemble is None else 1
        return default if chunk is None else min(default, chunk)
    if chunk is not None and asked > chunk:
        raise ValueError(
            f"execution_horizon={asked} exceeds the policy's chunk of {chunk}; give {chunk} at the most, or leave "
            "execution_horizon out"
        )
    return asked


def check_temporal_ensemble(decay: float | None, name: str = "temporal_ensemble") -> None:
    """Refuse a decay that gives no weights.

    Args:
        decay: m of the weights exp(-m i) of what overlapping chunks say about a step, where i counts from 0 for the
            oldest chunk (ACT, Zhao et al., 2023); None: no ensembling.
        name: of the argument, for the message.

    Raises:
        ValueError: if it is no number, negative or not finite.
    """
    number = plain(decay)
    is_number = isinstance(number, int | float) and not isinstance(number, bool)
    if decay is not None and not (is_number and number >= 0 and math.isfinite(number)):
        raise ValueError(f"{name}={brief(number)} must be a finite number of at least 0; ACT's is 0.01")


def chunk_player(
    chunk_size: int, action_dim: int, rows: int, execution_horizon: int, temporal_ensemble: float | None
) -> ChunkPlayer:
    """Return a player that turns chunks (rows, chunk_size, action_dim) into one action a control step.

    Raises:
        ValueError: if a chunk ends before the next one comes.
    """
    if execution_horizon > chunk_size:
        raise ValueError(
            f"execution_horizon={execution_horizon} exceeds the policy's chunk of {chunk_size}; "
            "set it to that at the most"
        )
    return ChunkPlayer(ActionChunker(chunk_size, execution_horizon, temporal_ensemble), rows, action_dim)
