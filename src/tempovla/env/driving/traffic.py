"""SUMO's traffic in a process of its own, as `libsumo` holds one simulation a process.

`Traffic` runs in that process; make it there with `tempovla.env.worker.Worker`. A moment of traffic is an array
(N, `agents.FIELDS`), one row a road user, and the lights are one string of link states for each traffic light.
"""

from __future__ import annotations

import contextlib
import math
import os
import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tempovla.env.driving.agents import BUS, CAR, FIELDS, KINDS, NAMES, PEDESTRIAN, SIZES, TRUCK
from tempovla.env.driving.car import FRONT_M, LENGTH_M, WIDTH_M

STEP_S = 0.1
_EGO = "ego"
_EGO_TYPE = "ego_type"
_KEPT_FREE_M = 14.0
"""No road user is nearer to the ego where an episode begins."""
_TRIES = 30
_LONGEST_PHASE_S = 20.0

Moment = tuple[np.ndarray, dict[str, str]]


@dataclass(frozen=True)
class TrafficConfig:
    """Who else is on the road.

    Attributes:
        network: path of SUMO's file.
        streets: SUMO's name, index of the right lane for cars, and length [m] of each street.
        sidewalks: SUMO's names of the streets that have one.
        vehicles: number of moving vehicles.
        pedestrians: number of pedestrians.
        warm_up_s: time for which traffic moves before an episode begins [s].
        stopping: share of the cars and trucks that stop on the street for a while to deliver something.
    """

    network: str
    streets: tuple[tuple[str, int, float], ...]
    sidewalks: tuple[str, ...]
    vehicles: int
    pedestrians: int
    warm_up_s: float = 20.0
    stopping: float = 0.08


