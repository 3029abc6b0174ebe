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


def test_an_unknown_task_is_refused_with_the_nearest_one_or_all():
    Config().check_task("push")
    with pytest.raises(ValueError, match=r"^task: no task 'raech'; did you mean reach\?$"):
        Config().check_task("raech")
    with pytest.raises(ValueError, match=r"^task: no task 'dance'; choose from reach, push$"):
        Config().check_task("dance")
