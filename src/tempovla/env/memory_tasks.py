"""Tasks of the memory benchmark: their plans and cues, and the success of guessing."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tempovla.env.rendering import Marker

Point = tuple[float, float]

TARGET_RADIUS_M = 0.08
GOAL_X_M, GOAL_Y_M = (-0.22, 0.3), (0.5, 0.88)  # further left, the arm hides it from corner2

ROOMS = 1000
"""Rooms of a house, which are the fixed initial states of the tasks that are played in rooms."""

_PAD_X_M, _PAD_Y_M = (0.12, 0.18), (0.62, 0.75)
_ROOM_PAD_X_M, _ROOM_PAD_Y_M, _ROOM_SHIFT_M = (0.1, 0.2), (0.56, 0.82), 0.005
_LESSON_BALL_RADIUS_M = 0.05  # smaller than a pad, whose colour stays in sight
_YELLOW, _BLUE, _GREEN = (1.0, 0.85, 0.05), (0.1, 0.2, 1.0), (0.1, 0.85, 0.1)
_PAD_HEIGHT_M = 0.003
_LAMP_POSITION, _LAMP_RADIUS_M = (0.05, 0.88, 0.13), 0.12

HELD_LAMP = Marker("ball", _LAMP_POSITION, _LAMP_RADIUS_M, (0.9, 0.1, 0.9))
"""Lit while the hand is held and no cue shows, so that every frame shows whether to wait."""

_GOAL_AREA_M2 = (GOAL_X_M[1] - GOAL_X_M[0]) * (GOAL_Y_M[1] - GOAL_Y_M[0])


@dataclass(frozen=True)
class Plan:
    """Targets and cues of one episode.

    Attributes:
        targets: the middles of the places that count, x and y [m] on the table, each of `TARGET_RADIUS_M`.
        order: indices of `targets`, to be touched one after the other.
        scene: what is drawn all the time.
        cue: what is drawn in the first steps only; () if nothing is, and the hand is held without.
        anywhere_counts: touching the table beside all targets is a wrong touch, instead of none.
    """

    targets: tuple[Point, ...]
    order: tuple[int, ...]
    scene: tuple[Marker, ...] = ()
    cue: tuple[Marker, ...] = ()
    anywhere_counts: bool = False


@dataclass(frozen=True)
class MemoryTask:
    """A task.

    Attributes:
        instruction: in words, the same in all episodes.
        plan: draws an episode; if the task is played in rooms, the second argument draws what the room decides.
        free_steps: control steps allowed beside those for which the hand is held; experts need half of them or more.
        chance: the success rate which no policy of one frame exceeds in expectation.
        first_pad_share: how often the best of these touches the first of the two pads; None where there are no pads,
            and it touches any spot where the goal may have been.
        in_rooms: whether a numbered room decides where the pads are, and which is right.
    """

    instruction: str
    plan: Callable[..., Plan]
    free_steps: int
    chance: float
    first_pad_share: float | None
    in_rooms: bool = False

    def draw(self, generator: np.random.Generator, house: int = 0, room: int | None = None) -> Plan:
        """Return the plan of an episode.

        Args:
            generator: of the episode.
            house: the number of the house whose rooms these are, for a task that is played in rooms.
            room: the number of the room; None draws one of the house.
        """
        if not self.in_rooms:
            return self.plan(generator)
        number = int(generator.integers(ROOMS)) if room is None else room
        return self.plan(generator, np.random.default_rng([house, number]))


def _pads(
    generator: np.random.Generator, x_m: Point = _PAD_X_M, y_m: Point = _PAD_Y_M
) -> tuple[tuple[Point, Point], tuple[Marker, Marker]]:
    """A yellow and a blue pad, one at either side of the hand."""
    side = generator.choice([-1, 1])
    x, y = generator.uniform(*x_m, size=2), generator.uniform(*y_m, size=2)
    yellow, blue = (float(side * x[0]), float(y[0])), (float(-side * x[1]), float(y[1]))
    return (yellow, blue), (_pad(yellow, _YELLOW), _pad(blue, _BLUE))


def _pad(where: Point, colour: tuple[float, float, float]) -> Marker:
    return Marker("disc", (*where, _PAD_HEIGHT_M), TARGET_RADIUS_M, colour)


def _colour_cue(generator: np.random.Generator) -> Plan:
    targets, pads = _pads(generator)
    answer = int(generator.integers(2))
    lamp = Marker("ball", _LAMP_POSITION, _LAMP_RADIUS_M, pads[answer].colour)
    return Plan(targets, (answer,), scene=pads, cue=(lamp,))


def _hidden_goal(generator: np.random.Generator) -> Plan:
    goal = (float(generator.uniform(*GOAL_X_M)), float(generator.uniform(*GOAL_Y_M)))
    ball = Marker("ball", (*goal, 0.0), TARGET_RADIUS_M, _GREEN)  # its upper half is above the table
    return Plan((goal,), (0,), cue=(ball,), anywhere_counts=True)


def _sequence(*order: int) -> Callable[[np.random.Generator], Plan]:
    def plan(generator: np.random.Generator) -> Plan:
        targets, pads = _pads(generator)
        return Plan(targets, order, scene=pads)

    return plan


def _in_room(*, lesson: bool) -> Callable[[np.random.Generator, np.random.Generator], Plan]:
    def plan(generator: np.random.Generator, room: np.random.Generator) -> Plan:
        middles, pads = _pads(room, _ROOM_PAD_X_M, _ROOM_PAD_Y_M)
        answer = int(room.integers(2))
        shifts = generator.uniform(-_ROOM_SHIFT_M, _ROOM_SHIFT_M, size=(2, 2))  # no picture is seen twice
        first, second = ((float(x + dx), float(y + dy)) for (x, y), (dx, dy) in zip(middles, shifts, strict=True))
        targets = (first, second)
        scene = tuple(_pad(where, pad.colour) for where, pad in zip(targets, pads, strict=True))
        ball = Marker("ball", (*targets[answer], 0.0), _LESSON_BALL_RADIUS_M, _GREEN)
        return Plan(targets, (answer,), scene=scene, cue=(ball,) if lesson else ())

    return plan


# Who sees one frame takes the first pad with the same probability p at every stage; p * p * (1 - p) is largest at 2/3.
_SEQUENCE_STEPS, _SEQUENCE_CHANCE, _SEQUENCE_SHARE = 110, 4 / 27, 2 / 3

MEMORY_TASKS = {
    "colour-cue": MemoryTask("touch the pad that has the colour of the lamp", _colour_cue, 60, 1 / 2, 1 / 2),
    "hidden-goal": MemoryTask(
        "touch the table where the green ball was",
        _hidden_goal,
        80,
        math.pi * TARGET_RADIUS_M**2 / _GOAL_AREA_M2,
        None,
    ),
    "touch-sequence": MemoryTask(
        "touch the yellow pad, then the blue pad, then the yellow pad",
        _sequence(0, 1, 0),
        _SEQUENCE_STEPS,
        _SEQUENCE_CHANCE,
        _SEQUENCE_SHARE,
    ),
    "touch-twice": MemoryTask(
        "touch the yellow pad twice, then the blue pad",
        _sequence(0, 0, 1),
        _SEQUENCE_STEPS,
        _SEQUENCE_CHANCE,
        _SEQUENCE_SHARE,
    ),
    "lesson": MemoryTask("touch the pad with the green ball", _in_room(lesson=True), 60, 1 / 2, 1 / 2, in_rooms=True),
    "earlier-lesson": MemoryTask(
        "touch the pad that had the green ball", _in_room(lesson=False), 60, 1 / 2, 1 / 2, in_rooms=True
    ),
}


def check_memory_task(task: str) -> None:
    """Raise a ValueError that names the nearest tasks, or all, unless this is one of them."""
    if task not in MEMORY_TASKS:
        near = difflib.get_close_matches(task, MEMORY_TASKS, n=1, cutoff=0.6)
        hint = f"did you mean {near[0]}?" if near else f"choose from {', '.join(MEMORY_TASKS)}"
        raise ValueError(f"task: no task {task!r} of the memory benchmark; {hint}")
