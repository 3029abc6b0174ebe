"""The LIBERO environment: LIBERO's own episodes, pixel for pixel, and that a seed and an initial state say all."""

import dataclasses
import gc
from pathlib import Path

import mujoco
import numpy as np
import pytest

pytestmark = pytest.mark.sim

pytest.importorskip("robosuite")

from tempovla.env import libero_suites  # noqa: E402
from tempovla.env.libero import LiberoConfig, LiberoEnv  # noqa: E402
from tempovla.env.libero_setup import import_environments  # noqa: E402
from tempovla.timeline.keys import IMAGE_KEY_PREFIX, STATE_KEY  # noqa: E402

TASK = "pick_up_the_butter_and_place_it_in_the_basket"


@pytest.fixture(scope="module")
def env(libero_assets: Path) -> LiberoEnv:
    return LiberoEnv(LiberoConfig(task=TASK, image_size=64))


@pytest.fixture(scope="module")
def blind(libero_assets: Path) -> LiberoEnv:
    """Cheap to make and to reset: nothing is drawn."""
    return LiberoEnv(LiberoConfig(task=TASK, render=False, max_steps=15))


def play(env: LiberoEnv, steps: int = 6, **reset: object) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """States of an episode of random actions, and its last observation."""
    env.reset_state(**reset)
    generator = np.random.default_rng(3)
    states = [env.simulation.state]
    for _ in range(steps):
        env.advance(generator.uniform(-1, 1, 7))
        states.append(env.simulation.state)
    return np.stack(states), env.observe()


def reach(env: LiberoEnv, name: str, closed: bool) -> np.ndarray:
    """An action towards an object."""
    displacement = env.simulation.object_pose(name)[0] - env.simulation.hand_position
    return np.array([*np.clip(10 * displacement, -1, 1), 0, 0, 0, 1 if closed else -1])


@pytest.mark.slow
def test_states_and_pixels_are_those_of_plain_libero(env: LiberoEnv, libero_assets: Path) -> None:
    """LIBERO's own way: compile anew, set the fixed state; and robosuite's own renderer, whose first row is the lowest.

    Its observations after a fixed state are of 2 ms ago unless they are updated by force.
    """
    problem = str(libero_suites.problem_file("libero_object", TASK))
    plain = import_environments(libero_assets).OffScreenRenderEnv(
        bddl_file_name=problem, camera_heights=64, camera_widths=64
    )

    def own_context() -> None:
        context = plain.env.sim._render_context_offscreen
        context.gl_ctx.make_current()
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, context.con)

    def show_images(shown: bool) -> None:
        for name in ("agentview_image", "robot0_eye_in_hand_image"):
            plain.env.modify_observable(name, "enabled", shown)

    own_context()
    np.random.seed(5)
    plain.reset()
    show_images(False)
    plain.set_init_state(libero_suites.initial_states("libero_object", TASK)[7])
    for _ in range(5):
        plain.step(np.zeros(7))
    env.reset_state(seed=5, init_state=7)
    generator = np.random.default_rng(0)
    for step in range(40):
        np.testing.assert_array_equal(env.simulation.state, plain.get_sim_state())
        action = generator.uniform(-1, 1, 7) if step < 5 else reach(env, "butter_1", closed=step > 30)
        plain.step(action)
        env.advance(action)
    assert env.simulation.gripper_opening < 0.06  # it holds the butter
    own_context()
    show_images(True)
    plain._update_observables(force=True)
    theirs, ours = plain.env._get_observations(), env.observe()
    np.testing.assert_array_equal(ours[IMAGE_KEY_PREFIX + "agentview_rgb"], theirs["agentview_image"][::-1])
    np.testing.assert_array_equal(ours[IMAGE_KEY_PREFIX + "eye_in_hand_rgb"], theirs["robot0_eye_in_hand_image"][::-1])
    state = np.concatenate([theirs["robot0_joint_pos"], theirs["robot0_gripper_qpos"]])
    np.testing.assert_array_equal(ours[STATE_KEY], state.astype(np.float32))
    simulation = env.simulation
    np.testing.assert_array_equal(simulation.hand_position, theirs["robot0_eef_pos"])
    np.testing.assert_array_equal(simulation.hand_quaternion, theirs["robot0_eef_quat"])
    np.testing.assert_array_equal(simulation.object_pose("butter_1")[0], theirs["butter_1_pos"])
    own_context()  # robosuite frees its buffers whenever Python collects them, in whatever context is current then
    plain.close()
    gc.collect()


