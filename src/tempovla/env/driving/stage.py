"""The compiled model of a town: it is set to a moment, drawn, and shot at with rays."""

from __future__ import annotations

import importlib
import math
from dataclasses import dataclass
from functools import lru_cache

import mujoco
import numpy as np

from tempovla.env.driving.agents import (
    BRAKE_LIGHT,
    ID,
    KIND,
    LIGHTS,
    NAMES,
    PEDESTRIAN,
    YAW,
    X,
    Y,
)
from tempovla.env.driving.cameras import MOUNTINGS, intrinsics_of
from tempovla.env.driving.ground import ground_of
from tempovla.env.driving.model import DRAWN, DRAWN_AND_MET, FAR_M, LAMPS, MET, NEAR_M, POOL, RIG, model_xml
from tempovla.env.driving.textures import ground_picture
from tempovla.env.driving.town import Town, load_town
from tempovla.env.driving.weather import WEATHERS, Weather
from tempovla.env.rendering import select_backend

_HIDDEN = 5
_OUT_OF_SIGHT_M = (0.0, 0.0, -60.0)
_SHOWN_M = 130.0
"""Things further away are not drawn; in most weathers fog hides them, and houses."""
_PAINTS = np.array(
    [
        (0.78, 0.78, 0.8), (0.06, 0.06, 0.07), (0.55, 0.08, 0.07), (0.1, 0.2, 0.46), (0.32, 0.34, 0.36),
        (0.88, 0.88, 0.88), (0.12, 0.28, 0.18), (0.72, 0.58, 0.16), (0.45, 0.5, 0.55), (0.36, 0.22, 0.14),
    ]
)  # fmt: skip
_CLOTHES = np.array(
    [(0.2, 0.25, 0.5), (0.6, 0.15, 0.15), (0.2, 0.2, 0.22), (0.75, 0.7, 0.6), (0.2, 0.45, 0.35), (0.8, 0.65, 0.2)]
)
_LAMP_ON = {"red": (1.0, 0.12, 0.08), "yellow": (1.0, 0.75, 0.1), "green": (0.15, 1.0, 0.45)}
_LAMP_OFF = {"red": (0.14, 0.03, 0.03), "yellow": (0.14, 0.12, 0.03), "green": (0.03, 0.13, 0.06)}
_STATE_LAMP = {"r": "red", "u": "red", "y": "yellow", "g": "green", "s": "green"}


@dataclass(frozen=True)
class Setting:
    """What a stage is made for.

    Attributes:
        town: name of the town.
        condition: name of the weather.
        height: of the pictures [px].
        width: of the pictures [px].
        supersample: drawn pixels per pixel of a picture, along each side.
    """

    town: str
    condition: str
    height: int
    width: int
    supersample: int


@lru_cache(maxsize=4)
def stage_of(setting: Setting) -> Stage:
    """Return the stage of a setting; the environments of one process share it, and set it before they use it."""
    return Stage(setting)


