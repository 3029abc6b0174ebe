import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from tempovla.timeline.config import config_from_json, config_to_json


@dataclass(frozen=True)
class Part:
    weight: float = 1.0


@dataclass(frozen=True)
class Whole:
    size: int
    cameras: tuple[str, ...] = ()
    part: Part = field(default_factory=Part)
    scale: tuple[float, ...] | None = None
    other: Part | None = None
    parts: tuple[Part, ...] = ()
    named: Mapping[str, Part] = field(default_factory=dict)


def test_round_trip_through_json_brings_tuples_and_nested_configs_back():
    config = Whole(3, ("front", "wrist"), Part(0.5))
    assert config_from_json(Whole, json.loads(json.dumps(config_to_json(config)))) == config
    config = Whole(3, scale=(0.5, 2.0), other=Part(3.0), parts=(Part(1.0), Part(2.0)), named={"a.b": Part(4.0)})
    assert config_from_json(Whole, json.loads(json.dumps(config_to_json(config)))) == config


def test_what_is_left_out_takes_its_default():
    assert config_from_json(Whole, {"size": 1}) == Whole(1)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            {"size": 1, "sizes": 2},
            r"statevla: keys \['sizes'\] are unknown to Whole; did you mean 'size'\?",
        ),
        (
            {"size": 1, "horizon": 2},
            r"statevla: keys \['horizon'\] are unknown to Whole; it has \['cameras', 'named', 'other', 'part', ",
        ),
        ({}, r"statevla: keys \['size'\] of Whole are missing; add them"),
        ({"size": 1, "part": {"w": 1}}, r"statevla.part: keys \['w'\] are unknown to Part"),
        ({"size": 1, "named": {"a": {"w": 1}}}, r"statevla.named.a: keys \['w'\] are unknown to Part"),
        ({"size": 1, "named": {"a": 3}}, "statevla.named.a is 3; it must be"),
        ({"size": 1, "parts": [{}, {"w": 1}]}, r"statevla.parts\[1\]: keys \['w'\] are unknown to Part"),
    ],
)
def test_unknown_and_missing_keys_are_named_with_their_place(data, message):
    with pytest.raises(ValueError, match=message):
        config_from_json(Whole, data, "statevla")


@dataclass(frozen=True)
class Typed:
    number: float = 0.0
    on: bool = False
    kind: Literal["a", "b"] = "a"
    name: str | None = None
    size: int | tuple[int, int] = 1
    options: Mapping[str, Any] = field(default_factory=dict)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"number": "1"}, r"typed\.number is '1'; it must be a number"),
        ({"number": True}, r"typed\.number is True; it must be a number"),
        ({"on": 1}, r"typed\.on is 1; it must be true or false"),
        ({"kind": "c"}, r"typed\.kind is 'c'; choose from a, b"),
        ({"kind": ["a"]}, r"typed\.kind is \['a'\]; choose from a, b"),
        ({"name": 3}, r"typed\.name is 3; it must be text"),
        ({"size": [1, 2, 3]}, r"typed\.size is \[1, 2, 3\]; it must be a list of 2"),
        ({"size": 10**30}, r"typed\.size is 1000.*; it must be a list of 2"),
        ({"options": [1]}, r"typed\.options is \[1\]; it must be an object"),
        ([], r"typed is \[\]; it must be an object"),
    ],
)
def test_a_value_of_another_type_is_named(data, message):
    with pytest.raises(ValueError, match=message):
        config_from_json(Typed, data, "typed")


def test_whole_numbers_are_numbers_and_each_of_several_types_will_do():
    read = config_from_json(Typed, {"number": 1, "size": [1, 2], "name": None, "options": {"x": 1}})
    assert read == Typed(number=1, size=(1, 2), options={"x": 1})
    assert config_from_json(Typed, {"size": 4, "name": "x", "kind": "b"}) == Typed(size=4, name="x", kind="b")
