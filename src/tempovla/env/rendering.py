"""Offscreen MuJoCo rendering that is cheap on a CPU.

The pixels belong to the data: whatever is changed here changes what policies see, so demonstrations must be recorded
and policies evaluated with the same settings.
"""

from __future__ import annotations

import ctypes
import importlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from tempovla.env.simplify import simplify_meshes

if TYPE_CHECKING:
    import mujoco

_SLICES, _STACKS, _QUADS = 16, 10, 1  # facets of spheres, cylinders and boxes; MuJoCo's 28, 16, 4 cost a fifth more
_HIDDEN_GROUP = 5  # MuJoCo draws groups 0 to 2 unless told otherwise

MOST_DEPTH_M = 65.535
"""Millimetres beyond this do not fit into 16 bits."""

_UNSEEN_IN_DEPTH = (0, 2, 4)  # shadows, reflections and the sky (mjRND_SHADOW, mjRND_REFLECTION, mjRND_SKYBOX)
_MAX_MARKERS = 64
_DISC_HALF_HEIGHT_M = 0.002

_REMEDY = (
    "install EGL (Debian: apt-get install libegl1 libgl1-mesa-dri) or OSMesa (Debian: apt-get install libosmesa6), "
    "or use environments without rendering"
)


class RenderingUnavailableError(ValueError):
    """No OpenGL implementation can draw offscreen on this machine."""


def select_backend() -> str:
    """Choose MuJoCo's OpenGL backend and export it as MUJOCO_GL, best before `mujoco` is first imported.

    MUJOCO_GL is respected where it is set; otherwise EGL is taken if a device of it can be opened, else OSMesa.
    Child processes inherit the choice, and software rendering is kept on the calling thread.

    Returns:
        "egl" or "osmesa".

    Raises:
        RenderingUnavailableError: if neither works, or MUJOCO_GL names one that doesn't.
    """
    requested = os.environ.get("MUJOCO_GL", "").strip().lower()
    if requested not in ("", *_PROBES):
        raise RenderingUnavailableError(f"MUJOCO_GL={requested} cannot draw offscreen; set MUJOCO_GL to egl or osmesa")
    # llvmpipe's own threads cost more than they give on frames this small, and workers already fill the cores.
    os.environ.setdefault("LP_NUM_THREADS", "0")
    for backend in (requested,) if requested else tuple(_PROBES):
        if _PROBES[backend]():
            os.environ["MUJOCO_GL"] = backend
            return backend
    tried = f"MUJOCO_GL={requested} does not work here" if requested else "neither EGL nor OSMesa works here"
    raise RenderingUnavailableError(f"cannot render offscreen, {tried}: {_REMEDY}")


def _load_library(*names: str) -> ctypes.CDLL | None:
    for name in names:
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    return None


def _osmesa_works() -> bool:
    return _load_library("libOSMesa.so", "libOSMesa.so.8", "libOSMesa.so.6") is not None


def _egl_works() -> bool:
    """Whether some EGL device can be initialised, which is what MuJoCo's EGL context will ask for."""
    egl = _load_library("libEGL.so.1", "libEGL.so")
    if egl is None:
        return False
    egl.eglGetProcAddress.restype = ctypes.c_void_p
    query_address = egl.eglGetProcAddress(b"eglQueryDevicesEXT")
    display_address = egl.eglGetProcAddress(b"eglGetPlatformDisplayEXT")
    if not query_address or not display_address:
        return False
    pointer, platform_device = ctypes.c_void_p, 0x313F  # EGL_PLATFORM_DEVICE_EXT
    devices_type = ctypes.POINTER(pointer)
    query = ctypes.CFUNCTYPE(ctypes.c_uint, ctypes.c_int, devices_type, ctypes.POINTER(ctypes.c_int))(query_address)
    get_display = ctypes.CFUNCTYPE(pointer, ctypes.c_uint, pointer, pointer)(display_address)
    devices, count = (pointer * 16)(), ctypes.c_int()
    if not query(len(devices), devices, ctypes.byref(count)):
        return False
    egl.eglInitialize.argtypes = [pointer, pointer, pointer]
    displays = (get_display(platform_device, devices[i], None) for i in range(count.value))
    return any(display and egl.eglInitialize(display, None, None) for display in displays)


_PROBES = {"egl": _egl_works, "osmesa": _osmesa_works}


@dataclass(frozen=True)
class Marker:
    """Something that is drawn into a scene without being in it: nothing touches it.

    Attributes:
        shape: a ball, or a disc that lies flat.
        position: of its middle, x, y, z [m] in the simulator's world.
        radius_m: of the ball or the disc.
        colour: red, green, blue in [0, 1].
    """

    shape: Literal["ball", "disc"]
    position: tuple[float, float, float]
    radius_m: float
    colour: tuple[float, float, float]


