"""The simulation: suites with fixtures reset as LIBERO resets them, and a model is written as its own."""

from pathlib import Path

import numpy as np
import pytest
from tests.libero_standins import write_spatial_assets

pytestmark = pytest.mark.sim

mujoco = pytest.importorskip("mujoco")
pytest.importorskip("robosuite")

from robosuite.utils.errors import RandomizationError  # noqa: E402

from tempovla.env import libero_suites  # noqa: E402
from tempovla.env.libero_setup import import_environments  # noqa: E402
from tempovla.env.libero_simulation import Simulation  # noqa: E402

ON_CABINET = "pick_up_the_black_bowl_on_the_wooden_cabinet_and_place_it_on_the_plate"
CABINET = "wooden_cabinet_1"


@pytest.fixture(scope="module")
def standins(libero_assets: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("assets")
    write_spatial_assets(folder, libero_assets / "textures", libero_assets / "scenes/libero_floor_base_style.xml")
    return folder


@pytest.fixture(scope="module")
def simulation(standins: Path) -> Simulation:
    return Simulation("libero_spatial", ON_CABINET, str(standins))


@pytest.mark.parametrize("index", [None, 3])
def test_fixtures_are_where_libero_puts_them(index: int | None, simulation: Simulation, standins: Path) -> None:
    """LIBERO compiles the model anew at every reset; here others were played before."""
    states = libero_suites.initial_states("libero_spatial", ON_CABINET)
    problem = str(libero_suites.problem_file("libero_spatial", ON_CABINET))
    plain = import_environments(standins).env_wrapper.ControlEnv(
        problem, use_camera_obs=False, has_offscreen_renderer=False
    )
    simulation.reset(5)
    np.random.seed(6)
    plain.reset()
    if index is not None:
        plain.set_init_state(states[index])
    simulation.reset(6, None if index is None else states[index])
    np.testing.assert_array_equal(simulation.state, plain.get_sim_state())
    np.testing.assert_array_equal(simulation.model.body_pos, plain.sim.model.body_pos)
    np.testing.assert_array_equal(simulation.model.body_quat, plain.sim.model.body_quat)
    np.testing.assert_array_equal(simulation.data.xpos, plain.sim.data.xpos)


def test_a_seed_says_where_fixtures_are_whatever_was_played_before(simulation: Simulation) -> None:
    fixed = libero_suites.initial_states("libero_spatial", ON_CABINET)[0]

    def places(seed: int) -> np.ndarray:
        simulation.reset(seed, fixed)
        simulation.step(np.full(7, 0.5))
        return simulation.data.xpos.copy()

    first, other, again = places(1), places(2), places(1)
    np.testing.assert_array_equal(first, again)
    cabinet = simulation.model.body(f"{CABINET}_main").id
    assert not np.array_equal(first[cabinet], other[cabinet])


def test_the_written_model_has_the_fixtures_of_the_episode(simulation: Simulation) -> None:
    simulation.reset(7)
    model = mujoco.MjModel.from_xml_string(simulation.model_xml)
    np.testing.assert_allclose(model.body_pos, simulation.model.body_pos, rtol=1e-12)
    np.testing.assert_allclose(model.body_quat, simulation.model.body_quat, atol=1e-6)  # LIBERO's are not quite 1 long


def test_placements_are_drawn_again_until_one_is_possible_but_other_errors_are_told(
    simulation: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """LIBERO's own loop tries again whatever goes wrong, for ever."""
    environment = simulation._env
    reset, errors = environment.reset, [RandomizationError("no room"), KeyError("lost")]

    def failing_reset() -> dict:
        if errors:
            raise errors.pop(0)
        return reset()

    monkeypatch.setattr(environment, "reset", failing_reset)
    with pytest.raises(KeyError, match="lost"):
        simulation.reset(0)
    simulation.reset(0)


def test_a_seed_without_any_possible_placement_is_told(simulation: Simulation, monkeypatch: pytest.MonkeyPatch) -> None:
    draws = []

    def no_room() -> None:
        draws.append(np.random.random())
        raise RandomizationError("no room")

    monkeypatch.setattr(simulation._env, "reset", no_room)
    with pytest.raises(ValueError, match=f"^seed=3: LIBERO found none of 200 placements of {ON_CABINET} possible; "):
        simulation.reset(3)
    assert draws == np.random.RandomState(3).random(200).tolist()


def test_a_task_without_any_possible_placement_is_told(
    libero_assets: Path, standins: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(*args: str, **options: bool) -> None:
        raise RandomizationError("no room")

    monkeypatch.setattr(import_environments(libero_assets).env_wrapper, "ControlEnv", no_room)
    with pytest.raises(ValueError, match=rf"placements of {ON_CABINET} possible, drawn from seeds 0 to 199; its"):
        Simulation("libero_spatial", ON_CABINET, str(standins))


def test_another_simulation_does_not_change_what_model_is_written(libero_assets: Path) -> None:
    soup, cheese = libero_suites.task_names("libero_object")[:2]
    first = Simulation("libero_object", soup)
    written = first.model_xml
    Simulation("libero_object", cheese)
    assert first.model_xml == written
    assert all(f'name="{name}_main"' in written for name in first.object_names)
