"""What a simulator's config answers where it says nothing of its own."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest

from tempovla.env.defaults import SimulatorDefaults
from tempovla.timeline import Embodiment


@dataclass(frozen=True)
class Config(SimulatorDefaults):
    embodiment: ClassVar[Embodiment] = Embodiment("arm", 3, 2, 10.0)
    cameras: tuple[str, ...] = ("top",)
    image_size: int = 8
    render: bool = True
    noise: int = 0
    house: int = 0

    recorded: ClassVar[tuple[str, ...]] = ("noise", "house")
    varied: ClassVar[tuple[str, ...]] = ("house",)

    def task_names(self) -> tuple[str, ...]:
        return "reach", "push"


def test_spaces_follow_from_the_body_and_the_cameras():
    pytest.importorskip("gymnasium")
    observations, actions = Config().spaces()
    assert {key: space.shape for key, space in observations.items()} == {
        "observation.state": (3,),
        "observation.images.top": (8, 8, 3),
    }
    assert observations["observation.images.top"].dtype == np.uint8
    assert (actions.shape, actions.low.tolist()) == ((2,), [-1, -1])
    for config in (Config(render=False), replace(Config(), cameras=())):
        assert list(config.spaces()[0]) == ["observation.state"]


def test_settings_are_told_as_the_command_line_takes_them(caplog):
    with caplog.at_level("INFO"):
        Config.from_recording({}, "own", noise=("lidar", "front"), house=True)
    assert "noise [lidar, front], house true" in [record.getMessage() for record in caplog.records]


def test_an_unknown_task_is_refused_with_the_nearest_one_or_all():
    Config().check_task("push")
    with pytest.raises(ValueError, match=r"^task: no task 'raech'; did you mean reach\?$"):
        Config().check_task("raech")
    with pytest.raises(ValueError, match=r"^task: no task 'dance'; choose from reach, push$"):
        Config().check_task("dance")


def test_what_evaluations_are_expected_to_change_is_taken_without_a_warning(caplog):
    recorded = {"simulator": "own", "noise": 1, "house": 1}
    with caplog.at_level("WARNING"):
        chosen = Config.from_recording(recorded, "own", noise=2, house=3)
        older = Config.from_recording({"simulator": "own", "noise": 1}, "own")
    assert (chosen.noise, chosen.house, older.house) == (2, 3, 0)
    assert [record.getMessage() for record in caplog.records] == ["noise is 2, but the policy was trained on 1"]
