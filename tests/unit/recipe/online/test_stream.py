"""A run of learning online goes on with the settings that its checkpoint knows."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from tempovla.env.libero import LiberoConfig
from tempovla.recipe.online.stream import OnlineSchedule, OnlineStream
from tempovla.recipe.systems.world_model_config import OnlineConfig
from tempovla.recipe.systems.world_model_online import fixed_settings

POSITION = {"taken": 7, "experience": {"steps": 30}}


def stream_of(**fixed: Any) -> tuple[OnlineStream, list[Any]]:
    """A stream with these settings, and what its experience went to."""
    went: list[Any] = []
    experience: Any = SimpleNamespace(load_state_dict=went.append, state_dict=lambda: went[-1])
    sampler: Any = SimpleNamespace(batch_size=1)
    return OnlineStream(experience, sampler, OnlineSchedule(10, 0, 1.0), fixed=fixed), went


@pytest.mark.parametrize("fixed", [{}, {"fixed": {"seed_steps": 10}}])
def test_a_checkpoint_of_an_earlier_version_goes_on_and_the_next_one_knows_all_settings(fixed):
    now = {"seed_steps": 10, "replay_steps": 99, "settings.terminate_on_success": False}
    stream, went = stream_of(**now)
    stream.load_state_dict(POSITION | fixed)
    assert went == [POSITION["experience"]]
    assert stream.state_dict() == POSITION | {"fixed": now}


def test_a_setting_that_is_another_one_is_refused_before_anything_is_dropped():
    stream, went = stream_of(**{"settings.max_steps": 20})
    with pytest.raises(
        ValueError, match=r"^online\.settings\.max_steps=20 was None when the checkpoint was saved; go on"
    ):
        stream.load_state_dict(POSITION | {"fixed": {"settings.max_steps": None}})
    assert went == []


def test_all_fields_of_a_simulator_are_kept_but_its_task_and_those_that_change_nothing():
    first, other = (
        fixed_settings(OnlineConfig(env="libero", replay_steps=50), LiberoConfig(task=task, assets=folder))
        for task, folder in (("one", "/here"), ("two", "/there"))
    )
    assert first == other
    assert (first["settings.settle_steps"], first["settings.disturbance"], first["replay_steps"]) == (5, None, 50)
    assert fixed_settings(OnlineConfig(env="libero"), LiberoConfig(settle_steps=6))["settings.settle_steps"] == 6
