import json
from dataclasses import dataclass, field

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


def test_round_trip_through_json_brings_tuples_and_nested_configs_back():
    config = Whole(3, ("front", "wrist"), Part(0.5))
    assert config_from_json(Whole, json.loads(json.dumps(config_to_json(config)))) == config
    config = Whole(3, scale=(0.5, 2.0), other=Part(3.0), parts=(Part(1.0), Part(2.0)))
    assert config_from_json(Whole, json.loads(json.dumps(config_to_json(config)))) == config


def test_what_is_left_out_takes_its_default():
    assert config_from_json(Whole, {"size": 1}) == Whole(1)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            {"size": 1, "sizes": 2},
            r"statevla: keys \['sizes'\] are unknown to Whole; it has \['cameras', 'other', 'part', 'parts', ",
        ),
        ({}, r"statevla: keys \['size'\] of Whole are missing; add them"),
        ({"size": 1, "part": {"w": 1}}, r"statevla.part: keys \['w'\] are unknown to Part"),
        ({"size": 1, "parts": [{}, {"w": 1}]}, r"statevla.parts\[1\]: keys \['w'\] are unknown to Part"),
    ],
)
def test_unknown_and_missing_keys_are_named_with_their_place(data, message):
    with pytest.raises(ValueError, match=message):
        config_from_json(Whole, data, "statevla")
