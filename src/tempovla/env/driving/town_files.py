"""SUMO's files of towns: made from a seed by `netgenerate` and `netconvert`, or from OpenDRIVE, and kept in a cache.

What is made from a seed is laid out by `netgenerate`; here its nodes are moved, its streets bent and thinned out,
before `netconvert` builds lanes, sidewalks, crossings and traffic lights.
"""

from __future__ import annotations

import gzip
import hashlib
import math
import os
import re
import subprocess
import tempfile
import zlib
from collections import Counter
from dataclasses import astuple, dataclass
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from tempovla.env.driving.geometry import resampled
from tempovla.storage.cache import cache_folder
from tempovla.storage.extras import install_command
from tempovla.storage.whole import new_file

_RECIPE = 4
"""Number of the way in which towns are made; another one makes them anew."""
MARGIN_M = 50.0
"""Free land around the roads; it also keeps coordinates positive."""
_SPEED_M_S = 11.1
_LANE_WIDTH_M = 3.3
_PARKING_WIDTH_M = 2.2
_FEWEST_STREETS = 2


@dataclass(frozen=True)
class Layout:
    """How the streets of a made town run.

    Attributes:
        seed: of all that is drawn.
        shape: options of `netgenerate`.
        jitter_m: standard deviation by which junctions are moved.
        bend: largest deviation of a street from a straight one, as a share of its length.
        dropped: share of the streets that are left out.
        wide: share of the streets with two lanes in each direction.
        parking: share of the streets with a strip to park on, on both sides.
        lights: share of the junctions of four streets that have traffic lights, and half that of those of three. Those
            of five have none: each of their streets would wait for minutes.
    """

    seed: int
    shape: tuple[str, ...]
    jitter_m: float = 9.0
    bend: float = 0.11
    dropped: float = 0.12
    wide: float = 0.3
    parking: float = 0.6
    lights: float = 0.75


def _grid(seed: int, columns: int = 4, rows: int = 4, length_m: int = 125) -> Layout:
    sizes = ("--grid.x-number", str(columns), "--grid.y-number", str(rows), "--grid.length", str(length_m))
    return Layout(seed, ("--grid", *sizes))


LAYOUTS: dict[str, Layout] = {
    "riverside": _grid(seed=11),
    "hillcrest": Layout(
        23,
        ("--spider", "--spider.arm-number", "5", "--spider.circle-number", "2", "--spider.space-radius", "115"),
        jitter_m=6.0,
        dropped=0.0,
    ),
    "crossing": Layout(5, ("--grid", "--grid.number", "3", "--grid.length", "80"), jitter_m=4.0, dropped=0.0),
}
"""The towns that need no files: `riverside` is meant for training, `hillcrest` to be unseen, `crossing` is tiny."""
_SEEDED = re.compile(r"seed-(\d{1,9})")
_CARLA = re.compile(r"Town\d\d(HD)?")


