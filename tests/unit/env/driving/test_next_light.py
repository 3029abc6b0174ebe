"""The traffic light that counts: the next one on the ego's own way."""

import numpy as np
import pytest
from tests.corner_town import corner

from tempovla.env.driving.next_light import next_light
from tempovla.env.driving.route import route_over
from tempovla.env.driving.scenery import LightHead


@pytest.mark.parametrize(
    ("states", "left", "straight"),
    [
        ("Gr", "red", "green"),
        ("rg", "green", "red"),
        ("yu", "red", "yellow"),
        ("OY", "yellow", "none"),
    ],
)
def test_it_shows_what_the_link_of_the_way_shows(states: str, left: str, straight: str) -> None:
    for streets, state in ((["a", "b"], left), (["a", "c"], straight)):
        route = route_over(corner(), streets)
        found = next_light(route, 40.0, {"light": states}, ())
        assert found is not None
        assert found["state"] == state
        assert found["distance_m"] == pytest.approx(route.turns[0].start_m - 40.0, abs=0.01)


def test_behind_its_stop_line_it_counts_no_longer() -> None:
    route = route_over(corner(), ["a", "b"])
    (turn,) = route.turns
    assert next_light(route, turn.start_m - 0.01, {"light": "rr"}, ()) is not None
    assert next_light(route, turn.start_m, {"light": "rr"}, ()) is None


def test_a_light_that_is_not_told_shows_nothing() -> None:
    found = next_light(route_over(corner(), ["a", "b"]), 0.0, {}, ())
    assert found is not None
    assert found["state"] == "none"


def test_its_heads_are_those_that_show_the_link_of_the_way() -> None:
    """A head looks back at the traffic that drives north, and hangs 2 m to the left of its pole."""
    pole = np.array([70.0, 20.0])
    heads = [
        LightHead(pole, np.pi / 2, "light", (1,), 2.0, 5.2),
        LightHead(pole, np.pi / 2, "light", (0,), 0.0, 3.0),
        LightHead(pole, np.pi / 2, "other", (1,), 0.0, 3.0),
        LightHead(pole, 0.0, "light", (0, 1), 0.0, 3.0),
    ]
    found = next_light(route_over(corner(), ["a", "b"]), 0.0, {"light": "rr"}, heads)
    assert found is not None
    assert found["heads"] == [[68.0, 19.87, 5.2], [69.87, 20.0, 3.0]]
