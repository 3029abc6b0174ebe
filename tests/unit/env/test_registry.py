"""Every simulator answers what collecting and evaluating ask."""

from __future__ import annotations

from dataclasses import replace

import pytest

pytestmark = pytest.mark.sim

pytest.importorskip("metaworld")

from tests.small_town import SMALL  # noqa: E402

from tempovla.env.checks import CHECKS  # noqa: E402
from tempovla.env.libero_setup import LiberoUnavailableError, package_root  # noqa: E402
from tempovla.env.protocol import SimulatorConfig, SimulatorEnv  # noqa: E402
from tempovla.env.registry import SIMULATOR_REGISTRY, simulator_class, simulator_name  # noqa: E402
from tempovla.timeline.driving import COMMANDS  # noqa: E402

SMALLER = {"driving": replace(SMALL, lidar=True, radar=True, imu=True)}
"""Those that are costly as they are by default."""


@pytest.fixture(scope="module", params=sorted(SIMULATOR_REGISTRY))
def config(request: pytest.FixtureRequest) -> SimulatorConfig:
    if request.param == "libero":
        try:
            package_root()
        except LiberoUnavailableError as error:
            pytest.skip(str(error))
        request.getfixturevalue("libero_assets")
    return SMALLER.get(request.param, simulator_class(request.param)())


@pytest.fixture(scope="module")
def blind(config: SimulatorConfig) -> SimulatorEnv:
    """One that draws nothing."""
    return replace(config, render=False).make()


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_it_does_what_is_asked_of_every_simulator(check, config: SimulatorConfig) -> None:
    check(config)


def test_tasks_are_told_in_lower_case_and_others_are_refused_by_name(config: SimulatorConfig) -> None:
    told = [config.instruction(task) for task in config.task_names()]
    assert all(words.islower() or words in COMMANDS.values() for words in told)
    with pytest.raises(ValueError, match=r"no task|no Meta-World task"):
        config.check_task("dance")


def test_a_config_is_found_by_its_name(config: SimulatorConfig) -> None:
    assert simulator_class(simulator_name(config)) is type(config)


def test_experts_play_in_what_is_asked_for(config: SimulatorConfig) -> None:
    plain = type(config)()
    chosen = type(config).for_experts(max_steps=7, **dict.fromkeys(config.recorded))
    assert chosen == replace(plain, **{**plain.demonstrated, "max_steps": 7})


def test_a_new_episode_has_not_ended(config: SimulatorConfig, blind: SimulatorEnv) -> None:
    blind.reset_state(seed=5)
    _, terminated, truncated, info = blind.advance([0.0] * config.embodiment.action_dim)
    assert (terminated, truncated, info["success"]) == (False, False, False)
    assert all(isinstance(text, str) for text in blind.simulator_description().values())


def test_initial_states_beyond_the_last_are_named(config: SimulatorConfig, blind: SimulatorEnv) -> None:
    task = config.task_names()[1] if config.tasks_share_spaces else config.task
    beyond = config.init_state_count(task)
    with pytest.raises(ValueError, match=f"init_state={beyond}: "):
        blind.reset_state(task=task, init_state=beyond)


def test_without_cameras_there_is_a_state_and_nothing_to_render(config: SimulatorConfig) -> None:
    env = replace(config, cameras=()).make()
    with pytest.raises(ValueError, match=r"^cameras=\(\): no camera to render; name one, or .* render=False$"):
        env.render()
    assert replace(config, cameras=(), render=False).make().render() is None