def check_town(town: str) -> None:
    """Refuse a town that there is not.

    Raises:
        ValueError: naming the towns that there are, or the file that is missing.
    """
    if town in LAYOUTS or _SEEDED.fullmatch(town):
        return
    if town.endswith((".xodr", ".xodr.gz", ".net.xml")):
        if not Path(town).expanduser().is_file():
            raise ValueError(
                f"town={town!r}: there is no such file; give the path of an OpenDRIVE map or a town's name"
            )
        return
    if _CARLA.fullmatch(town):
        _carla_file(town)
        return
    near = get_close_matches(town, LAYOUTS, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    raise ValueError(
        f"town={town!r} is unknown; {hint}choose from {', '.join(LAYOUTS)}, seed-N, Town01 to Town07 (with py123d) or "
        "the path of an OpenDRIVE map (.xodr)"
    )


def network_file(town: str) -> Path:
    """Return the path of a town's SUMO network, which is made if the cache lacks it.

    Args:
        town: a name of `LAYOUTS`, `seed-N`, `Town01` to `Town07`, or a path.

    Raises:
        ValueError: for an unknown town, or a map that cannot be converted.
        ModuleNotFoundError: if SUMO is not installed.
    """
    check_town(town)
    if town.endswith(".net.xml"):
        path = Path(town).expanduser()
        if not _is_whole_network(path):
            raise ValueError(f"town={town!r} is no whole network of SUMO; make it again, or give an OpenDRIVE map")
        return path
    made = LAYOUTS.get(town)
    if made is None and (seeded := _SEEDED.fullmatch(town)):
        made = _grid(int(seeded[1]))
    if made is not None:
        text = repr(astuple(made)).encode()
    else:
        text = _opendrive(town)
    key = hashlib.sha256(str(_RECIPE).encode() + text).hexdigest()[:16]
    target = cache_folder() / "driving" / f"{Path(town).stem.split('.')[0]}-{key}.net.xml"
    if not target.is_file() or not _is_whole_network(target):
        with tempfile.TemporaryDirectory() as folder, new_file(target) as staged:
            made_file = Path(folder) / "town.net.xml"
            if made is not None:
                _generate(made, Path(folder), made_file)
            else:
                _convert_opendrive(text, Path(folder), made_file, town)
            staged.write_bytes(made_file.read_bytes())
    return target


def _is_whole_network(path: Path) -> bool:
    """Whether a file begins and ends as SUMO's networks do."""
    data = path.read_bytes()
    return b"<net version=" in data and b"<location " in data and data.rstrip().endswith(b"</net>")


def sumo_home() -> Path:
    """Return the folder of SUMO's files.

    Raises:
        ModuleNotFoundError: naming the command that installs it.
    """
    found = find_spec("sumo")
    if found is None or not found.submodule_search_locations:
        told = f"the driving simulator needs SUMO; run: {install_command('driving')}"
        raise ModuleNotFoundError(told, name="sumo")
    return Path(next(iter(found.submodule_search_locations)))


def _run(program: str, *arguments: str) -> None:
    home = sumo_home()
    command = [str(home / "bin" / program), *arguments, "--no-warnings", "true", "--xml-validation", "never"]
    done = subprocess.run(command, env=os.environ | {"SUMO_HOME": str(home)}, capture_output=True, text=True)
    if done.returncode:
        reason = " ".join(line for line in done.stderr.split("\n") if line.startswith("Error"))[:300]
        raise ValueError(f"{program} cannot make the town: {reason or done.stderr[:300]}")


def _generate(layout: Layout, folder: Path, target: Path) -> None:
    """Write the network of a made town."""
    plain = str(folder / "plain")
    _run("netgenerate", *layout.shape, "--seed", str(layout.seed), "--plain-output-prefix", plain)
    nodes, streets = _plain(Path(plain + ".nod.xml"), Path(plain + ".edg.xml"))
    generator = np.random.default_rng(layout.seed)
    names = sorted(nodes)
    for name in names:
        nodes[name] = nodes[name] + generator.normal(0.0, layout.jitter_m, 2).clip(-2 * layout.jitter_m, None)
    lowest = np.min(list(nodes.values()), axis=0)
    nodes = {name: place - lowest + MARGIN_M for name, place in nodes.items()}
    streets = _thinned(streets, layout.dropped, generator)
    degree = Counter(name for street in streets for name in street)
    with_lights = {name for name in names if degree[name] == 4 and generator.random() < layout.lights}
    with_lights |= {name for name in names if degree[name] == 3 and generator.random() < layout.lights / 2}
    _write_nodes(Path(plain + ".nod.xml"), nodes, with_lights)
    _write_streets(Path(plain + ".edg.xml"), nodes, streets, layout, generator)
    _run(
        "netconvert", "-n", plain + ".nod.xml", "-e", plain + ".edg.xml", "-o", str(target), "--seed", "1",
        "--offset.disable-normalization", "--sidewalks.guess", "--crossings.guess", "--walkingareas",
        "--default.sidewalk-width", "2.2", "--tls.green.time", "13", "--tls.left-green.time", "5",
        "--junctions.corner-detail", "8", "--junctions.internal-link-detail", "12", "--default.junctions.radius", "9",
        "--no-turnarounds", "--default.connection.cont-pos", "0",
    )  # fmt: skip


def _plain(nodes: Path, edges: Path) -> tuple[dict[str, np.ndarray], list[tuple[str, str]]]:
    """The junctions' places, and the pairs of junctions that a street joins."""
    places = {
        node.attrib["id"]: np.array([float(node.attrib["x"]), float(node.attrib["y"])])
        for node in ElementTree.parse(nodes).getroot().iter("node")
    }
    joined = {
        tuple(sorted((edge.attrib["from"], edge.attrib["to"])))
        for edge in ElementTree.parse(edges).getroot().iter("edge")
    }
    return places, sorted((a, b) for a, b in joined)


def _thinned(streets: list[tuple[str, str]], share: float, generator: np.random.Generator) -> list[tuple[str, str]]:
    """The streets without some of them; every junction keeps at least two, and the town hangs together."""
    kept = list(streets)
    for index in generator.permutation(len(streets))[: round(share * len(streets))]:
        rest = [street for street in kept if street != streets[index]]
        degree = Counter(name for street in rest for name in street)
        if min(degree[name] for name in streets[index]) >= _FEWEST_STREETS and _connected(rest):
            kept = rest
    return kept


def _connected(streets: list[tuple[str, str]]) -> bool:
    names = {name for street in streets for name in street}
    reached, grew = {streets[0][0]}, True
    while grew:
        more = {name for street in streets if reached & set(street) for name in street}
        grew = not more <= reached
        reached |= more
    return reached == names


def _write_nodes(path: Path, nodes: dict[str, np.ndarray], with_lights: set[str]) -> None:
    root = ElementTree.Element("nodes")
    for name, place in nodes.items():
        kind = "traffic_light" if name in with_lights else "priority"
        ElementTree.SubElement(root, "node", id=name, x=f"{place[0]:.2f}", y=f"{place[1]:.2f}", type=kind)
    ElementTree.ElementTree(root).write(path)


def _write_streets(
    path: Path,
    nodes: dict[str, np.ndarray],
    streets: list[tuple[str, str]],
    layout: Layout,
    generator: np.random.Generator,
) -> None:
    root = ElementTree.Element("edges")
    for start, end in streets:
        line = _bent(nodes[start], nodes[end], layout.bend * float(generator.uniform(-1, 1)))
        wide, parking = generator.random() < layout.wide, generator.random() < layout.parking
        for a, b, points in ((start, end, line), (end, start, line[::-1])):
            facts = {
                "id": f"{a}.{b}",
                "from": a,
                "to": b,
                "numLanes": str(1 + wide + parking),
                "priority": str(1 + wide),
                "speed": str(_SPEED_M_S),
                "width": str(_LANE_WIDTH_M),
                "shape": " ".join(f"{x:.2f},{y:.2f}" for x, y in points),
            }
            edge = ElementTree.SubElement(root, "edge", facts)
            if parking:
                ElementTree.SubElement(edge, "lane", index="0", disallow="all", width=str(_PARKING_WIDTH_M))
    ElementTree.ElementTree(root).write(path)


def _bent(start: np.ndarray, end: np.ndarray, bend: float) -> np.ndarray:
    """A line between two points that swings to one side, straight at its ends, by a share of its length."""
    along = np.linspace(0.0, 1.0, 13)[:, None]
    across = np.array([-(end - start)[1], (end - start)[0]])
    line = start + along * (end - start) + bend * np.sin(math.pi * along) ** 2 * across
    return resampled(line, 8.0)


def _carla_file(town: str) -> Path:
    found = find_spec("py123d")
    if found is None or not found.submodule_search_locations:
        raise ValueError(
            f"town={town!r}: CARLA's maps come with the package py123d, which is not installed; install it, or give "
            "the path of an OpenDRIVE map"
        )
    package = Path(next(iter(found.submodule_search_locations)))
    files = sorted(package.rglob(f"{town}.xodr*"))
    if not files:
        raise ValueError(f"town={town!r}: py123d has no such map; give the path of an OpenDRIVE map")
    return files[0]


def _opendrive(town: str) -> bytes:
    path = _carla_file(town) if _CARLA.fullmatch(town) else Path(town).expanduser()
    data = path.read_bytes()
    try:
        return gzip.decompress(data) if path.suffix == ".gz" else data
    except (OSError, EOFError, zlib.error) as problem:
        raise ValueError(f"town={town!r}: {path} cannot be decompressed ({problem}); copy the file again") from None


def _convert_opendrive(text: bytes, folder: Path, target: Path, town: str) -> None:
    source = folder / "town.xodr"
    source.write_bytes(text)
    folder_of_types = sumo_home() / "data" / "typemap"
    types = ("opendriveNetconvert.typ.xml", "opendriveNetconvertPedestrians.typ.xml")
    first = folder / "first.net.xml"
    try:
        _run(
            "netconvert", "--opendrive", str(source), "-o", str(first),
            "-t", ",".join(str(folder_of_types / name) for name in types),
            "--walkingareas", "--crossings.guess", "--tls.discard-simple", "--tls.cycle.time", "40",
            "--geometry.remove", "--no-turnarounds",
        )  # fmt: skip
        left, low = _lowest(first)
        shift = ("--offset.x", f"{MARGIN_M - left:.2f}", "--offset.y", f"{MARGIN_M - low:.2f}")
        _run("netconvert", "-s", str(first), "-o", str(target), "--offset.disable-normalization", *shift)
    except ValueError as error:
        raise ValueError(f"town={town!r}: {error}; give an OpenDRIVE map of roads") from None


def _lowest(network: Path) -> tuple[float, float]:
    """The smallest x and y of a network [m].

    Raises:
        ValueError: if it has no roads.
    """
    location = ElementTree.parse(network).getroot().find("location")
    bounds = [float(value) for value in location.attrib["convBoundary"].split(",")] if location is not None else []
    if not bounds or bounds[:2] == bounds[2:]:
        raise ValueError("netconvert cannot make the town: there are no roads")
    return bounds[0], bounds[1]
