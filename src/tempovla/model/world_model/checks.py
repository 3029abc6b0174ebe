"""What is refused where observations, states and actions enter a world model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from tempovla.model.world_model.picture_size import PICTURE_PX
from tempovla.model.world_model.rssm_state import RSSMState
from tempovla.timeline import Context
from tempovla.timeline.keys import STATE_KEY

PICTURE_SHAPE = (3, PICTURE_PX, PICTURE_PX)
"""Shape of the pictures that world models read: colours, height and width [px]."""


class MissingStreamError(ValueError):
    """An observation lacks a stream that the world model reads.

    Attributes:
        key: of the stream.
    """

    def __init__(self, key: str, known: list[str]) -> None:
        super().__init__(f"the observation lacks {key!r}, which the world model reads; it holds {known}; give it")
        self.key = key


def check_context(observation: Any) -> None:
    """Refuse an observation of another type.

    Raises:
        ValueError: naming the type.
    """
    if not isinstance(observation, Context):
        raise ValueError(
            f"the observation is a {type(observation).__name__}; give a Context of tempovla.timeline, such as "
            f"Context({{}}, {{{STATE_KEY!r}: Track.of(state[:, None], (0,))}}, tasks, first)"
        )


def check_observation(observation: Any, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Refuse an observation that does not fit a world model.

    Args:
        observation: what is seen now.
        shapes: of one step of each stream that is read, by key.

    Raises:
        ValueError: naming the stream, if it is missing or has another shape.
    """
    check_context(observation)
    for key, shape in shapes.items():
        if key not in observation.now:
            raise MissingStreamError(key, sorted(observation.now))
        actual = tuple(observation.now[key].value.shape[2:])
        if actual != shape:
            raise ValueError(
                f"{key!r} has the shape {actual} a step, but the world model reads {shape}; give it in that size"
            )


def check_seen(observation: Context) -> None:
    """Refuse an observation that holds something that is not finite where it is valid.

    Raises:
        ValueError: naming the stream and the value.
    """
    for key, track in observation.now.items():
        if not track.value.is_floating_point():
            continue
        seen = track.value[track.valid]
        wrong = seen[~seen.isfinite()]
        if wrong.numel():
            raise ValueError(f"{key!r} holds {wrong[0].item()}; repair it, or mark its step as invalid")


def check_world(world: Any) -> None:
    """Refuse what is no world model.

    Raises:
        ValueError: naming its type, and where a policy has its world model.
    """
    if not callable(getattr(world, "encode", None)) or not callable(getattr(world, "imagine", None)):
        raise ValueError(
            f"the world model is a {type(world).__name__}; give an object with the methods of WorldModel, such as "
            "policy.agent.planning_world of a WorldModelPolicy"
        )


def check_state(state: Any) -> None:
    """Refuse what is no state of a recurrent state-space model.

    Raises:
        ValueError: naming its type.
    """
    if not isinstance(state, RSSMState):
        raise ValueError(f"the state is a {type(state).__name__}; give an RSSMState, as encode and imagine return it")


def check_features(features: Tensor, size: int) -> None:
    """Refuse features of another size than something is predicted from.

    Args:
        features: (..., F) of states.
        size: F.

    Raises:
        ValueError: naming both.
    """
    if features.shape[-1] != size:
        raise ValueError(
            f"features {tuple(features.shape)} have the size {features.shape[-1]}, but state_dim={size} is read; build "
            "it with state_dim=RSSM.feature_dim, the size of all that a state holds"
        )


def check_imagined(actions: Any, rows: int, action_dim: int) -> None:
    """Refuse actions that a world model cannot imagine from a state.

    Args:
        actions: (B, N, H, A).
        rows: of the state, B.
        action_dim: A.

    Raises:
        ValueError: if they are of another shape, or no steps.
    """
    if not isinstance(actions, Tensor):
        raise ValueError(f"actions are a {type(actions).__name__}; give a tensor, such as torch.as_tensor(actions)")
    if actions.dim() != 4 or actions.shape[3] != action_dim:
        raise ValueError(
            f"actions {tuple(actions.shape)} must be (rows, candidates, steps, {action_dim}); give them in that shape"
        )
    if actions.shape[0] != rows:
        raise ValueError(
            f"actions {tuple(actions.shape)} have {actions.shape[0]} rows, but the state has {rows}; give as many"
        )
    if actions.shape[2] == 0:
        raise ValueError(f"actions {tuple(actions.shape)} have no steps; give one at least")


@contextmanager
def of_a_goal() -> Iterator[None]:
    """Say that it is the goal that lacks a stream which the world model reads.

    Raises:
        ValueError: naming the stream.
    """
    try:
        yield
    except (KeyError, MissingStreamError) as problem:
        key = problem.key if isinstance(problem, MissingStreamError) else problem.args[0]
        raise ValueError(f"the goal lacks {key!r}, which the world model reads; give it") from problem