class OffscreenRenderer:
    """Draws the cameras of one MuJoCo model into small RGB images, by default without shadows, reflections or
    multisampling.

    Geoms outside a camera's view are left out. Each frame is drawn `supersample` times larger and averaged over boxes:
    cheaper on a CPU than multisampling, and smoother. One renderer serves every simulation of the same model file in
    this process; it must be used from the thread that created it.

    Args:
        model: a compiled model; its meshes and textures are uploaded, its poses are not kept.
        image_size: height and width of the images, in pixels.
        supersample: drawn pixels per image pixel, along each side.
        mesh_cell_m: meshes are drawn without details smaller than this [m]; 0 draws them as they are. It changes
            `model`, which must therefore be a copy that physics does not use.
        own_quality: draw with the quality that the model's XML asks for (facets, multisampling, shadows, reflections).
        hidden_groups: geom groups which are not drawn, besides 3 to 5.
    """

    def __init__(
        self,
        model: mujoco.MjModel,
        image_size: int,
        supersample: int,
        mesh_cell_m: float = 0.0,
        *,
        own_quality: bool = False,
        hidden_groups: Sequence[int] = (),
    ) -> None:
        import mujoco

        self._supersample = supersample
        side = image_size * supersample
        # The buffer's size and sampling are read from the model when the context is made, and not after.
        model.vis.global_.offwidth = model.vis.global_.offheight = side
        quality = model.vis.quality
        if not own_quality:
            quality.offsamples = 0
            quality.numslices, quality.numstacks, quality.numquads = _SLICES, _STACKS, _QUADS
        if not own_quality or not model.light_castshadow.any():
            quality.shadowsize = 0
        if mesh_cell_m:
            simplify_meshes(model, mesh_cell_m)
        self._gl = _gl_context()
        self._gl.make_current()
        self._context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100)
        self._scene = mujoco.MjvScene(model, maxgeom=model.ngeom + model.nsite + _MAX_MARKERS)
        if not own_quality:
            self._scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = 0
            self._scene.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = 0
        self._option, self._perturb = mujoco.MjvOption(), mujoco.MjvPerturb()
        self._option.geomgroup[list(hidden_groups)] = 0
        self._camera = mujoco.MjvCamera()
        self._camera.type = mujoco.mjtCamera.mjCAMERA_FIXED
        self._viewport = mujoco.MjrRect(0, 0, side, side)
        self._pixels = np.empty((side, side, 3), np.uint8)
        self._depth_viewport = mujoco.MjrRect(0, 0, image_size, image_size)
        self._depths = np.empty((image_size, image_size), np.float32)
        self._model = model
        self._depth_context: mujoco.MjrContext | None = None

    def render(
        self, model: mujoco.MjModel, data: mujoco.MjData, camera: str, markers: Sequence[Marker] = ()
    ) -> np.ndarray:
        """Draw what a camera of the model sees.

        Args:
            model: a copy of this renderer's model; left as it was.
            data: the simulation's state.
            camera: the camera's name in the model.
            markers: what to draw besides, at most 64.

        Returns:
            (image_size, image_size, 3) uint8 RGB, first row at the top of the camera's frame.
        """
        import mujoco

        self._draw(model, data, camera, markers, self._viewport, self._context)
        mujoco.mjr_readPixels(self._pixels, None, self._viewport, self._context)
        return _box_average(self._pixels[::-1], self._supersample)  # OpenGL's first row is the lowest

    def depth(
        self, model: mujoco.MjModel, data: mujoco.MjData, camera: str, markers: Sequence[Marker] = ()
    ) -> np.ndarray:
        """Measure how far away a camera of the model sees things, along its axis, at the centre of each pixel.

        Args:
            model: a copy of this renderer's model; left as it was.
            data: the simulation's state.
            camera: the camera's name in the model.
            markers: what to draw besides, at most 64.

        Returns:
            (image_size, image_size, 1) float32 [m] in whole millimetres, as datasets keep them; 0 where there is no
            reading, as nothing is seen or it is further away than `MOST_DEPTH_M`. First row at the top of the camera's
            frame.
        """
        import mujoco

        # Distances are not averaged over boxes: between two surfaces there is nothing. Nor is the sky a surface.
        context, flags = self._context_of_depth(), self._scene.flags.copy()
        self._scene.flags[list(_UNSEEN_IN_DEPTH)] = 0
        self._draw(model, data, camera, markers, self._depth_viewport, context)
        self._scene.flags[:] = flags
        mujoco.mjr_readPixels(None, self._depths, self._depth_viewport, context)
        near, far = model.vis.map.znear * model.stat.extent, model.vis.map.zfar * model.stat.extent
        return whole_millimetres(distances(self._depths[::-1, :, None], near, far))

    def _context_of_depth(self) -> mujoco.MjrContext:
        """The context in which distances are measured, made at the first of them.

        A multisampled buffer gives the distance beside a pixel's centre, so it needs another context without.
        """
        import mujoco

        if self._depth_context is None:
            samples = self._model.vis.quality.offsamples
            if samples:
                self._gl.make_current()
                self._model.vis.quality.offsamples = 0
                self._depth_context = mujoco.MjrContext(self._model, mujoco.mjtFontScale.mjFONTSCALE_100)
                self._model.vis.quality.offsamples = samples
            else:
                self._depth_context = self._context
            # Distances near the far plane keep their digits where they are stored as numbers near 0.
            self._depth_context.readDepthMap = mujoco.mjtDepthMap.mjDEPTH_ZEROFAR
        return self._depth_context

    def _draw(
        self,
        model: mujoco.MjModel,
        data: mujoco.MjData,
        camera: str,
        markers: Sequence[Marker],
        viewport: mujoco.MjrRect,
        context: mujoco.MjrContext,
    ) -> None:
        """Draw what a camera sees into a part of the buffer."""
        import mujoco

        self._gl.make_current()
        # Making, using or freeing another renderer may have bound another framebuffer, or none.
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, context)
        self._camera.fixedcamid = model.camera(camera).id
        groups = model.geom_group.copy()
        model.geom_group[_out_of_view(model, data, self._camera.fixedcamid)] = _HIDDEN_GROUP
        everything = mujoco.mjtCatBit.mjCAT_ALL
        mujoco.mjv_updateScene(model, data, self._option, self._perturb, self._camera, everything, self._scene)
        model.geom_group[:] = groups
        for marker in markers:
            _add_marker(self._scene, marker)
        mujoco.mjr_render(viewport, self._scene, context)

    def close(self) -> None:
        """Free the graphics memory."""
        self._gl.make_current()
        self._context.free()
        if self._depth_context is not None and self._depth_context is not self._context:
            self._depth_context.free()


