"""What info.json declares is read as it is meant, and what cannot be read is left out with the reason."""

from pathlib import Path
from typing import Any

import pytest

from tempovla.data.declared import names_problem, parse_features, parse_names, parse_unit
from tempovla.data.errors import DatasetError
from tempovla.data.layout import Depth, Feature

PATH = Path("set/meta/info.json")


def parse(key: str, **entry: Any) -> Feature | str:
    features, left_out = parse_features({"features": {key: entry}}, PATH)
    return features.get(key) or left_out[key]


@pytest.mark.parametrize(
    ("names", "shape", "found"),
    [
        (["a", "b"], (2,), ("a", "b")),
        ([["a", "b"]], (2,), ("a", "b")),
        ({"motors": ["a", "b"]}, (2,), ("a", "b")),
        ({"arm": ["a"], "hand": ["b"]}, (2,), ("a", "b")),
        ({"x": 0, "y": 1}, (2,), ("x", "y")),
        ({"gripper": 1, "x": 0}, (2,), ("x", "gripper")),
        ({"arm": {"x": 1, "y": 0}, "hand": {"g": 2}}, (3,), ("y", "x", "g")),
        ({"x": 1, "y": 2}, (2,), ()),
        ({"x": 0, "y": 0}, (2,), ()),
        ({"x": 0, "motors": ["a"]}, (2,), ()),
        ({"x": True, "y": False}, (2,), ()),
        ([0, 1], (2,), ()),
        (["a", None], (2,), ()),
        (["a"], (2,), ()),
        ("actions", (2,), ()),
        ("action", (1,), ("action",)),
        (None, (2,), ()),
        (3, (1,), ()),
        (["arm", "joint"], (2, 7), ()),
        ([str(i) for i in range(4)], (2, 2), ("0", "1", "2", "3")),
    ],
)
def test_names_are_those_of_the_dimensions_in_order(names: Any, shape: tuple[int, ...], found: tuple[str, ...]) -> None:
    assert parse_names(names, shape) == found


@pytest.mark.parametrize(
    ("shape", "found"), [([], (1,)), ([1], (1,)), (7, (7,)), ([2, 7.0], (2, 7)), ([100, 384], (100, 384))]
)
def test_shapes_are_sizes(shape: Any, found: tuple[int, ...]) -> None:
    assert parse("observation.x", dtype="float32", shape=shape) == Feature("float32", found)


@pytest.mark.parametrize("shape", [None, [0], [-1], [2.5], ["7"], [True], "7", {"a": 1}, [[7]]])
def test_a_shape_that_is_none_leaves_the_column_out(shape: Any) -> None:
    assert "the shape" in str(parse("observation.x", dtype="float32", shape=shape))


@pytest.mark.parametrize(
    "dtype", ["string", "list", "object", "audio", "language", "complex64", "bfloat16", "datetime64[s]"]
)
def test_a_type_that_no_stream_holds_leaves_the_column_out(dtype: str) -> None:
    assert parse("annotation", dtype=dtype, shape=[1]).startswith("set/meta/info.json declares 'annotation'")  # type: ignore[union-attr]


@pytest.mark.parametrize("entry", [None, 3, [], {}, {"dtype": None, "shape": [1]}, {"shape": [1]}])
def test_an_entry_that_is_none_leaves_the_column_out(entry: Any) -> None:
    features, left_out = parse_features({"features": {"x": entry, "action": {"dtype": "int64", "shape": []}}}, PATH)
    assert features == {"action": Feature("float32", (1,))}  # as policies need it
    assert "gives 'x' no dtype" in left_out["x"]


def test_bookkeeping_columns_are_there_whatever_is_said_of_them() -> None:
    entries = {"timestamp": {"dtype": "float64", "shape": []}, "episode_index": {"dtype": "object", "shape": None}}
    features, left_out = parse_features({"features": entries}, PATH)
    assert features == {"timestamp": Feature("float64", (1,)), "episode_index": Feature("int64", (1,))}
    assert left_out == {}


@pytest.mark.parametrize(
    ("shape", "names", "found", "is_first"),
    [
        ([48, 64, 3], None, (48, 64, 3), False),
        ([3, 48, 64], None, (48, 64, 3), True),
        ([48, 64, 1], None, (48, 64, 3), False),
        ([3, 48, 3], ["channels", "height", "width"], (48, 3, 3), True),
        ([3, 48, 3], ["height", "width", "channel"], (3, 48, 3), False),
    ],
)
def test_cameras_are_height_width_and_rgb(shape: list[int], names: Any, found: tuple[int, ...], is_first: bool) -> None:
    feature = parse("observation.images.front", dtype="image", shape=shape, names=names)
    assert isinstance(feature, Feature)
    assert (feature.shape, feature.is_channels_first, feature.is_camera) == (found, is_first, True)


