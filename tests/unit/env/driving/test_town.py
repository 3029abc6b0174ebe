"""Towns: made from a name, kept, and different from each other."""

import gzip
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tempovla.env.driving.route import random_route
from tempovla.env.driving.surface import ASPHALT, GRASS, PAVEMENT, STRIPE, WHITE, draw_surface
from tempovla.env.driving.town import load_town
from tempovla.env.driving.town_files import LAYOUTS, check_town, network_file, sumo_home

pytestmark = pytest.mark.usefixtures("sumo")


@pytest.mark.parametrize("name", sorted(LAYOUTS))
def test_built_in_towns_have_lights_crossings_turns_and_places_to_park(name: str) -> None:
    town = load_town(name)
    links = [link for street in town.streets.values() for ways in street.following.values() for link in ways]
    assert {"l", "r", "s"} <= {link.direction for link in links}
    assert town.lights
    assert town.crossings
    assert len(town.parking)
    assert {len(street.lanes) for street in town.streets.values()} == {1, 2}
    lowest = np.min([lane.shape.min(axis=0) for street in town.streets.values() for lane in street.lanes], axis=0)
    assert (lowest > 10.0).all()


def test_a_town_is_made_once_and_the_same_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    first = network_file("seed-7")
    assert network_file("seed-7") == first
    monkeypatch.setenv("TEMPOVLA_CACHE", str(tmp_path))
    again = network_file("seed-7")
    assert again != first

    def body(path: Path) -> str:  # without the comment that names the time
        return path.read_text().split("-->", 1)[1]

    assert body(again) == body(first)
    assert body(network_file("seed-8")) != body(first)


@pytest.mark.slow
def test_processes_that_make_one_town_at_once_all_have_it(tmp_path: Path) -> None:
    code = "from tempovla.env.driving.town_files import network_file; print(network_file('seed-9'))"
    environment = os.environ | {
        "TEMPOVLA_CACHE": str(tmp_path),
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }
    command = [sys.executable, "-c", code]
    makers = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    answers = {maker.communicate()[0].strip() for maker in makers}
    assert [maker.returncode for maker in makers] == [0, 0, 0]
    (path,) = (tmp_path / "driving").iterdir()
    assert answers == {str(path)}
    assert path.read_bytes().rstrip().endswith(b"</net>")


def test_an_opendrive_map_is_a_town(tmp_path: Path) -> None:
    home = sumo_home()
    source = tmp_path / "map.xodr"
    command = [home / "bin" / "netconvert", "-s", network_file("crossing"), "--opendrive-output", source]
    subprocess.run(command, check=True, capture_output=True, env={"SUMO_HOME": str(home)})
    town = load_town(str(source))
    route = random_route(town, np.random.default_rng(0), 80.0, 120.0)
    assert 80.0 <= route.length <= 120.0


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("riversid", "did you mean riverside"),
        ("seed-x", "choose from"),
        ("nowhere.xodr", "no such file"),
        ("Town99", "py123d"),
    ],
)
def test_an_unknown_town_is_refused_with_a_remedy(name: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        check_town(name)


def test_a_file_that_is_no_map_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "broken.xodr"
    path.write_text("<OpenDRIVE></OpenDRIVE>")
    with pytest.raises(ValueError, match=r"broken\.xodr.*cannot make the town"):
        network_file(str(path))


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("map.xodr.gz", b"no archive", "cannot be decompressed"),
        ("map.xodr.gz", gzip.compress(bytes(range(256)) * 9)[:100], "cannot be decompressed"),
        ("map.net.xml", b'<net version="1.20"><location netOffset="0,0"/>', "is no whole network of SUMO"),
        ("map.net.xml", b"", "is no whole network of SUMO"),
    ],
)
def test_a_map_that_is_cut_short_is_refused(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ValueError, match=words) as caught:
        network_file(str(path))
    assert str(path) in str(caught.value)


def test_a_kept_town_that_was_cut_short_is_made_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TEMPOVLA_CACHE", str(tmp_path))
    path = network_file("crossing")
    whole = path.read_text().split("-->", 1)[1]
    path.write_bytes(path.read_bytes()[:5000])
    assert network_file("crossing").read_text().split("-->", 1)[1] == whole


def test_the_ground_shows_what_lies_where() -> None:
    town = load_town("crossing")
    surface = draw_surface(town, 1024)
    middles = np.stack([street.lanes[0].shape[len(street.lanes[0].shape) // 2] for street in town.streets.values()])
    assert np.isin(surface.at(middles), (ASPHALT, WHITE, STRIPE)).all()
    walks = np.stack([lane.shape[len(lane.shape) // 2] for lane in town.sidewalks])
    assert (surface.at(walks) == PAVEMENT).mean() > 0.9
    assert surface.at(np.array([[2.0, 2.0]]))[0] == GRASS
    assert (surface.kinds == STRIPE).any()


def test_routes_are_of_the_asked_length_and_have_room_before_their_first_turn() -> None:
    town = load_town("riverside")
    for seed in range(8):
        route = random_route(town, np.random.default_rng(seed), 250.0, 400.0)
        assert 250.0 <= route.length <= 400.0
        assert route.command(0.0) == "follow"
        assert np.hypot(*np.diff(route.line, axis=0).T).max() < 0.6
    with pytest.raises(ValueError, match="no route of 90000"):
        random_route(town, np.random.default_rng(0), 90000.0, 90001.0)