def distances(buffer: np.ndarray, near: float, far: float) -> np.ndarray:
    """Return distances along the optical axis [m], float64, of a depth buffer that is 1 at the near plane and 0 at the
    far one; 0 where it shows the far plane, as nothing was drawn there.
    """
    wide = buffer.astype(np.float64)
    return np.where(wide <= 0, 0.0, near * far / (near + wide * (far - near)))


def whole_millimetres(metres: np.ndarray) -> np.ndarray:
    """Return distances [m] as float32, rounded to millimetres, 0 beyond `MOST_DEPTH_M`: what a picture of 16 bits
    holds.
    """
    levels = np.where(metres > MOST_DEPTH_M, 0.0, np.rint(metres * 1000))
    return (levels * 0.001).astype(np.float32)


def _add_marker(scene: mujoco.MjvScene, marker: Marker) -> None:
    import mujoco

    is_ball = marker.shape == "ball"
    mujoco.mjv_initGeom(
        scene.geoms[scene.ngeom],
        mujoco.mjtGeom.mjGEOM_SPHERE if is_ball else mujoco.mjtGeom.mjGEOM_CYLINDER,
        # Of a cylinder MuJoCo takes radius and half height, of a sphere three equal radii.
        np.array([marker.radius_m, marker.radius_m if is_ball else _DISC_HALF_HEIGHT_M, marker.radius_m]),
        np.array(marker.position, np.float64),
        np.eye(3).ravel(),
        np.array([*marker.colour, 1], np.float32),
    )
    scene.ngeom += 1


def _out_of_view(model: mujoco.MjModel, data: mujoco.MjData, camera: int) -> np.ndarray:
    """(ngeom,) bool, geoms whose bounding sphere lies wholly beside the camera's square pyramid of view."""
    in_camera = (data.geom_xpos - data.cam_xpos[camera]) @ data.cam_xmat[camera].reshape(3, 3)  # right, up, backward
    slope = np.tan(np.radians(model.cam_fovy[camera]) / 2)
    beyond = np.abs(in_camera[:, :2]).max(axis=1) + in_camera[:, 2] * slope
    unbounded = model.geom_rbound == 0  # planes
    return ~unbounded & (beyond > model.geom_rbound * np.hypot(1, slope))


def _box_average(image: np.ndarray, factor: int) -> np.ndarray:
    """Mean over factor x factor boxes of an (H, W, 3) uint8 image, rounded to nearest."""
    if factor == 1:
        return image.copy()
    height, width, channels = image.shape
    total = np.zeros((height // factor, width // factor, channels), np.uint16)
    for row in range(factor):
        for column in range(factor):
            total += image[row::factor, column::factor]
    return ((total + factor * factor // 2) // (factor * factor)).astype(np.uint8)


_process_gl_context = None


def _gl_context():
    """The one OpenGL context of this process; MuJoCo draws into framebuffers of its own, so its size doesn't matter."""
    global _process_gl_context
    if _process_gl_context is None:
        # Not mujoco.gl_context, which is what MUJOCO_GL said when mujoco was imported.
        _process_gl_context = importlib.import_module(f"mujoco.{select_backend()}").GLContext(64, 64)
    return _process_gl_context
