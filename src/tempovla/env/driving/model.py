"""The town as a MuJoCo model: what is drawn, and what rays meet.

Geoms of group 0 are drawn and met, those of group 1 only drawn, and those of group 2 only met.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from tempovla.env.driving.agents import BICYCLE, BUS, CAR, KINDS, MOTORCYCLE, NAMES, PEDESTRIAN, TRUCK
from tempovla.env.driving.cameras import camera_xml
from tempovla.env.driving.geometry import corners
from tempovla.env.driving.scenery import FLOOR_M, LAMP_OUT_M, House, Scenery
from tempovla.env.driving.surface import Surface
from tempovla.env.driving.textures import FACADES, SUN, facade, png, shop_front
from tempovla.env.driving.vehicles import obj, vehicle_meshes
from tempovla.env.driving.weather import Colour, Weather

DRAWN_AND_MET, DRAWN, MET = 0, 1, 2
RIG = "rig"
POOL: dict[int, int] = {CAR: 42, TRUCK: 5, BUS: 3, MOTORCYCLE: 5, BICYCLE: 5, PEDESTRIAN: 26}
"""Most road users of each kind that are drawn at a time, the nearest ones."""
NEAR_M, FAR_M = 0.25, 260.0
_BAY_M = 3.0
_LAMP_SPACING_M = 0.32
LAMPS = ("red", "yellow", "green")


def model_xml(
    surface: Surface, scenery: Scenery, weather: Weather, size: tuple[int, int], supersample: int
) -> tuple[str, dict[str, bytes]]:
    """Return MuJoCo's XML of a town and the files that it names.

    The texture `ground` is empty: whoever compiles the model fills it.

    Args:
        surface: the ground.
        scenery: what stands on it.
        weather: light and weather.
        size: height and width of the cameras' pictures [px].
        supersample: drawn pixels per pixel of a picture, along each side.
    """
    height, width = size
    files: dict[str, bytes] = {}
    assets, bodies = _vehicles(files, weather)
    house_assets, houses = _houses(files, scenery, weather)
    half = surface.side_m / 2
    cameras = "".join(camera_xml(name, width, height) for name in _cameras())
    world = "".join([*houses, *_trees(scenery), *_street_lamps(scenery, weather), *_light_heads(scenery), *bodies])
    xml = f"""<mujoco model="town">
<compiler angle="radian"/><option><flag contact="disable"/></option>
<statistic extent="1" center="{half} {half} 0"/>
<visual>
  <quality offsamples="0" shadowsize="0" numslices="10" numstacks="6" numquads="1"/>
  <map znear="{NEAR_M}" zfar="{FAR_M}" fogstart="{weather.fog_m[0]}" fogend="{weather.fog_m[1]}"/>
  <global offwidth="{width * supersample}" offheight="{height * supersample}"/>
  <headlight ambient="{_rgb(weather.ambient)}" diffuse="0 0 0" specular="0 0 0"/>
  <rgba fog="{_rgb(weather.fog)} 1"/>
</visual>
<default><geom contype="0" conaffinity="0"/></default>
<asset>
  <texture name="ground" type="2d" builtin="flat" width="{len(surface.kinds)}" height="{len(surface.kinds)}"/>
  <texture type="skybox" builtin="gradient" rgb1="{_rgb(weather.sky_top)}" rgb2="{_rgb(weather.sky_low)}"
    width="128" height="768"/>
  {_materials(weather)}{"".join(assets)}{"".join(house_assets)}
</asset>
<worldbody>
  <light name="sun" directional="true" pos="{half} {half} 90" dir="{" ".join(map(str, SUN))}"
    diffuse="{_rgb(weather.sun)}" specular="0.25 0.25 0.25" castshadow="false"/>
  <geom name="ground" type="plane" size="{half} {half} 1" pos="{half} {half} 0" material="ground"/>
  {world}
  <body name="{RIG}" mocap="true">{cameras}{_beam(weather, 4.2, 1.0)}
    <geom type="box" size="0.01 0.01 0.01" pos="0 0 0.3" rgba="0 0 0 0" group="{DRAWN}"/></body>
