"""Stand-ins for the assets of libero_spatial: boxes of about the right size, with LIBERO's joints and sites.

The suite's real assets are not beside the checkout; what it needs from the code (fixtures placed in the model, drawers,
a stove) does not depend on how things look.
"""

from __future__ import annotations

import re
from pathlib import Path

_SIZES = {  # half sizes [m]
    "stable_scanned_objects/akita_black_bowl": (0.04, 0.04, 0.02),
    "stable_scanned_objects/plate": (0.06, 0.06, 0.01),
    "stable_scanned_objects/glazed_rim_porcelain_ramekin": (0.03, 0.03, 0.02),
    "stable_hope_objects/cookies": (0.03, 0.04, 0.02),
}
_DRAWERS = {"top": 0.17, "middle": 0.1, "bottom": 0.04}


def write_spatial_assets(folder: Path, textures: Path, scene: Path) -> None:
    """Write a folder that can be LIBERO's assets.

    Args:
        folder: is made.
        textures: a real texture folder.
        scene: a real scene; a table is put into it.
    """
    for path, size in _SIZES.items():
        name = Path(path).name
        _write(folder / path / f"{name}.xml", _model(f'<body name="object">{_box(size)}</body>', size))
    _write(folder / "articulated_objects/wooden_cabinet.xml", _cabinet())
    _write(folder / "articulated_objects/flat_stove.xml", _stove())
    (folder / "textures").symlink_to(textures)
    legs = "".join(
        f'<geom name="table_leg{leg}_visual" type="cylinder" size="0.02 0.4" contype="0" conaffinity="0" group="1"/>'
        for leg in range(1, 5)
    )
    table = (
        '<body name="table"><geom name="table_collision" type="box" size="0.5 0.6 0.025"/>'
        '<geom name="table_visual" type="box" size="0.5 0.6 0.025" contype="0" conaffinity="0" group="1"/>'
        f'<site name="table_top" pos="0 0 0.025" size="0.001"/>{legs}</body></worldbody>'
    )
    text = re.sub(r'<body name="floor"[^>]*>(.*?)</body>', r"\1", scene.read_text(), flags=re.DOTALL)
    _write(folder / "scenes/libero_tabletop_base_style.xml", text.replace("</worldbody>", table))


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def _text(values: tuple[float, ...]) -> str:
    return " ".join(str(value) for value in values)


def _box(half: tuple[float, ...], position: tuple[float, ...] = (0, 0, 0)) -> str:
    shape = f'type="box" size="{_text(half)}" pos="{_text(position)}"'
    return f'<geom {shape} density="100" group="0"/><geom {shape} contype="0" conaffinity="0" group="1"/>'


def _region(name: str, half: tuple[float, ...], position: tuple[float, ...]) -> str:
    return (
        f'<site name="{name}" type="box" size="{_text(half)}" pos="{_text(position)}" quat="1 0 0 0" rgba="0.8 0 0 0"/>'
    )


def _model(body: str, half: tuple[float, ...]) -> str:
    marks = {"bottom": (0, 0, -half[2]), "top": (0, 0, half[2]), "horizontal_radius": (half[0], half[1], 0)}
    sites = "".join(
        f'<site name="{name}_site" pos="{_text(position)}" size="0.005" rgba="0 0 0 0"/>'
        for name, position in marks.items()
    )
    return f'<mujoco model="standin"><asset/><worldbody><body>{body}{sites}</body></worldbody></mujoco>'


def _cabinet() -> str:
    drawers = "".join(
        f'<body name="cabinet_{name}" pos="0 0 {height - 0.1}">'
        f'<joint name="{name}_level" type="slide" axis="0 1 0" range="-0.16 0.01" damping="5"/>'
        f"{_box((0.08, 0.08, 0.005))}{_region(f'{name}_region', (0.07, 0.07, 0.02), (0, 0, 0.02))}</body>"
        for name, height in _DRAWERS.items()
    )
    shell = _box((0.1, 0.1, 0.005), (0, 0, 0.11)) + _region("top_side", (0.1, 0.1, 0.01), (0, 0, 0.12))
    return _model(f'<body name="object">{shell}{drawers}</body>', (0.1, 0.1, 0.12))


def _stove() -> str:
    knob = (
        '<body name="button" pos="0.1 0 0.02"><joint name="button" type="hinge" axis="0 0 1" range="-0.005 2.1"'
        f' damping="1"/>{_box((0.01, 0.01, 0.01))}{_region("knob", (0.01, 0.01, 0.01), (0, 0, 0))}</body>'
    )
    plate = _box((0.09, 0.09, 0.01)) + _region("cook_region", (0.08, 0.08, 0.01), (0, 0, 0.02))
    burner = _region("burner", (0.06, 0.06, 0.001), (0, 0, 0.011))
    return _model(f'<body name="object">{plate}{burner}{knob}</body>', (0.1, 0.1, 0.01))
