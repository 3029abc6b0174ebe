"""A town of one corner, without a map."""

import numpy as np

from tempovla.env.driving.town import Connection, Lane, Street, Town


def corner() -> Town:
    """Two streets of one lane each that meet at (60, 0): east, and then north."""
    first = Lane("a_0", np.array([[0.0, 0.0], [60.0, 0.0]]), 3.3)
    second = Lane("b_0", np.array([[70.0, 10.0], [70.0, 110.0]]), 3.3)
    third = Lane("c_0", np.array([[80.0, 0.0], [180.0, 0.0]]), 3.3)
    left = Connection("a_0", "b_0", np.array([[60.0, 0.0], [67.0, 3.0], [70.0, 10.0]]), "l", ("light", 1), True)
    straight = Connection("a_0", "c_0", np.array([[60.0, 0.0], [80.0, 0.0]]), "s", ("light", 0), False)
    streets = {
        "a": Street("a", [first], {"b": [left], "c": [straight]}),
        "b": Street("b", [second]),
        "c": Street("c", [third]),
    }
    return Town("corner", None, streets, (), (), (), (), (), (), {"light": [straight, left]}, (200.0, 200.0))  # type: ignore[arg-type]