@pytest.mark.parametrize("init_state", [None, 4])
def test_seed_and_initial_state_say_all_about_an_episode(env: LiberoEnv, init_state: int | None) -> None:
    states, seen = play(env, seed=11, init_state=init_state)
    play(env, seed=12, init_state=9)
    again_states, again_seen = play(env, seed=11, init_state=init_state)
    np.testing.assert_array_equal(states, again_states)
    for key, value in seen.items():
        np.testing.assert_array_equal(value, again_seen[key])
    assert not np.array_equal(states, play(env, seed=12, init_state=None)[0])


def test_fast_rendering_looks_the_same(env: LiberoEnv) -> None:
    fast = LiberoEnv(LiberoConfig(task=TASK, image_size=64, rendering="fast"))
    fast.reset_state(seed=1, init_state=2)
    env.reset_state(seed=1, init_state=2)
    exact = env.observe()
    for key, image in fast.observe().items():
        difference = np.abs(image.astype(float) - exact[key])
        assert difference.mean() < 1.5  # of 255
        assert (difference > 16).mean() < 0.03
    np.testing.assert_array_equal(fast.simulation.state, env.simulation.state)


def test_observation_and_what_it_says(env: LiberoEnv) -> None:
    observation, info = env.reset(seed=0, options={"init_state": 1})
    assert list(observation) == [STATE_KEY, f"{IMAGE_KEY_PREFIX}agentview_rgb", f"{IMAGE_KEY_PREFIX}eye_in_hand_rgb"]
    assert env.observation_space.contains(observation)
    assert info["instruction"] == "pick up the butter and place it in the basket"
    assert env.simulation.objects_of_interest == ("butter_1", "basket_1")


def test_pictures_are_upright(env: LiberoEnv) -> None:
    """The brown basket stands in the lower right of the fixed camera's picture, where its geometry projects it."""
    observation, _ = env.reset(seed=0, options={"init_state": 0})
    model, data = env.simulation.model, env.simulation.data
    camera = model.camera("agentview").id
    axes = data.cam_xmat[camera].reshape(3, 3)
    right, up, backward = (env.simulation.object_pose("basket_1")[0] - data.cam_xpos[camera]) @ axes
    scale = 32 / np.tan(np.radians(model.cam_fovy[camera]) / 2) / -backward
    row, column = round(31.5 - up * scale), round(31.5 + right * scale)
    red, _, blue = observation[f"{IMAGE_KEY_PREFIX}agentview_rgb"][row - 2 : row + 3, column - 2 : column + 3].mean(
        (0, 1)
    )
    assert red > 1.3 * blue  # the floor is grey


def test_another_task_is_played_from_then_on(blind: LiberoEnv) -> None:
    before, _ = play(blind, seed=4, init_state=0)
    other = "pick_up_the_milk_and_place_it_in_the_basket"
    _, info = blind.reset(seed=4, options={"task": other, "init_state": 0})
    assert info["task"] == blind.task == other
    assert blind.simulation.objects_of_interest == ("milk_1", "basket_1")
    again, _ = play(blind, seed=4, task=TASK, init_state=0)
    np.testing.assert_array_equal(before, again)


def test_without_a_seed_placements_go_on_being_drawn(env: LiberoEnv) -> None:
    def placements() -> list[np.ndarray]:
        env.reset_state(seed=5)
        drawn = []
        for _ in range(2):
            env.reset_state()
            drawn.append(env.simulation.state)
        return drawn

    first, again = placements(), placements()
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first[0], first[1])