class Stage:
    """One town in one weather.

    Args:
        setting: what it is made for.

    Attributes:
        model: MuJoCo's.
        data: MuJoCo's.
        town: the streets.
        surface: the ground.
        scenery: what stands on it.
        weather: light and weather.
        rig: index of the ego's body.
        agent_of: row of `agents` of each body of the model, (nbody,) int, -1 for bodies that are no road users.
        agents: (N, `agents.FIELDS`) road users of the moment that is shown.
        owner: whoever set it last; others must set it anew.
    """

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.town: Town = load_town(setting.town)
        ground = ground_of(setting.town)
        self.surface, self.scenery = ground.surface, ground.scenery
        self.weather: Weather = WEATHERS[setting.condition]
        size = setting.height, setting.width
        xml, files = model_xml(self.surface, self.scenery, self.weather, size, setting.supersample)
        self.model = mujoco.MjModel.from_xml_string(xml, files)
        picture = ground_picture(self.surface, self.scenery, self.weather)
        texture = self.model.texture("ground")
        start = texture.adr[0]
        self.model.tex_data[start : start + picture.size] = picture.ravel()
        self.data = mujoco.MjData(self.model)
        self.groups = self.model.geom_group.copy()
        self.rig = self.model.body(RIG).id
        self._rig_pose = self.model.body(RIG).mocapid[0]
        self._slots = {
            kind: [self.model.body(f"{NAMES[kind]}{number}").id for number in range(count)]
            for kind, count in POOL.items()
        }
        self._lamps = [
            {name: (self.model.geom(f"{name}{n}").id, self.model.geom(f"halo_{name}{n}").id) for name in LAMPS}
            for n in range(len(self.scenery.heads))
        ]
        materials = {name: self.model.material(name).id for name in ("paint", "rear_lamp", "skin")}
        self._tinted = {
            body: _geoms_of(self.model, body, materials) for slots in self._slots.values() for body in slots
        }
        self.agent_of = np.full(self.model.nbody, -1)
        self.agents = np.zeros((0, 8))
        self.owner: object = None
        self._eye: _Eye | None = None

    def show(self, pose: tuple[float, float, float], agents: np.ndarray, lights: dict[str, str]) -> None:
        """Set the town to a moment.

        Args:
            pose: the ego's x, y and yaw.
            agents: (N, `agents.FIELDS`) the others; the nearest ones are shown.
            lights: the link states of each traffic light.
        """
        data, (x, y, yaw) = self.data, pose
        data.mocap_pos[:] = _OUT_OF_SIGHT_M
        data.mocap_quat[:] = (1.0, 0.0, 0.0, 0.0)
        data.mocap_pos[self._rig_pose] = x, y, 0.0
        data.mocap_quat[self._rig_pose] = math.cos(yaw / 2), 0.0, 0.0, math.sin(yaw / 2)
        self.agents = agents
        self.agent_of[:] = -1
        used = dict.fromkeys(POOL, 0)
        squared = (agents[:, X] - x) ** 2 + (agents[:, Y] - y) ** 2
        for row in np.argsort(squared, kind="stable"):
            kind = int(agents[row, KIND])
            if squared[row] > _SHOWN_M**2 or used[kind] >= POOL[kind]:
                continue
            body = self._slots[kind][used[kind]]
            used[kind] += 1
            self._place(body, agents[row])
            self.agent_of[body] = row
        self._switch_lights(lights)
        mujoco.mj_kinematics(self.model, data)
        mujoco.mj_camlight(self.model, data)

    def _place(self, body: int, agent: np.ndarray) -> None:
        slot = self.model.body_mocapid[body]
        self.data.mocap_pos[slot] = agent[X], agent[Y], 0.0
        self.data.mocap_quat[slot] = math.cos(agent[YAW] / 2), 0.0, 0.0, math.sin(agent[YAW] / 2)
        number = int(agent[ID])
        geoms, colours = self._tinted[body], self.model.geom_rgba
        if agent[KIND] == PEDESTRIAN:
            top, legs = _CLOTHES[number % len(_CLOTHES)], _CLOTHES[(number // 7 + 2) % len(_CLOTHES)] * 0.6
            for geom, colour in zip(geoms["skin"], (top, legs, legs), strict=False):
                colours[geom, :3] = colour
            return
        for geom in geoms["paint"]:
            colours[geom, :3] = _PAINTS[number % len(_PAINTS)]
        brakes = bool(int(agent[LIGHTS]) & BRAKE_LIGHT)
        for geom in geoms["rear_lamp"]:
            colours[geom, :3] = (1.0, 0.1, 0.07) if brakes else (0.42, 0.03, 0.03)

    def _switch_lights(self, lights: dict[str, str]) -> None:
        colours = self.model.geom_rgba
        dark = 1.0 if self.weather.dark else 0.6
        for head, lamps in zip(self.scenery.heads, self._lamps, strict=True):
            state = lights[head.light][head.links[0]].lower() if head.light in lights and head.links else "r"
            lit = _STATE_LAMP.get(state, "red")
            for name, (lamp, halo) in lamps.items():
                colours[lamp, :3] = _LAMP_ON[name] if name == lit else _LAMP_OFF[name]
                colours[halo] = (*_LAMP_ON[name], 0.32 * dark if name == lit else 0.0)

    def draw(self, camera: str) -> np.ndarray:
        """Return what a camera sees, (H, W, 3) uint8, without noise."""
        return self._opened().draw(camera)

    def depth(self, camera: str) -> np.ndarray:
        """Return how far away a camera sees things along its axis, (H, W) float32 [m], 0 where it sees nothing."""
        return self._opened().depth(camera)

    def bodies_seen(self, camera: str) -> np.ndarray:
        """Return the geom at each pixel of a camera, (H, W) int32, -1 where there is none."""
        return self._opened().geoms(camera)

    def _opened(self) -> _Eye:
        if self._eye is None:
            self._eye = _Eye(self)
        return self._eye


def _geoms_of(model: mujoco.MjModel, body: int, materials: dict[str, int]) -> dict[str, list[int]]:
    """The geoms of a body that change their colour, by material."""
    first, count = model.body_geomadr[body], model.body_geomnum[body]
    own = range(first, first + count)
    return {name: [geom for geom in own if model.geom_matid[geom] == number] for name, number in materials.items()}


class _Eye:
    """Draws a stage; must be used from the thread that made it."""

    def __init__(self, stage: Stage) -> None:
        self._stage, setting = stage, stage.setting
        # Fog is part of OpenGL's state, which MuJoCo sets but once: stages in one context would share their fog.
        self._gl = importlib.import_module(f"mujoco.{select_backend()}").GLContext(64, 64)
        self._gl.make_current()
        self._context = mujoco.MjrContext(stage.model, mujoco.mjtFontScale.mjFONTSCALE_100)
        self._context.readDepthMap = mujoco.mjtDepthMap.mjDEPTH_ZEROFAR
        self._scene = mujoco.MjvScene(stage.model, maxgeom=stage.model.ngeom + 100)
        flags = self._scene.flags
        flags[mujoco.mjtRndFlag.mjRND_SHADOW] = flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = 0
        flags[mujoco.mjtRndFlag.mjRND_FOG], flags[mujoco.mjtRndFlag.mjRND_HAZE] = 1, 0
        self._option, self._perturb = mujoco.MjvOption(), mujoco.MjvPerturb()
        self._option.geomgroup[:] = 0
        self._option.geomgroup[[DRAWN_AND_MET, DRAWN]] = 1
        self._camera = mujoco.MjvCamera()
        self._camera.type = mujoco.mjtCamera.mjCAMERA_FIXED
        self._large = mujoco.MjrRect(0, 0, setting.width * setting.supersample, setting.height * setting.supersample)
        self._small = mujoco.MjrRect(0, 0, setting.width, setting.height)
        self._pixels = np.empty((self._large.height, self._large.width, 3), np.uint8)
        self._ground = stage.model.geom("ground").id
        self._slopes = {name: _slopes(name, setting) for name in MOUNTINGS}

    def draw(self, camera: str) -> np.ndarray:
        self._render(camera, self._large)
        mujoco.mjr_readPixels(self._pixels, None, self._large, self._context)
        return _averaged(self._pixels[::-1], self._stage.setting.supersample)

    def depth(self, camera: str) -> np.ndarray:
        flags = self._scene.flags
        flags[mujoco.mjtRndFlag.mjRND_SKYBOX] = 0
        self._render(camera, self._small)
        flags[mujoco.mjtRndFlag.mjRND_SKYBOX] = 1
        buffer = np.empty((self._small.height, self._small.width), np.float32)
        mujoco.mjr_readPixels(None, buffer, self._small, self._context)
        wide = buffer[::-1].astype(np.float64)
        metres = NEAR_M * FAR_M / (NEAR_M + wide * (FAR_M - NEAR_M))
        return np.where(wide <= 0, 0.0, metres).astype(np.float32)

    def geoms(self, camera: str) -> np.ndarray:
        flags = self._scene.flags
        flags[mujoco.mjtRndFlag.mjRND_SEGMENT] = flags[mujoco.mjtRndFlag.mjRND_IDCOLOR] = 1
        self._render(camera, self._small)
        flags[mujoco.mjtRndFlag.mjRND_SEGMENT] = flags[mujoco.mjtRndFlag.mjRND_IDCOLOR] = 0
        pixels = np.empty((self._small.height, self._small.width, 3), np.uint8)
        mujoco.mjr_readPixels(pixels, None, self._small, self._context)
        numbers = pixels[::-1].astype(np.int32) @ np.array([1, 256, 65536])
        drawn = np.full(self._scene.ngeom + 1, -1, np.int32)
        for geom in self._scene.geoms[: self._scene.ngeom]:
            if geom.objtype == mujoco.mjtObj.mjOBJ_GEOM and geom.segid >= 0:
                drawn[geom.segid + 1] = geom.objid
        return drawn[np.clip(numbers, 0, len(drawn) - 1)]

    def _render(self, camera: str, viewport: mujoco.MjrRect) -> None:
        stage, model, data = self._stage, self._stage.model, self._stage.data
        self._gl.make_current()
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._context)
        self._camera.fixedcamid = model.camera(camera).id
        model.geom_group[:] = np.where(self._in_view(camera), stage.groups, _HIDDEN)
        everything = mujoco.mjtCatBit.mjCAT_ALL
        mujoco.mjv_updateScene(model, data, self._option, self._perturb, self._camera, everything, self._scene)
        model.geom_group[:] = stage.groups
        mujoco.mjr_render(viewport, self._scene, self._context)

    def _in_view(self, camera: str) -> np.ndarray:
        """(ngeom,) bool, geoms whose bounding sphere touches what the camera sees."""
        model, data = self._stage.model, self._stage.data
        index = self._camera.fixedcamid
        seen = (data.geom_xpos - data.cam_xpos[index]) @ data.cam_xmat[index].reshape(3, 3)
        radius, depth = model.geom_rbound, -seen[:, 2]
        slope = self._slopes[camera]
        beside = np.abs(seen[:, 0]) - slope * np.maximum(depth, 0.0) > radius * math.hypot(1.0, slope)
        shown = ~beside & (depth > -radius) & (depth < _SHOWN_M + radius) & (data.geom_xpos[:, 2] > -30.0)
        shown &= (stage_alpha(model) > 0.0) & (self._stage.groups != MET)
        shown[self._ground] = True
        return shown


def stage_alpha(model: mujoco.MjModel) -> np.ndarray:
    """Return the opacity of each geom, (ngeom,)."""
    return model.geom_rgba[:, 3]


def _slopes(camera: str, setting: Setting) -> float:
    """How far to the side a camera sees, at a distance of 1."""
    matrix = intrinsics_of(camera, setting.width, setting.height)
    return float(max(matrix[0, 2], setting.width - matrix[0, 2]) / matrix[0, 0])


def _averaged(picture: np.ndarray, factor: int) -> np.ndarray:
    """Mean over boxes of factor x factor pixels, rounded to the nearest."""
    if factor == 1:
        return picture.copy()
    height, width, channels = picture.shape
    total = np.zeros((height // factor, width // factor, channels), np.uint16)
    for row in range(factor):
        for column in range(factor):
            total += picture[row::factor, column::factor]
    return ((total + factor * factor // 2) // (factor * factor)).astype(np.uint8)