class Traffic:
    """The traffic of one episode after another; everything follows from the seed of an episode and the ego's poses."""

    def __init__(self, config: TrafficConfig) -> None:
        from tempovla.env.driving.town_files import sumo_home

        os.environ.setdefault("SUMO_HOME", str(sumo_home()))
        with contextlib.redirect_stdout(None):  # it prints a warning about a package that is not used
            import libsumo
        self._sumo, self._config = libsumo, config
        self._running = False

    def begin(self, seed: int, streets: Sequence[str], pose: tuple[float, float, float, float]) -> Moment:
        """Start an episode and return its first moment.

        Args:
            seed: of all that is drawn.
            streets: the ego's route.
            pose: the ego's x, y, yaw and speed.
        """
        sumo = self._sumo
        if self._running:
            sumo.close()
        # fmt: off
        sumo.start([
            "sumo", "-n", self._config.network, "--step-length", str(STEP_S), "--seed", str(seed % 2**31),
            "--no-step-log", "true", "--no-warnings", "true", "--xml-validation", "never",
            "--collision.action", "none", "--time-to-teleport", "-1",
            "--tls.actuated.jam-threshold", "-1",
        ])
        # fmt: on
        self._running = True
        self._draw = random.Random(seed)
        self._number = 0
        self._kinds: dict[str, tuple[int, int]] = {}
        self._ends: dict[str, str] = {}
        self._make_kinds()
        self._shift_lights()
        for step in range(round(self._config.warm_up_s / STEP_S)):
            if step % 5 == 0:
                self._fill()
                self._keep_going()
            sumo.simulationStep()
        self._insert_ego(list(streets), pose)
        return self._moment()

    def advance(self, poses: np.ndarray) -> list[Moment]:
        """Return the moments that follow while the ego drives over poses.

        Args:
            poses: (K, 4) the ego's x, y, yaw and speed, `STEP_S` apart.
        """
        moments = []
        for pose in poses:
            self._move_ego(pose)
            self._sumo.simulationStep()
            moments.append(self._moment())
        self._fill()
        self._keep_going()
        return moments

    def close(self) -> None:
        """End the simulation."""
        if self._running:
            self._sumo.close()
            self._running = False

    def _make_kinds(self) -> None:
        vehicle_type = self._sumo.vehicletype
        for kind in KINDS[:PEDESTRIAN]:
            vehicle_type.copy("DEFAULT_VEHTYPE", kind.name)
            vehicle_type.setLength(kind.name, kind.length)
            vehicle_type.setWidth(kind.name, kind.width)
            vehicle_type.setHeight(kind.name, kind.height)
            vehicle_type.setMaxSpeed(kind.name, kind.top_speed)
            vehicle_type.setAccel(kind.name, kind.acceleration)
            vehicle_type.setSpeedFactor(kind.name, 0.95)
            vehicle_type.setSpeedDeviation(kind.name, 0.1)
        vehicle_type.copy("DEFAULT_VEHTYPE", _EGO_TYPE)
        vehicle_type.setLength(_EGO_TYPE, LENGTH_M)
        vehicle_type.setWidth(_EGO_TYPE, WIDTH_M)

    def _shift_lights(self) -> None:
        lights = self._sumo.trafficlight
        for name in sorted(lights.getIDList()):
            phases = lights.getAllProgramLogics(name)[0].phases
            lights.setPhase(name, self._draw.randrange(len(phases)))
            lights.setPhaseDuration(
                name, self._draw.uniform(1.0, min(phases[lights.getPhase(name)].duration, _LONGEST_PHASE_S))
            )

    def _fill(self) -> None:
        """Bring in road users until there are as many as there should be."""
        sumo, config, draw = self._sumo, self._config, self._draw
        present = sumo.vehicle.getIDCount() + len(sumo.simulation.getPendingVehicles())
        present -= _EGO in sumo.vehicle.getIDList()
        for _ in range(min(8, config.vehicles - present)):
            kind = draw.choices(range(PEDESTRIAN), [kind.share for kind in KINDS[:PEDESTRIAN]])[0]
            start, _, _ = draw.choice(config.streets)
            route = self._onward(start)
            if route is None:
                continue
            name = f"v{self._number}"
            sumo.route.add(name, route)
            sumo.vehicle.add(
                name, name, typeID=NAMES[kind], departLane="best", departPos="random_free", departSpeed="desired"
            )
            if kind in (CAR, TRUCK, BUS) and draw.random() < config.stopping:
                self._stop_somewhere(name, route)
            self._kinds[name] = (self._number, kind)
            self._number += 1
        missing = config.pedestrians - sumo.person.getIDCount() if config.sidewalks else 0
        for _ in range(min(8, missing)):
            self._add_pedestrian()

    def _onward(self, start: str) -> list[str] | None:
        """Streets from one to another that is drawn."""
        for _ in range(_TRIES):
            target = self._draw.choice(self._config.streets)[0]
            if target == start:
                continue
            edges = list(self._sumo.simulation.findRoute(start, target).edges)
            if len(edges) > 2:
                return edges
        return None

    def _stop_somewhere(self, name: str, route: list[str]) -> None:
        known = {street: (lane, length) for street, lane, length in self._config.streets}
        street = route[self._draw.randrange(1, len(route))]
        lane, length = known[street]
        if length > 40.0:
            where = self._draw.uniform(20.0, length - 15.0)
            self._sumo.vehicle.setStop(name, street, where, lane, self._draw.uniform(4.0, 12.0))

    def _add_pedestrian(self) -> None:
        sumo, draw = self._sumo, self._draw
        start = draw.choice(self._config.sidewalks)
        walk = self._walk(start)
        if walk is None:
            return
        name = f"p{self._number}"
        sumo.person.add(name, start, draw.uniform(3.0, 15.0))
        sumo.person.appendWalkingStage(name, walk, draw.uniform(3.0, 15.0))
        sumo.person.setSpeed(name, draw.uniform(0.9, 1.7))
        self._kinds[name], self._ends[name] = (self._number, PEDESTRIAN), walk[-1]
        self._number += 1

    def _walk(self, start: str) -> list[str] | None:
        for _ in range(_TRIES):
            target = self._draw.choice(self._config.sidewalks)
            if target == start:
                continue
            stages = self._sumo.simulation.findIntermodalRoute(start, target, modes="")
            if stages and len(stages[0].edges) > 1:
                return list(stages[0].edges)
        return None

    def _keep_going(self) -> None:
        """Give road users that come to the end of their way another one: nobody vanishes before the cameras."""
        sumo = self._sumo
        for name in sumo.vehicle.getIDList():
            if name != _EGO and sumo.vehicle.getRouteIndex(name) >= len(sumo.vehicle.getRoute(name)) - 2:
                self._prolong(name)
        for name in sumo.person.getIDList():
            if sumo.person.getRemainingStages(name) < 2 and (walk := self._walk(self._ends[name])):
                sumo.person.appendWalkingStage(name, walk, self._draw.uniform(3.0, 15.0))
                self._ends[name] = walk[-1]

    def _prolong(self, name: str) -> None:
        vehicle = self._sumo.vehicle
        rest = list(vehicle.getRoute(name))[max(vehicle.getRouteIndex(name), 0) :]
        further = self._onward(rest[-1])
        if further is not None and not vehicle.getRoadID(name).startswith(":"):
            vehicle.setRoute(name, rest + further[1:])

    def _insert_ego(self, streets: list[str], pose: tuple[float, float, float, float]) -> None:
        sumo = self._sumo
        x, y, yaw, speed = pose
        for name in sumo.vehicle.getIDList():
            if math.dist((x, y), sumo.vehicle.getPosition(name)) < _KEPT_FREE_M + SIZES[self._kinds[name][1]][0]:
                sumo.vehicle.remove(name)
        for name in sumo.person.getIDList():
            if math.dist((x, y), sumo.person.getPosition(name)) < _KEPT_FREE_M / 2:
                sumo.person.remove(name)
        sumo.route.add(_EGO, streets)
        sumo.vehicle.add(_EGO, _EGO, typeID=_EGO_TYPE, departLane="first", departPos="0", departSpeed="0")
        for _ in range(2):
            self._move_ego(np.array([x, y, yaw, speed]))
            sumo.simulationStep()

    def _move_ego(self, pose: np.ndarray) -> None:
        x, y, yaw, speed = (float(value) for value in pose)
        front = x + FRONT_M * math.cos(yaw), y + FRONT_M * math.sin(yaw)
        compass = (90.0 - math.degrees(yaw)) % 360.0
        if _EGO in self._sumo.simulation.getArrivedIDList():  # it left the roads, or came to the end of its route
            self._sumo.vehicle.add(_EGO, _EGO, typeID=_EGO_TYPE)
        self._sumo.vehicle.moveToXY(_EGO, "", -1, *front, compass, 2)
        self._sumo.vehicle.setSpeed(_EGO, max(0.0, speed))

    def _moment(self) -> Moment:
        sumo, rows = self._sumo, []
        vehicle, person = sumo.vehicle, sumo.person
        for name in sorted(vehicle.getIDList()):
            if name == _EGO:
                continue
            number, kind = self._kinds[name]
            x, y = vehicle.getPosition(name)  # of the front bumper
            yaw = math.radians(90.0 - vehicle.getAngle(name))
            back = SIZES[kind][0] / 2
            middle = x - back * math.cos(yaw), y - back * math.sin(yaw)
            moving = vehicle.getSpeed(name), vehicle.getAcceleration(name), vehicle.getSignals(name)
            rows.append((number, kind, *middle, yaw, *moving))
        for name in sorted(person.getIDList()):
            number, kind = self._kinds[name]
            yaw = math.radians(90.0 - person.getAngle(name))
            rows.append((number, kind, *person.getPosition(name), yaw, person.getSpeed(name), 0.0, 0))
        lights = {
            name: sumo.trafficlight.getRedYellowGreenState(name) for name in sorted(sumo.trafficlight.getIDList())
        }
        return np.array(rows, np.float64).reshape(-1, FIELDS), lights