</worldbody></mujoco>"""
    return xml, files


def _cameras() -> Iterable[str]:
    from tempovla.env.driving.cameras import MOUNTINGS

    return MOUNTINGS


def _rgb(colour: Colour | np.ndarray) -> str:
    return " ".join(f"{float(channel):.4f}" for channel in colour)


def _materials(weather: Weather) -> str:
    lit = 1.0 if weather.dark else 0.25
    # The ground's picture holds its light already.
    ambient = sum(weather.ambient) / 3
    facade_light = 0.7 if weather.dark else 0.0
    plain = {
        "ground": f'texture="ground" specular="0" emission="{max(0.0, 1.0 - ambient):.3f}"',
        "paint": 'specular="0.7" shininess="0.7"',
        "glass": f'rgba="{"0.02 0.02 0.03" if weather.dark else "0.13 0.16 0.19"} 1" specular="0.9" shininess="0.9"',
        "dark": 'rgba="0.05 0.05 0.055 1" specular="0.2"',
        "light": 'rgba="0.72 0.72 0.7 1" specular="0.3"',
        "front_lamp": f'rgba="{"1 0.97 0.85" if weather.dark else "0.85 0.87 0.88"} 1" emission="{lit}"',
        "rear_lamp": f'rgba="0.6 0.05 0.05 1" emission="{0.8 if weather.dark else 0.15}"',
        "lamp": 'emission="1" specular="0"',
        "glow": 'emission="1" specular="0"',
        "shadow": f'rgba="0 0 0 {0.16 if weather.dark else 0.27}" specular="0"',
        "beam": 'rgba="1 0.95 0.75 0.1" emission="1" specular="0"',
        "skin": 'specular="0"',
    }
    texts = [f'<material name="{name}" {options}/>' for name, options in plain.items()]
    for style in range(FACADES):
        texts.append(f'<material name="facade{style}" texture="facade{style}" specular="0" emission="{facade_light}"/>')
    texts.append(f'<material name="shop" texture="shop" specular="0" emission="{facade_light}"/>')
    return "".join(texts)


def _vehicles(files: dict[str, bytes], weather: Weather) -> tuple[list[str], list[str]]:
    assets, bodies = [], []
    for kind in POOL:
        name, box = NAMES[kind], KINDS[kind]
        if kind == PEDESTRIAN:
            geoms = _PEDESTRIAN
        else:
            meshes = vehicle_meshes(kind)
            for surface, part in meshes.items():
                files[f"{name}_{surface}.obj"] = obj(part)
                file = f"{name}_{surface}"
                assets.append(f'<mesh name="{file}" file="{file}.obj" inertia="shell"/>')
            # The first geom has the vehicle's own colour, the last but one its rear lamps: see the stage.
            geoms = "".join(
                f'<geom type="mesh" mesh="{name}_{surface}" material="{surface}"{_OWN if surface in _TINTED else ""}/>'
                for surface in meshes
            )
            geoms += _beam(weather, box.length / 2 + 0.8, 0.8)
        geoms += _shadow(box.length, box.width)
        for number in range(POOL[kind]):
            bodies.append(f'<body name="{name}{number}" mocap="true" pos="0 0 -60">{geoms}</body>')
    return assets, bodies


_TINTED = ("paint", "rear_lamp")
_OWN = ' rgba="0.5 0.5 0.5 0.999"'
"""A colour of the geom's own, which the stage changes; the material's would win over a default one."""
_PEDESTRIAN = (
    f'<geom type="capsule" fromto="0 0 0.98 0 0 1.34" size="0.19" material="skin"{_OWN}/>'
    f'<geom type="capsule" fromto="0.13 0.09 0.09 0 0.08 0.86" size="0.085" material="skin"{_OWN}/>'
    f'<geom type="capsule" fromto="-0.13 -0.09 0.09 0 -0.08 0.86" size="0.085" material="skin"{_OWN}/>'
    '<geom type="sphere" pos="0.02 0 1.63" size="0.125" material="skin" rgba="0.78 0.6 0.48 1"/>'
    '<geom type="sphere" pos="-0.02 0 1.67" size="0.12" material="skin" rgba="0.18 0.13 0.1 1"/>'
)


def _shadow(length: float, width: float) -> str:
    """Flat boxes under a road user: dark in the middle, lighter around."""
    return "".join(
        f'<geom type="box" size="{length / 2 + grown:.3f} {width / 2 + grown:.3f} 0.002" pos="0 0 {height}" '
        f'material="shadow" group="{DRAWN}"/>'
        for grown, height in ((-0.1, 0.035), (0.05, 0.03), (0.2, 0.025))
    )


def _beam(weather: Weather, from_m: float, share: float) -> str:
    """The light that headlights throw on the road, at night."""
    if not weather.dark:
        return ""
    return "".join(
        f'<geom type="ellipsoid" size="{length:.2f} {width:.2f} 0.004" pos="{from_m + length * 0.92:.2f} 0 {height}" '
        f'material="beam" group="{DRAWN}" rgba="1 0.95 0.78 {_BEAM_ALPHA * share:.4f}"/>'
        for length, width, height in _BEAM
    )


_BEAM = tuple((2.2 + 1.25 * n, 0.9 + 0.5 * n, 0.055 - 0.002 * n) for n in range(8))
"""Half length, half width and height of the ellipses whose sum is a soft spot of light [m]."""
_BEAM_ALPHA = 0.026


def _houses(files: dict[str, bytes], scenery: Scenery, weather: Weather) -> tuple[list[str], list[str]]:
    assets, geoms = [], []
    for style in range(FACADES):
        files[f"facade{style}.png"] = png(facade(style, dark=weather.dark))
        assets.append(f'<texture name="facade{style}" type="2d" file="facade{style}.png"/>')
    files["shop.png"] = png(shop_front(dark=weather.dark))
    assets.append('<texture name="shop" type="2d" file="shop.png"/>')
    for number, house in enumerate(scenery.houses):
        tint = house.tint * (1.0 if weather.dark or weather.sun[0] > 0.3 else 0.95)
        for part, material in (("walls", f"facade{house.style}"), ("base", "shop")):
            vertices, uv = _walls(house, part)
            faces = np.arange(len(vertices)).reshape(-1, 3)
            name = f"house{number}_{part}"
            files[f"{name}.obj"] = obj((vertices, faces), uv)
            assets.append(f'<mesh name="{name}" file="{name}.obj" inertia="shell"/>')
            geoms.append(
                f'<geom name="{name}" type="mesh" mesh="{name}" material="{material}" group="{DRAWN}" '
                f'rgba="{_rgb(np.minimum(tint, 1.3))} 1"/>'
            )
        x, y, yaw, width, depth = house.box
        height = house.floors * FLOOR_M
        flat = 'material="lamp"' if weather.dark else 'material="skin"'
        roof = house.tint * (0.03 if weather.dark else 0.42)
        geoms.append(
            f'<geom name="roof{number}" type="box" size="{width / 2 + 0.2:.3f} {depth / 2 + 0.2:.3f} 0.2" '
            f'pos="{x:.3f} {y:.3f} {height + 0.1:.3f}" euler="0 0 {yaw:.5f}" {flat} rgba="{_rgb(roof)} 1"/>'
            f'<geom name="hull{number}" type="box" size="{width / 2:.3f} {depth / 2:.3f} {height / 2:.3f}" '
            f'pos="{x:.3f} {y:.3f} {height / 2:.3f}" euler="0 0 {yaw:.5f}" group="{MET}" rgba="0.5 0.5 0.5 1"/>'
        )
    return assets, geoms


def _walls(house: House, part: str) -> tuple[np.ndarray, np.ndarray]:
    """Triangles of the four walls of the ground floor or of those above, and where they lie in their pictures."""
    low, high = (0.0, FLOOR_M) if part == "base" else (FLOOR_M, house.floors * FLOOR_M)
    outline = corners(house.box[None])[0]
    vertices, uv = [], []
    for side in range(4):
        start, end = outline[side], outline[(side + 1) % 4]
        bays = max(1.0, round(float(np.hypot(*(end - start))) / _BAY_M)) / 4
        storeys = 1.0 if part == "base" else (house.floors - 1) / 4
        quad = [(*start, low), (*end, low), (*end, high), (*start, high)]
        places = [(0.0, 0.0), (bays, 0.0), (bays, storeys), (0.0, storeys)]
        for index in (0, 1, 2, 0, 2, 3):
            vertices.append(quad[index])
            uv.append(places[index])
    return np.array(vertices), np.array(uv)


def _trees(scenery: Scenery) -> list[str]:
    texts = []
    for number, tree in enumerate(scenery.trees):
        height, green = tree.height, tree.green
        crowns = ((0.0, 0.0, 0.62, 0.26), (0.12, 0.08, 0.78, 0.19), (-0.1, -0.12, 0.5, 0.2))
        leaves = "".join(
            f'<geom name="crown{number}_{index}" type="ellipsoid" size="{r * height:.2f} {r * height:.2f} '
            f'{0.92 * r * height:.2f}" pos="{x * height:.2f} {y * height:.2f} {z * height:.2f}" material="skin" '
            f'rgba="{_rgb(green * (1.0 + 0.12 * (index - 1)))} 1"/>'
            for index, (x, y, z, r) in enumerate(crowns)
        )
        texts.append(
            f'<body pos="{tree.place[0]:.2f} {tree.place[1]:.2f} 0"><geom name="trunk{number}" type="cylinder" '
            f'size="0.16 {height * 0.2:.2f}" pos="0 0 {height * 0.2:.2f}" material="skin" rgba="0.3 0.23 0.17 1"/>'
            f"{leaves}</body>"
        )
    return texts


def _street_lamps(scenery: Scenery, weather: Weather) -> list[str]:
    lit = "1 0.86 0.6" if weather.dark else "0.8 0.8 0.78"
    halo = (
        f'<geom type="sphere" size="0.7" pos="1.6 0 5.9" material="glow" rgba="1 0.85 0.55 0.07" group="{DRAWN}"/>'
        f'<geom type="sphere" size="0.36" pos="1.6 0 5.9" material="glow" rgba="1 0.88 0.6 0.16" group="{DRAWN}"/>'
    )
    return [
        f'<body pos="{place[0]:.2f} {place[1]:.2f} 0" euler="0 0 {yaw:.4f}">'
        f'<geom name="post{number}" type="cylinder" size="0.07 3" pos="0 0 3" rgba="0.33 0.34 0.35 1"/>'
        f'<geom name="arm{number}" type="box" size="0.85 0.04 0.04" pos="0.8 0 6" rgba="0.33 0.34 0.35 1"/>'
        f'<geom name="bulb{number}" type="box" size="0.3 0.12 0.05" pos="1.5 0 5.94" material="lamp" '
        f'rgba="{lit if weather.dark else "0.5 0.5 0.5"} 1"/>{halo if weather.dark else ""}</body>'
        for number, (place, yaw) in enumerate(scenery.lamps)
    ]


def _light_heads(scenery: Scenery) -> list[str]:
    texts = []
    for number, head in enumerate(scenery.heads):
        pole = head.height / 2 + 0.4
        lamps = "".join(
            f'<geom name="{name}{number}" type="sphere" size="0.145" '
            f'pos="-{LAMP_OUT_M} {head.reach_m:.2f} {head.height + (1 - index) * _LAMP_SPACING_M:.2f}" material="lamp" '
            f'rgba="0.1 0.1 0.1 1" group="{DRAWN}"/>'
            f'<geom name="halo_{name}{number}" type="sphere" size="0.3" '
            f'pos="-0.16 {head.reach_m:.2f} {head.height + (1 - index) * _LAMP_SPACING_M:.2f}" material="glow" '
            f'rgba="0.1 0.1 0.1 0" group="{DRAWN}"/>'
            for index, name in enumerate(LAMPS)
        )
        arm = (
            f'<geom name="boom{number}" type="box" size="0.05 {head.reach_m / 2:.2f} 0.05" '
            f'pos="0.1 {head.reach_m / 2:.2f} {head.height + 0.2:.2f}" rgba="0.3 0.3 0.32 1"/>'
            if head.reach_m
            else ""
        )
        texts.append(
            f'<body pos="{head.place[0]:.2f} {head.place[1]:.2f} 0" euler="0 0 {head.yaw:.4f}">'
            f'<geom name="mast{number}" type="cylinder" size="0.08 {pole:.2f}" pos="0.1 0 {pole:.2f}" '
            f'rgba="0.3 0.3 0.32 1"/>{arm}<geom name="case{number}" type="box" size="0.12 0.2 0.52" '
            f'pos="0 {head.reach_m:.2f} {head.height:.2f}" rgba="0.05 0.05 0.05 1"/>{lamps}</body>'
        )
    return texts
