"""What all environments on Meta-World's table let be chosen."""

from __future__ import annotations

from dataclasses import fields

import pytest

pytest.importorskip("gymnasium")

from tempovla.env.memory import MemoryConfig
from tempovla.env.metaworld import MetaWorldConfig
from tempovla.env.tabletop import TabletopConfig
from tempovla.timeline.keys import IMAGE_KEY_PREFIX, STATE_KEY

TABLES = [MetaWorldConfig, MemoryConfig]


@pytest.mark.parametrize("config_class", TABLES)
@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"image_size": 0}, "image_size=0 must be at least 1"),
        ({"supersample": 0}, "supersample=0 must be at least 1"),
        ({"max_steps": 0}, "max_steps=0 must be at least 1"),
        ({"mesh_cell_m": -0.1}, "mesh_cell_m=-0.1 must not be negative; 0 draws all details"),
    ],
)
def test_impossible_settings_are_refused(config_class, settings, said):
    with pytest.raises(ValueError, match=said):
        config_class(**settings)


@pytest.mark.parametrize("config_class", TABLES)
def test_spaces_follow_from_cameras_and_size(config_class):
    observations, actions = config_class(cameras=("corner",), image_size=32).spaces()
    assert {key: space.shape for key, space in observations.items()} == {
        STATE_KEY: (4,),
        IMAGE_KEY_PREFIX + "corner": (32, 32, 3),
    }
    assert actions.shape == (4,)
    assert list(config_class(render=False).spaces()[0]) == [STATE_KEY]


@pytest.mark.parametrize("config_class", TABLES)
def test_there_are_no_fixed_initial_states(config_class):
    config = config_class()
    assert config.init_state_count(config.task) == 0
    config.check_init_state(None)
    with pytest.raises(ValueError, match=f"init_state=0: {config.title} has no fixed initial states; give None"):
        config.check_init_state(0)


def test_what_is_drawn_is_drawn_alike():
    own = {"task", "max_steps"}
    drawn = [field.name for field in fields(TabletopConfig) if field.name not in own]
    assert [getattr(MetaWorldConfig(), name) for name in drawn] == [getattr(MemoryConfig(), name) for name in drawn]
