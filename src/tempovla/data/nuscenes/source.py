"""A folder of nuScenes' format as an episode source: each scene is an episode."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tempovla.data.errors import OutOfRangeError, unknown_stream
from tempovla.data.fingerprint import hash_files, hash_json
from tempovla.data.identity import DataIdentity, files_of, stream_facts
from tempovla.data.lerobot_meta import load_recording
from tempovla.data.nuscenes.around import Annotations, Boxes, DrivableArea, check_fits, read_drivable
from tempovla.data.nuscenes.bodies import scene_cameras, shared_body
from tempovla.data.nuscenes.box_stream import box_points
from tempovla.data.nuscenes.can_bus import CanBus
from tempovla.data.nuscenes.commands import read_commands
from tempovla.data.nuscenes.imu import Imu, read_imu
from tempovla.data.nuscenes.layout import CAN_MESSAGES, RADAR_CHANNELS, SIDECAR_MARK, TABLES
from tempovla.data.nuscenes.lights import SIDECAR as LIGHTS_SIDECAR
from tempovla.data.nuscenes.lights import Lights, read_lights
from tempovla.data.nuscenes.motion import Motion, read_motion
from tempovla.data.nuscenes.options import NuScenesOptions
from tempovla.data.nuscenes.road import road_points
from tempovla.data.nuscenes.scenes import Scene, SceneTable
from tempovla.data.nuscenes.sensors import TOLERATED_PERIODS, SensorReader
from tempovla.data.nuscenes.statistics import NuScenesStatistics
from tempovla.data.nuscenes.streams import CHANNEL_OF, MOTION_KEYS, find_streams
from tempovla.data.nuscenes.tables import find_version, read_tables
from tempovla.data.window import episode_number, step_numbers
from tempovla.timeline.clock import latest_at
from tempovla.timeline.driving import BOXES_KEY, COMMANDS, HEADS_KEY, IMU_KEY, LIDAR_KEY, LIGHT_KEY, RADAR_KEY, ROAD_KEY
from tempovla.timeline.keys import ACTION_KEY, DEPTH_KEY_PREFIX, POSE_KEY, STATE_KEY
from tempovla.timeline.source import EpisodeInfo, Reading, StreamInfo
from tempovla.timeline.task import Embodiment


def open_nuscenes(path: str | Path, options: NuScenesOptions | None = None) -> NuScenesSource:
    """Open a folder that holds `v1.0-*`, `samples` and `sweeps`, and perhaps `can_bus` and `maps`.

    Args:
        path: the folder.
        options: what its files leave open.

    Raises:
        DatasetError: naming the file, the table and the token, if a table is missing or contradicts another one.
    """
    options = options or NuScenesOptions()
    root = Path(path)
    version = find_version(root, options.version)
    return NuScenesSource(SceneTable(read_tables(root, version)), replace(options, version=version))


class NuScenesSource:
    """An `EpisodeSource` over the scenes of nuScenes, in the order of their table.

    At 2 Hz the control steps are the key frames, at any other rate they are equally far apart. A reading at a control
    step is the newest one of its sensor that is not later, and is valid if it is at most 1.5 periods of the sensor old.
    Points are moved into the ego frame of the control step. The instruction of a step is the navigator's command; see
    `data.nuscenes.commands`. `observation.pose` is the car's pose in the frame of the first step, `action` its motion
    until the next one, which is not valid where the writer says that it was disturbed. Annotated road users, the next
    traffic light and the road are streams, too, for policies to learn from.

    Args:
        table: the scenes.
        options: what the files leave open, the version included.
    """

    def __init__(self, table: SceneTable, options: NuScenesOptions) -> None:
        self._table, self._options = table, options
        self.path = table.tables.root
        self.rate_hz = float(options.rate_hz)
        self._sensors = SensorReader(table, options.missing, self.rate_hz)
        self._scenes: dict[int, Scene] = {}
        self._motions: dict[int, Motion] = {}
        self._imus: dict[int, Imu | None] = {}
        self._lights: dict[int, Lights | None] = {}
        self._words: dict[int, tuple[str, ...]] = {}
        self._bodies: dict[int, Embodiment] = {}
        self._areas: dict[Path, DrivableArea] = {}
        self._fitting: set[int] = set()  # episodes whose car is on its map
        names = [str(name) for name in table.tables["scene"]["name"]]
        self._cans = [CanBus(self.path / "can_bus", name) for name in names]
        self.streams: Mapping[str, StreamInfo] = find_streams(table, options, self._cans)
        self.embodiment: Embodiment = shared_body(table, self.streams, self.rate_hz)
        self.recording: Mapping[str, Any] = load_recording(self.path)

    @property
    def name(self) -> str:
        """The folder."""
        return str(self.path)

    @cached_property
    def statistics(self) -> NuScenesStatistics:
        """Exact statistics of the streams of numbers, which are kept for the next time."""
        return NuScenesStatistics(self)

    def __len__(self) -> int:
        return len(self._table)

    def episode(self, episode: int) -> EpisodeInfo:
        """Return the length, first instruction, place and origin of one scene."""
        words = self.instructions(episode)
        told = self._table.tables["scene"]
        return EpisodeInfo(
            len(words),
            words[0],
            task=self._table.location(episode),
            origin=f"{told.path}: {told['name'][episode]}",
        )

    def instructions(self, episode: int) -> tuple[str, ...]:
        """Return (length,) commands of every control step, in words."""
        if episode not in self._words:
            scene, motion = self._scene(episode), self._motion(episode)
            commands = read_commands(self._cans[episode], scene, motion, self.rate_hz, self._options.commands)
            self._words[episode] = tuple(COMMANDS[command] for command in commands)
        return self._words[episode]

    def embodiment_of(self, episode: int) -> Embodiment:
        """Return the car with the calibrations of its cameras in one scene, which differ by scene."""
        if episode not in self._bodies:
            cameras = scene_cameras(self._table, self._scene(episode), self.streams)
            self._bodies[episode] = replace(self.embodiment, cameras=cameras)
        return self._bodies[episode]

    def timestamps(self, episode: int, key: str) -> NDArray[np.float64]:
        """Return (N,) times of the stream's samples [s] since the scene's first key frame; some may be negative.

        Targets of radars are merged: their times are those at which any radar measured.
        """
        self._require(key)
        scene = self._scene(episode)
        if key in MOTION_KEYS:
            return scene.seconds(self._motion(episode).steps_us)
        if key == BOXES_KEY:
            return scene.seconds(scene.times_us)
        if key == IMU_KEY:
            imu = self._imu(episode)
            return scene.seconds(imu.times_us if imu is not None else np.empty(0, np.int64))
        times = [scene.channels[channel].times_us for channel in _channels(key) if channel in scene.channels]
        return scene.seconds(np.unique(np.concatenate([*times, np.empty(0, np.int64)])))

    def read(self, episode: int, key: str, steps: Sequence[int]) -> Reading:
        """Return values of one stream at absolute control steps; see `EpisodeSource.read`."""
        value, valid = self.read_many(key, episode_number(episode), step_numbers(steps)[None])
        return Reading(value[0], valid[0])

    def read_many(self, key: str, episodes: NDArray[np.int64], steps: NDArray[np.int64]) -> Reading:
        """Return values of one stream at steps (B, T) of episodes (B,), at once: value (B, T, *F), valid (B, T).

        Where a value is not valid because its sensor has none, it is 0; points are NaN.
        """
        self._require(key)
        info = self.streams[key]
        value = np.full((*steps.shape, *info.shape), np.nan if info.kind == "points" else 0, info.dtype)
        valid = np.zeros(steps.shape, bool)
        for row, (episode, asked) in enumerate(zip(episodes.tolist(), steps, strict=True)):
            motion = self._motion(episode)
            last = len(motion.steps_us) - 1
            self._fill(key, episode, np.clip(asked, 0, last), value[row], valid[row])
            valid[row] &= (asked >= 0) & (asked <= last)
        return Reading(value, valid)

    def boxes(self, episode: int, step: int) -> Boxes:
        """Return the annotated objects at a control step, in its ego frame; between key frames, those of the one
        before.

        Raises:
            IndexError: if there is no such episode or step.
        """
        scene, motion = self._scene(episode), self._motion(episode)
        self._require_step(episode, step)
        place = int(np.searchsorted(scene.times_us, motion.steps_us[step], side="right")) - 1
        return self._annotations.boxes(int(scene.samples[place]), motion.poses[step])

    def drivable(self, episode: int) -> DrivableArea | None:
        """Return where one can drive on the map of a scene; None where it has no map.

        Raises:
            DatasetError: if the map's file is missing or damaged, or if the car of the scene leaves the map.
        """
        self._require_episode(episode)
        name = self._table.map_file(episode)
        if name is None:
            return None
        path = self._sensors.inside(str(name), "map: filename")
        if name not in self._areas:
            self._areas[name] = read_drivable(path)
        if episode not in self._fitting:
            check_fits(self._areas[name], path, self.ego_poses(episode)[:, :2, 3])
            self._fitting.add(episode)
        return self._areas[name]

    def ego_poses(self, episode: int) -> NDArray[np.float64]:
        """Return poses (length, 4, 4) of the car at the control steps, from the ego frame to the global frame [m]."""
        return self._motion(episode).poses

    def check(self) -> None:
        """Refuse a dataset of which a sensor's file is missing or cut short, or a scene contradicts itself.

        Of the files only the sizes are looked at.

        Raises:
            DatasetError: naming the first.
        """
        for episode in range(len(self)):
            self.episode(episode)
            self.embodiment_of(episode)
        for reading in range(len(self._table.channel_of)):
            self._sensors.check(reading)
        for reading in self._measured(key for key in self.streams if key.startswith(DEPTH_KEY_PREFIX)):
            self._sensors.check(reading, depth=True)

    def content_hash(self, keys: Collection[str]) -> str:
        """Hash of the tables and of the files of these streams, and of the options; see `ContentHashing`."""
        hashes = hash_files(path for path in self._files(keys) if path.exists())
        names = {str(path.relative_to(self.path)): digest for path, digest in hashes.items()}
        return hash_json([self._options.told(), names])

    def identity(self, keys: Collection[str]) -> DataIdentity:
        """Of the tables, of the files of these streams, and of the options."""
        facts = stream_facts(self, keys) | {"data.nuscenes": self._options.told()}
        return DataIdentity(self.name, facts, files_of(self.path, self._files(keys)))

    @cached_property
    def _annotations(self) -> Annotations:
        return Annotations(self._table)

    def _files(self, keys: Collection[str]) -> set[Path]:
        """The tables, the CAN files and our own beside them, and the sensors' files of streams."""
        files = {self._table.tables[name].path for name in TABLES}
        messages = [*CAN_MESSAGES, SIDECAR_MARK + "commands", SIDECAR_MARK + "perturbed"]
        messages += [SIDECAR_MARK + LIGHTS_SIDECAR] if {LIGHT_KEY, HEADS_KEY} & set(keys) else []
        files |= {can.path(message) for can in self._cans for message in messages if can.has(message)}
        if ROAD_KEY in keys:
            maps = {self._table.map_file(episode) for episode in range(len(self))}
            files |= {self._sensors.inside(str(name), "map: filename") for name in maps if name is not None}
        depths = {key for key in keys if key.startswith(DEPTH_KEY_PREFIX)}
        files |= {self._sensors.depth_path(reading) for reading in self._measured(depths)}
        return files | {self._sensors.path(reading) for reading in self._measured(set(keys) - depths)}

    def _measured(self, keys: Iterable[str]) -> list[int]:
        """The readings of the sensors of some streams."""
        wanted = [channel for key in keys for channel in _channels(key)]
        return np.flatnonzero(np.isin(self._table.channel_of.astype(str), wanted)).tolist()

    def _fill(
        self, key: str, episode: int, steps: NDArray[np.int64], value: NDArray[Any], valid: NDArray[np.bool_]
    ) -> None:
        """Put values (T, *F) and validity (T,) of a stream at steps (T,) of an episode into arrays."""
        scene, motion = self._scene(episode), self._motion(episode)
        if key == LIGHT_KEY:
            lights = self._next_lights(episode)
            if lights is not None:
                value[...], valid[...] = lights.states[steps], True
        elif key == HEADS_KEY:
            lights = self._next_lights(episode)
            if lights is not None and lights.heads is not None:
                value[...], valid[...] = lights.heads[steps], True
        elif key == ROAD_KEY:
            area = self.drivable(episode)
            if area is not None:
                valid[...] = True
                for place, step in enumerate(steps.tolist()):
                    value[place] = road_points(area, motion.poses[step])
        elif key in MOTION_KEYS:
            values, known = _motion_stream(motion, key)
            value[...], valid[...] = values[steps], known[steps]
        elif key == BOXES_KEY:
            self._fill_boxes(scene, motion, steps, value, valid)
        elif key == IMU_KEY:
            imu = self._imu(episode)
            for place, step in enumerate(steps.tolist()):
                valid[place] = imu is not None and imu.fill(int(motion.steps_us[step]), value[place])
        elif key == RADAR_KEY:
            self._fill_radar(scene, motion, steps, value, valid)
        elif CHANNEL_OF[key] in scene.channels:
            channel = scene.channels[CHANNEL_OF[key]]
            readings, fresh = self._sensors.newest(scene, channel, motion.steps_us[steps])
            for place in np.flatnonzero(fresh).tolist():
                reading = int(readings[place])
                found: NDArray[Any] | None
                if key == LIDAR_KEY:
                    found = self._sensors.lidar(reading, channel, motion.poses[steps[place]], value.shape[1])
                elif key.startswith(DEPTH_KEY_PREFIX):
                    found = self._sensors.depth(reading, value.shape[1:])
                else:
                    found = self._sensors.picture(reading, value.shape[1:])
                if found is not None:
                    value[place], valid[place] = found, True

    def _fill_radar(
        self, scene: Scene, motion: Motion, steps: NDArray[np.int64], value: NDArray[Any], valid: NDArray[np.bool_]
    ) -> None:
        channels = [scene.channels[name] for name in RADAR_CHANNELS if name in scene.channels]
        newest = [self._sensors.newest(scene, channel, motion.steps_us[steps]) for channel in channels]
        for place, step in enumerate(steps.tolist()):
            here = [
                (int(readings[place]), channel)
                for (readings, fresh), channel in zip(newest, channels, strict=True)
                if fresh[place]
            ]
            own = [channel for _, channel in here]
            found = self._sensors.radar([r for r, _ in here], own, motion.poses[step], value.shape[1])
            if found is not None:
                value[place], valid[place] = found, True

    def _fill_boxes(
        self, scene: Scene, motion: Motion, steps: NDArray[np.int64], value: NDArray[Any], valid: NDArray[np.bool_]
    ) -> None:
        times_s, tolerance_s = scene.seconds(scene.times_us), TOLERATED_PERIODS / self.streams[BOXES_KEY].rate_hz
        places, fresh = latest_at(times_s, scene.seconds(motion.steps_us[steps]), tolerance_s)
        for row in np.flatnonzero(fresh).tolist():
            boxes = self._annotations.boxes(int(scene.samples[places[row]]), motion.poses[steps[row]])
            value[row], valid[row] = box_points(boxes, value.shape[1]), True

    def _scene(self, episode: int) -> Scene:
        self._require_episode(episode)
        if episode not in self._scenes:
            self._scenes[episode] = self._table.scene(episode)
        return self._scenes[episode]

    def _motion(self, episode: int) -> Motion:
        if episode not in self._motions:
            scene = self._scene(episode)
            self._motions[episode] = read_motion(self._table, scene, self._cans[episode], self.rate_hz)
        return self._motions[episode]

    def _imu(self, episode: int) -> Imu | None:
        if episode not in self._imus:
            self._imus[episode] = read_imu(self._cans[episode], 1 / self.rate_hz)
        return self._imus[episode]

    def _next_lights(self, episode: int) -> Lights | None:
        if episode not in self._lights:
            self._lights[episode] = read_lights(self._cans[episode], self._scene(episode), self._motion(episode))
        return self._lights[episode]

    def _require(self, key: str) -> None:
        if key not in self.streams:
            raise unknown_stream(key, self.streams, self.name)

    def _require_episode(self, episode: int) -> None:
        if not 0 <= episode < len(self):
            raise OutOfRangeError(f"{self.name}: no episode {episode}; it has {len(self)}, counted from 0")

    def _require_step(self, episode: int, step: int) -> None:
        length = len(self._motion(episode).steps_us)
        if not 0 <= step < length:
            raise OutOfRangeError(f"{self.name}: no step {step} in episode {episode}; it has {length}, counted from 0")


def _channels(key: str) -> tuple[str, ...]:
    """The channels of the sensors that a stream is of."""
    if key == RADAR_KEY:
        return RADAR_CHANNELS
    return (CHANNEL_OF[key],) if key in CHANNEL_OF else ()


def _motion_stream(motion: Motion, key: str) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Values (L, F) and validity (L,) of a stream of the car's motion."""
    always = np.ones(len(motion.steps_us), bool)
    return {
        STATE_KEY: (motion.state, motion.state_valid),
        POSE_KEY: (motion.relative, always),
        ACTION_KEY: (motion.action, motion.action_valid),
    }[key]
