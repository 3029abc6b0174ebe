"""The driving simulator's environment: one car, one route, one episode at a time."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from tempovla.env.base import TaskEnv
from tempovla.env.driving import car as body
from tempovla.env.driving.agents import KIND, boxes_of
from tempovla.env.driving.car import CarState
from tempovla.env.driving.config import ACTION_BOUNDS, DrivingConfig
from tempovla.env.driving.episode import Episode, draw_episode
from tempovla.env.driving.expert import RuleDriver, Scene, turning_between
from tempovla.env.driving.geometry import overlaps
from tempovla.env.driving.ground import ground_of
from tempovla.env.driving.infractions import Judge
from tempovla.env.driving.next_light import NextLight, next_light
from tempovla.env.driving.route import Route
from tempovla.env.driving.town import load_town
from tempovla.env.driving.traffic import Traffic, TrafficConfig
from tempovla.env.driving_scores import with_scores
from tempovla.env.protocol import Observation
from tempovla.env.rendering import select_backend
from tempovla.env.worker import Worker
from tempovla.timeline.calibration import CameraCalibration
from tempovla.timeline.driving import COMMANDS, WRONG_COMMANDS, Command
from tempovla.timeline.keys import POSE_KEY, STATE_KEY

_ATTEMPTS = 20
_FREE_M = 1.0
_WATCHED = body.TRAFFIC_EVERY


class Senses(Protocol):
    """What observes a moment of an episode; see `tempovla.env.driving.senses`."""

    def observe(self, moment: Instant) -> Observation: ...  # noqa: D102

    def visible(self, moment: Instant) -> np.ndarray: ...  # noqa: D102


class Instant:
    """All that is true at one moment of an episode.

    Attributes:
        car: the ego.
        agents: (N, `agents.FIELDS`) the others, parked vehicles included.
        lights: link states of the traffic lights.
        since: the ego's states since the control step before, `car.SUBSTEP_S` apart, the present one last.
        seed: of the episode.
        tick: moments since the episode began.
    """

    def __init__(
        self,
        car: CarState,
        agents: np.ndarray,
        lights: dict[str, str],
        since: list[CarState],
        seed: int,
        tick: int,
    ) -> None:
        self.car, self.agents, self.lights = car, agents, lights
        self.since, self.seed, self.tick = since, seed, tick

    @property
    def pose(self) -> tuple[float, float, float]:
        """The ego's x, y and yaw."""
        return self.car.x, self.car.y, self.car.yaw


