"""A check of the requirements on simulators, to run on your own."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np

from tempovla.env.protocol import Navigated, Observation, SimulatorConfig, calibrations_of, figures_of
from tempovla.timeline.keys import DEPTH_KEY_PREFIX, IMAGE_KEY_PREFIX, STATE_KEY

_NO_TASK = "no task is called like this"


class SimulatorViolation(AssertionError):
    """A simulator does not do what collecting, evaluating and recording rely on."""


def check_simulator(config: SimulatorConfig) -> None:
    """Check a simulator by its config, without drawing more than one picture a camera.

    Args:
        config: the simulator as it is by default, or with settings of your choice.

    Raises:
        SimulatorViolation: naming what is wrong.
    """
    for check in CHECKS:
        check(config)


def check_tasks(config: SimulatorConfig) -> None:
    """Every task has a name of its own and words, and other names are refused."""
    tasks = config.task_names()
    _require(len(tasks) == len(set(tasks)) > 0, f"task_names() gives {list(tasks)}; give each task one name")
    for task in tasks:
        config.check_task(task)
        _require(bool(config.instruction(task)), f"instruction({task!r}) is empty; say the task in words")
    _refuses(lambda: config.check_task(_NO_TASK), f"check_task({_NO_TASK!r})")


def check_body(config: SimulatorConfig) -> None:
    """The spaces are of the body's sizes, and those of pictures are bytes."""
    observations, actions = config.spaces()
    body = config.embodiment
    sizes = observations[STATE_KEY].shape, actions.shape
    _require(
        sizes == ((body.state_dim,), (body.action_dim,)),
        f"spaces() gives a state and an action of shapes {sizes}, but the embodiment has {body.state_dim} and "
        f"{body.action_dim} dimensions",
    )
    for camera in config.cameras if config.render else ():
        space = observations[IMAGE_KEY_PREFIX + camera]
        _require(space.dtype == np.uint8, f"spaces() gives pictures of {camera!r} as {space.dtype}; give uint8")


def check_travels(config: SimulatorConfig) -> None:
    """A config goes to the processes that simulate, and into datasets and back."""
    _require(pickle.loads(pickle.dumps(config)) == config, "the config is another one after pickle")  # noqa: S301
    recording = config.recording("simulator")
    again = type(config).from_recording(recording, "simulator")
    for name in config.recorded:
        same = getattr(again, name) == recording.get(name)
        _require(same, f"from_recording() does not give back {name} as recording() has it")


def check_episodes(config: SimulatorConfig) -> None:
    """The same seed and task begin and continue the same episode, whatever was played before."""
    config = replace(config, render=False)
    tasks = config.task_names() if config.tasks_share_spaces else (config.task,)
    env, task = config.make(), tasks[-1]
    observations, actions = config.spaces()
    env.reset(seed=1)
    first, info = env.reset(seed=5, options={"task": task, "init_state": None})
    _require(env.task == task, f"reset with task {task!r} plays {env.task!r}")
    _require(info["instruction"] == env.instruction, "reset tells another instruction than the environment")
    if not isinstance(config, Navigated):
        _require(env.instruction == config.instruction(task), "reset tells another instruction than the task's")
    _require(observations.contains(first), f"reset observes {_shapes(first)}, which spaces() does not contain")
    reward, _, _, info = env.advance(np.zeros(actions.shape))
    _require(isinstance(reward, float) and "success" in info, "advance() gives a float, and info['success']")
    measured = figures_of(env)
    moved = env.observe()
    env.reset_state(seed=6, task=tasks[0])
    env.reset_state(seed=5, task=task)
    _require(np.array_equal(env.state, first[STATE_KEY]), "reset_state begins another episode than reset of one seed")
    again, _ = env.reset(seed=5)
    _same(first, again, "after a reset with the same seed")
    env.advance(np.zeros(actions.shape))
    _same(moved, env.observe(), "after the same seed and action")
    _require(measured == figures_of(env), "figures() gives others after the same seed and action")
    beyond = config.init_state_count(task)
    _refuses(lambda: env.reset_state(init_state=beyond), f"reset_state(init_state={beyond}), of {beyond} states,")