@pytest.mark.parametrize("shape", [[64, 3, 64], [64, 64, 4], [64, 64], [64, 64, 2], [1, 64, 64, 3]])
def test_a_camera_of_other_channels_is_left_out(shape: list[int]) -> None:
    assert "make it one or three channels" in str(parse("observation.images.front", dtype="video", shape=shape))


MILLIMETRES = {"is_depth_map": True, "depth_unit": "mm", "depth_min": 0.1, "depth_max": 5}


@pytest.mark.parametrize(
    ("key", "entry", "stored", "depth"),
    [
        ("d", {"dtype": "image", "shape": [48, 64, 1], "info": MILLIMETRES}, "image", Depth(0.001, 0.1, 5)),
        ("d", {"dtype": "image", "shape": [1, 48, 64], "info": {"video.is_depth_map": True}}, "image", Depth()),
        ("d", {"dtype": "depth", "shape": [48, 64], "info": {"depth_scale": 0.0001}}, "image", Depth(0.0001)),
        ("d", {"dtype": "uint16", "shape": [48, 64], "info": {"is_depth_map": True}}, "uint16", Depth()),
        ("observation.images.wrist_depth", {"dtype": "float32", "shape": [48, 64, 1]}, "float32", Depth()),
        ("observation.depth", {"dtype": "uint16", "shape": [48, 64], "info": {"depth_unit": "m"}}, "uint16", Depth(1)),
        ("d", {"dtype": "depth", "shape": [48, 64], "info": {"depth_unit": 0.001}}, "image", Depth(0.001)),
        ("d", {"dtype": "depth", "shape": [48, 64], "info": {"depth_unit": "0.001"}}, "image", Depth(0.001)),
    ],
)
def test_depth_is_known_by_what_is_declared_or_by_its_name(
    key: str, entry: dict[str, Any], stored: str, depth: Depth
) -> None:
    assert parse(key, **entry) == Feature(stored, (48, 64, 1), depth=depth)


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        (
            {"dtype": "video", "shape": [48, 64, 1], "info": {"is_depth_map": True}},
            "without the meaning of its levels",
        ),
        ({"dtype": "image", "shape": [48, 64, 3], "info": {"is_depth_map": True}}, "depth has one channel"),
        (
            {"dtype": "depth", "shape": [48, 64], "info": {"depth_unit": "inch"}},
            "the unit 'inch'; give m, cm, mm or the metres",
        ),
        ({"dtype": "depth", "shape": [48, 64], "info": {"depth_unit": 1000}}, "the unit 1000; give m, cm, mm or"),
        ({"dtype": "depth", "shape": [48, 64], "info": {"depth_unit": ["mm"]}}, "the unit ['mm']; give m, cm, mm or"),
        (
            {"dtype": "depth", "shape": [48, 64], "info": {"depth_scale": 1000}},
            "depth_scale 1000, which must be the metres",
        ),
        ({"dtype": "depth", "shape": [48, 64], "info": {"depth_unit": "m", "depth_scale": 0.001}}, "one of them"),
        ({"dtype": "depth", "shape": [48, 64], "info": {"depth_max": "far"}}, "the range"),
    ],
)
def test_depth_that_cannot_be_understood_is_left_out(entry: dict[str, Any], reason: str) -> None:
    assert reason in str(parse("d", **entry))


def test_what_is_no_distance_is_not_taken_for_depth() -> None:
    assert parse("observation.depth", dtype="float32", shape=[3]) == Feature("float32", (3,))
    assert parse("observation.depth_colours", dtype="image", shape=[48, 64, 3]) == Feature("image", (48, 64, 3))


def test_units_of_depth() -> None:
    assert [parse_unit(text) for text in ("m", "cm", "mm", "0.0002")] == [1.0, 0.01, 0.001, 0.0002]
    for text in ("inch", "", "0", "-1", "nan"):
        with pytest.raises(DatasetError, match="give m, cm, mm or"):
            parse_unit(text)


@pytest.mark.parametrize("entry", [None, [], "float32"])
def test_an_entry_that_is_none_has_no_names_to_complain_of(entry: Any) -> None:
    assert names_problem(entry, (1,)) is None