class DrivingEnv(TaskEnv):
    """A car on a route through a town with traffic, in a light and weather that the task names.

    Observation: `observation.state` (4,) float32 speed, acceleration, yaw rate and steering angle; `observation.pose`
    (3,) x, y and yaw in the frame of the episode's first moment; `observation.images.<camera>` (H, W, 3) uint8; and,
    where they are on, `observation.depth.<camera>` (H, W, 1) float32 and `observation.points.<sensor>`, absent points
    of which are NaN. The streams are described in `tempovla.timeline.driving`.
    Action: (3,) float32, how the car moves until the next control step half a second later: forward [m], left [m] and
    turn [rad] in the present ego frame. The car does it as far as its limits allow.

    An episode is `terminated` at a collision, where the car is off the road, where it is more than 30 m from its route,
    and, with `terminate_on_success`, at the end of its route; and `truncated` at `max_steps`. The reward of an action
    is the share of the route that it covers.
    The instruction is what the navigator says now.

    Traffic runs in a process of its own, so that a process may hold many environments.

    Raises:
        ValueError: for an unknown task, town or sensor.
        ModuleNotFoundError: if SUMO is not installed.
        RenderingUnavailableError: if pictures are wanted and cannot be drawn here.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 2}  # noqa: RUF012 - as Gymnasium has it

    config: DrivingConfig

    def __init__(self, config: DrivingConfig | None = None) -> None:
        config = config or DrivingConfig()
        task = config.task or config.task_names()[0]
        config.check_task(task)
        if config.seen:
            select_backend()  # before anything imports mujoco, which fails where MUJOCO_GL names what is not there
        super().__init__(config, task)
        self._town, self._ground = load_town(config.town), ground_of(config.town)
        streets = tuple(
            (street.name, int(street.lanes[0].name.rsplit("_", 1)[1]), street.length)
            for street in self._town.streets.values()
        )
        sidewalks = tuple(sorted({lane.name.rsplit("_", 1)[0] for lane in self._town.sidewalks}))
        traffic = TrafficConfig(str(self._town.network), streets, sidewalks, config.vehicles, config.pedestrians)
        self._traffic = Worker(Traffic, traffic)
        self._traffic.receive()
        self._senses: dict[str, Senses] = {}
        self.reset_state(seed=0)

    @property
    def instruction(self) -> str:
        """What the navigator says now."""
        return COMMANDS[self.command]

    @property
    def command(self) -> Command:
        """The navigator's command of the present moment."""
        right = self._episode.route.command(self._judge.progress_m)
        return WRONG_COMMANDS[right] if self.config.wrong_commands else right

    @property
    def state(self) -> np.ndarray:
        """Speed, acceleration, yaw rate and steering angle, (4,) float32."""
        car = self._now.car
        return np.array([car.speed, car.acceleration, car.yaw_rate, car.steering], np.float32)

    @property
    def pose(self) -> np.ndarray:
        """The ego's x, y and yaw in the frame of the episode's first moment, (3,) float32."""
        return self.relative_pose(self._now.car).astype(np.float32)

    def relative_pose(self, car: CarState) -> np.ndarray:
        """Return a pose in the frame of the episode's first moment, (3,) float64."""
        return body.motion_between(self._start, car)

    @property
    def now(self) -> Instant:
        """The present moment."""
        return self._now

    @property
    def moments(self) -> list[Instant]:
        """The moments of the last control step, a tenth of a second apart, the present one last."""
        return self._moments

    @property
    def route(self) -> Route:
        """The ego's route."""
        return self._episode.route

    @property
    def next_light(self) -> NextLight | None:
        """The next traffic light on the route; None where none follows."""
        heads = self._ground.scenery.heads
        return next_light(self._episode.route, self._judge.progress_m + body.FRONT_M, self._now.lights, heads)

    @property
    def perturbed(self) -> bool:
        """Whether the car was pushed aside in the last control step."""
        return self._pushed

    def calibrations(self) -> tuple[CameraCalibration, ...]:
        """Return the calibrations of the cameras, in the ego frame."""
        return self.config.calibrations()

    def reset_state(self, *, seed: int | None = None, task: str | None = None, init_state: int | None = None) -> None:
        """Start an episode without observing."""
        self.config.check_init_state(init_state)
        if task is not None:
            self.config.check_task(task)
            self._task = task
        self._seed_generator(seed)
        drawn = seed if seed is not None else int(self.np_random.integers(2**31))
        for attempt in range(_ATTEMPTS):
            episode = draw_episode(self.config, self._town, self._ground, drawn, attempt)
            x, y, yaw = episode.route.at(0.0)
            car = CarState(x, y, yaw, episode.speed)
            self._traffic.send("begin", episode.traffic_seed, episode.route.streets, (x, y, yaw, car.speed))
            agents, lights = self._traffic.receive()
            agents = np.concatenate([agents, episode.parked])
            if not overlaps(car.box(_FREE_M), boxes_of(agents)).any():
                break
        self._episode: Episode = episode
        self._seed, self._start, self._steps = drawn, car, 0
        self._now = Instant(car, agents, lights, [car], drawn, 0)
        self._moments, self._pushed = [self._now], False
        self._turning = np.zeros(len(agents))
        self._judge = Judge(episode.route, self._ground, episode.nominal)
        self._judge.begin(car)

    def advance(self, action: np.ndarray) -> tuple[float, bool, bool, dict]:
        """Drive for half a second without observing."""
        wanted = _checked(action)
        self._pushed = bool(self._episode.pushes[self._steps].any()) if self._steps < self.config.max_steps else False
        if self._pushed:
            wanted = wanted + self._episode.pushes[self._steps]
        before, judge = self._now, self._judge
        states = body.drive(before.car, wanted)
        watched = states[_WATCHED - 1 :: _WATCHED]
        self._traffic.send("advance", np.array([(car.x, car.y, car.yaw, car.speed) for car in watched]))
        answers = self._traffic.receive()
        completed, ended, car = judge.completion, False, before.car
        self._moments = []
        for number, (now, (agents, lights)) in enumerate(zip(watched, answers, strict=True), start=1):
            agents = np.concatenate([agents, self._episode.parked])
            since = states[: number * _WATCHED]
            self._moments.append(Instant(now, agents, lights, since, self._seed, before.tick + number))
            ended = judge.watch(car, now, agents, lights)
            car = now
            if ended:
                break
        self._now = self._moments[-1]
        self._turning = turning_between(before.agents, self._now.agents, body.STEP_S)
        judge.end_step(car, self._now.agents)
        self._steps += 1
        success = judge.arrived and not ended
        terminated = ended or (success and self.config.terminate_on_success)
        truncated = self._steps >= self.config.max_steps
        judge.timeout = truncated and not terminated and not success
        return judge.completion - completed, terminated, truncated, self._info() | {"success": success}

    def observe(self) -> Observation:
        """Measure and draw the observation of the present moment."""
        observation = {STATE_KEY: self.state, POSE_KEY: self.pose}
        if not self.config.seen and not self.config.measured:
            return observation
        return observation | self.senses().observe(self._now)

    def senses(self) -> Any:
        """Return the sensors of the task's light and weather, which are made at their first use."""
        if self._task not in self._senses:
            from tempovla.env.driving.senses import CarSenses

            self._senses[self._task] = CarSenses(self.config, self._task)
        return self._senses[self._task]

    def draw(self, camera: str) -> np.ndarray:
        """Return one camera's view of the present moment, (H, W, 3) uint8."""
        return self.senses().picture(self._now, camera)

    def draw_depth(self, camera: str) -> np.ndarray:
        """Return how far away one camera sees things, (H, W, 1) float32 [m]."""
        return self.senses().depth(self._now, camera)

    def expert(self) -> DrivingExpert:
        """Return the rule-based driver of the episode."""
        return DrivingExpert(self)

    def scene(self) -> Scene:
        """Return what the expert knows of the present moment."""
        now, parked = self._now, len(self._episode.parked)
        moving = len(now.agents) - parked
        agents, turning = now.agents[:moving], self._turning[:moving]
        if self.config.visible_only:
            seen = self.senses().visible(now)[:moving]
            agents, turning = agents[seen], turning[seen]
        return Scene(now.car, self._judge.progress_m, agents, turning, now.lights)

    def driver(self) -> RuleDriver:
        """Return the rules that drive the episode's route."""
        return RuleDriver(self._episode.driven, self.config.top_speed, boxes_of(self._episode.parked))

    def figures(self) -> dict[str, float]:
        """Return the scores and the measures of the episode until now, named as `timeline.driving.FIGURES` says."""
        return with_scores(self._judge.figures())

    def snapshot(self) -> dict[str, Any]:
        """Return what lies around the car now, for pictures from above.

        `ego` (3,) x, y and yaw, of the rear axle; `ego_box` and `boxes` (5,) and (N, 5) x, y, yaw, length and width;
        `kinds` (N,) numbers of `agents.KINDS`; `lanes` lines of (K, 2); `lights` tuples of x, y and state; `route`
        (K, 2); `progress_m` along it; and `command`. All in the town's frame [m, rad].
        """
        now = self._now
        lanes = [lane.shape for street in self._town.streets.values() for lane in street.lanes]
        lights = [
            (*link.shape[0], states[link.light[1]])
            for name, states in now.lights.items()
            for link in self._town.lights.get(name, [])
            if link.light is not None
        ]
        return {
            "ego": np.array(now.pose),
            "ego_box": now.car.box(),
            "boxes": boxes_of(now.agents),
            "kinds": now.agents[:, KIND].astype(int),
            "lanes": lanes,
            "lights": lights,
            "route": self._episode.route.line,
            "progress_m": self._judge.progress_m,
            "command": self.command,
        }

    def close(self) -> None:
        """End the process of the traffic."""
        self._traffic.close()

    def __del__(self) -> None:
        if hasattr(self, "_traffic"):
            self._traffic.close()


class DrivingExpert:
    """The rule-based driver in an environment."""

    def __init__(self, env: DrivingEnv) -> None:
        self._env, self._driver = env, env.driver()

    def act(self) -> np.ndarray:
        """Return the next action, (3,) float32 forward [m], left [m] and turn [rad]."""
        low, high = (np.array(bound, np.float32) for bound in ACTION_BOUNDS)
        return np.clip(self._driver.act(self._env.scene()), low, high)


def _checked(action: np.ndarray) -> np.ndarray:
    numbers = np.asarray(action, np.float64)
    if numbers.shape != (len(ACTION_BOUNDS[0]),) or not np.isfinite(numbers).all():
        raise ValueError(
            f"action must be 3 finite numbers, forward [m], left [m] and turn [rad], got {numbers.tolist()}"
        )
    return np.clip(numbers, *ACTION_BOUNDS)