def test_numpys_global_generator_is_left_alone(env: LiberoEnv) -> None:
    np.random.seed(1)
    expected = np.random.random(2)
    np.random.seed(1)
    env.reset_state(seed=9)
    np.testing.assert_array_equal(np.random.random(2), expected)


def drop_into_basket(env: LiberoEnv) -> None:
    """Puts the butter high above the basket's middle, where it falls in."""
    data = env.simulation.data
    address = env.simulation.model.joint("butter_1_joint0").qposadr[0]
    data.qpos[address : address + 3] = env.simulation.object_pose("basket_1")[0] + [0, 0, 0.4]


@pytest.mark.parametrize("terminate", [True, False])
def test_terminates_at_the_first_success(terminate: bool, blind: LiberoEnv, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blind, "config", dataclasses.replace(blind.config, terminate_on_success=terminate))
    blind.reset_state(seed=0, task=TASK, init_state=0)
    assert blind.advance(np.zeros(7)) == (0.0, False, False, {"success": False})
    drop_into_basket(blind)
    ends = [blind.advance(np.zeros(7)) for _ in range(14)]
    first = next(index for index, end in enumerate(ends) if end[3]["success"])
    assert 0 < first < 13
    reward, terminated, truncated, _ = ends[first]
    assert (reward, terminated, truncated) == (1.0, terminate, False)
    assert [end[2] for end in ends] == [False] * 13 + [True]


@pytest.mark.parametrize("action", [[0.0] * 6, [1 / 3] * 6 + [np.nan], [1 / 3] * 6 + [np.inf]])
def test_bad_actions_are_refused(blind: LiberoEnv, action: list[float]) -> None:
    with pytest.raises(ValueError, match=r"7 finite numbers in \[-1, 1\], got \[.*\]$"):
        blind.step(action)


def test_unknown_names_and_numbers_are_refused(env: LiberoEnv) -> None:
    with pytest.raises(ValueError, match="no task 'pick_up_the_buter' in libero_object; did you mean " + TASK):
        env.reset_state(task="pick_up_the_buter")
    with pytest.raises(ValueError, match=r"cameras: no camera 'wrist' .*choose from .*agentview_rgb.*eye_in_hand_rgb"):
        LiberoEnv(LiberoConfig(cameras=("wrist",)))
    with pytest.raises(ValueError, match=r"init_state=50: .* has 50 initial states, from 0"):
        env.reset_state(init_state=50)
    with pytest.raises(ValueError, match="no object 'soap' in "):
        env.simulation.object_pose("soap")
    for field, value in {
        "suite": "libero",
        "image_size": 0,
        "max_steps": 0,
        "settle_steps": -1,
        "rendering": "ok",
    }.items():
        with pytest.raises(ValueError, match=field):
            LiberoConfig(**{field: value})


def test_drawn_placements_may_begin_with_the_arm_as_scattered_as_in_the_fixed_states(libero_assets: Path) -> None:
    still = LiberoEnv(LiberoConfig(task=TASK, render=False, settle_steps=0))
    scattered = LiberoEnv(LiberoConfig(task=TASK, render=False, settle_steps=0, joint_noise_rad=0.02))
    joints, fixed = [], libero_suites.initial_states("libero_object", TASK)[:, 1:8]
    for seed in range(30):
        scattered.reset_state(seed=seed)
        joints.append(scattered.state[:7])
        if seed % 10:
            continue
        still.reset_state(seed=seed)
        for name in still.simulation.object_names:
            np.testing.assert_array_equal(
                still.simulation.object_pose(name)[0], scattered.simulation.object_pose(name)[0]
            )
    scatter, benchmarks = (np.std(values - np.mean(values, axis=0)) for values in (np.stack(joints), fixed))
    assert scatter == pytest.approx(0.02, rel=0.1)
    assert benchmarks == pytest.approx(0.02, rel=0.1)
    scattered.reset_state(seed=3, init_state=3)
    still.reset_state(seed=4, init_state=3)
    np.testing.assert_array_equal(scattered.simulation.state, still.simulation.state)