def check_expert(config: SimulatorConfig) -> None:
    """An expert, where there is one, acts within the space of actions, and every moment has the same record."""
    env = replace(config, render=False, terminate_on_success=False).make()
    actions = config.spaces()[1]
    env.reset_state(seed=1)
    try:
        expert = env.expert()
    except ValueError:  # there is none
        return
    records = []
    for _ in range(3):
        records.append({name: value.shape for name, value in env.simulator_record().items()})
        action = expert.act()
        _require(
            actions.contains(action),
            f"the expert's action {np.asarray(action).tolist()} is no float32 in [-1, 1] of shape {actions.shape}",
        )
        env.advance(action)
    _require(records[0] == records[1] == records[2], f"simulator_record() has other arrays at other moments: {records}")


def check_pictures(config: SimulatorConfig) -> None:
    """Pictures are those of the cameras, as the spaces have them; without cameras there are none."""
    blind, _ = replace(config, cameras=()).make().reset(seed=1)
    _require(not _pictures(blind), f"with cameras=() there are {_pictures(blind)}")
    if not config.render or not config.cameras:
        return
    seen, _ = config.make().reset(seed=1)
    _require(
        _pictures(seen) == [IMAGE_KEY_PREFIX + camera for camera in config.cameras],
        f"the pictures are {_pictures(seen)}, but the cameras {list(config.cameras)}",
    )
    _require(config.spaces()[0].contains(seen), f"reset observes {_shapes(seen)}, which spaces() does not contain")


def check_depth(config: SimulatorConfig) -> None:
    """Depth, where the simulator measures some, comes beside the same pictures, in metres, with calibrations."""
    if "depth" not in config.sensors or not config.render or not config.cameras:
        return
    options: dict[str, Any] = {"depth": True}
    config = replace(config, **options)
    env = config.make()
    seen, _ = env.reset(seed=1)
    wanted = [DEPTH_KEY_PREFIX + camera for camera in config.cameras]
    found = [key for key in seen if key.startswith(DEPTH_KEY_PREFIX)]
    _require(found == wanted, f"with depth=True there is {found}, but the cameras are {list(config.cameras)}")
    _require(config.spaces()[0].contains(seen), f"reset observes {_shapes(seen)}, which spaces() does not contain")
    for key in found:
        lowest = float(seen[key].min())  # NaN wherever there is one
        _require(lowest >= 0, f"{key!r} holds {lowest}; give metres, 0 where there is no reading")
    plain, _ = replace(config, **{"depth": False}).make().reset(seed=1)
    _same(plain, seen, "with depth=True")
    strange = [camera.stream for camera in calibrations_of(env) if camera.stream not in seen]
    _require(not strange, f"calibrations() are of {strange}, which are not observed")


CHECKS: tuple[Callable[[SimulatorConfig], None], ...] = (
    check_tasks,
    check_body,
    check_travels,
    check_episodes,
    check_expert,
    check_pictures,
    check_depth,
)


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise SimulatorViolation(message)


def _refuses(call: Callable[[], None], what: str) -> None:
    with suppress(ValueError):
        call()
        raise SimulatorViolation(f"{what} is not refused; raise a ValueError")


def _same(expected: Observation, actual: Observation, when: str) -> None:
    for key in expected:
        same = np.array_equal(expected[key], actual[key], equal_nan=expected[key].dtype.kind == "f")
        _require(same, f"{key!r} is another one {when}")


def _pictures(observation: Observation) -> list[str]:
    return [key for key in observation if key.startswith(IMAGE_KEY_PREFIX)]


def _shapes(observation: Observation) -> dict[str, tuple[tuple[int, ...], str]]:
    return {key: (value.shape, str(value.dtype)) for key, value in observation.items()}
