"""The environment: what it shows, when episodes end, and that a seed says all."""

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

pytestmark = pytest.mark.sim

pytest.importorskip("metaworld")

from tempovla.env.expert import rollout_expert  # noqa: E402
from tempovla.env.metaworld import MetaWorldConfig, MetaWorldEnv  # noqa: E402
from tempovla.env.metaworld_tasks import INSTRUCTIONS  # noqa: E402
from tempovla.timeline.keys import STATE_KEY  # noqa: E402

CLOSE = np.array([0.0, 0.0, 0.0, 1.0], np.float32)


@pytest.fixture(scope="module")
def blind() -> MetaWorldEnv:
    """Cheap to make and to step: nothing is drawn."""
    return MetaWorldEnv(MetaWorldConfig(task="push-v3", render=False, max_steps=40))


def test_every_task_has_an_expert_and_its_own_instruction() -> None:
    from metaworld.env_dict import ALL_V3_ENVIRONMENTS
    from metaworld.policies import ENV_POLICY_MAP

    assert set(INSTRUCTIONS) == set(ALL_V3_ENVIRONMENTS) == set(ENV_POLICY_MAP)
    assert len(set(INSTRUCTIONS.values())) == 50


def test_follows_gymnasiums_interface() -> None:
    check_env(MetaWorldEnv(MetaWorldConfig(image_size=16)), skip_render_check=True)


def test_observation_has_lerobots_keys_and_no_object_or_goal(blind: MetaWorldEnv) -> None:
    seeing = MetaWorldEnv(MetaWorldConfig(task="push-v3"))
    observation, info = seeing.reset(seed=1)
    assert list(observation) == [STATE_KEY, "observation.images.corner2", "observation.images.gripperPOV"]
    assert observation["observation.images.corner2"].shape == (64, 64, 3)
    assert observation["observation.images.gripperPOV"].dtype == np.uint8
    assert info["instruction"] == "push the puck to the goal"
    without_images, _ = blind.reset(seed=1)
    assert list(without_images) == [STATE_KEY]
    np.testing.assert_array_equal(without_images[STATE_KEY], observation[STATE_KEY])
    other_layout, _ = blind.reset(seed=2)
    np.testing.assert_array_equal(other_layout[STATE_KEY], observation[STATE_KEY])


@pytest.mark.parametrize("camera", ["corner2", "gripperPOV"])
def test_images_are_the_right_way_up(camera: str) -> None:
    """The green goal marker of push shows where the camera's geometry, unrolled if it hangs upside down, puts it."""
    env = MetaWorldEnv(MetaWorldConfig(task="push-v3", image_size=128, cameras=(camera,)))
    observation, _ = env.reset(seed=3)
    red, green, blue = np.moveaxis(observation[f"observation.images.{camera}"].astype(int), -1, 0)
    marked = np.argwhere((green > 100) & (red < green // 2) & (blue < green // 2))
    assert len(marked) >= 2

    model, data = env._simulation.model, env._simulation.data
    index = model.camera(camera).id
    axes = data.cam_xmat[index].reshape(3, 3)
    right, up, backward = (env.privileged_observation[-3:] - data.cam_xpos[index]) @ axes
    if axes[2, 1] < -0.5:  # the camera's own up points down
        right, up = -right, -up
    scale = 64 / np.tan(np.radians(model.cam_fovy[index]) / 2) / -backward
    np.testing.assert_allclose(marked.mean(0), [63.5 - up * scale, 63.5 + right * scale], atol=2.5)


def test_seed_and_task_say_all_about_an_episode(blind: MetaWorldEnv) -> None:
    def episode() -> tuple[np.ndarray, np.ndarray]:
        blind.reset(seed=11, options={"task": "door-open-v3"})
        states = [blind.step(np.sin(np.arange(4) + step))[0][STATE_KEY] for step in range(20)]
        return blind.layout, np.stack(states)

    layout, states = episode()
    blind.reset(seed=12, options={"task": "push-v3"})
    blind.step(CLOSE)
    again_layout, again_states = episode()
    np.testing.assert_array_equal(layout, again_layout)
    np.testing.assert_array_equal(states, again_states)
    blind.reset(seed=12)
    assert not np.array_equal(blind.layout, layout)


@pytest.mark.parametrize("task", ["drawer-open-v3", "window-open-v3", "push-v3"])
def test_experts_are_told_from_the_start_where_things_are(blind: MetaWorldEnv, task: str) -> None:
    blind.reset(seed=5, options={"task": task})
    first = blind.privileged_observation
    np.testing.assert_array_equal(first[:18], first[18:36])
    blind.step(np.array([0, 0, 0, -1], np.float32))
    np.testing.assert_allclose(blind.privileged_observation[4:7], first[4:7], atol=0.01)  # 0.1 and more by Meta-World


def test_layouts_fill_the_tasks_own_range(blind: MetaWorldEnv) -> None:
    layouts = []
    for seed in range(30):
        blind.reset(seed=seed, options={"task": "drawer-open-v3"})
        layouts.append(blind.layout)
    space = blind._simulation._random_reset_space
    layouts = np.stack(layouts)
    assert ((layouts >= space.low) & (layouts <= space.high)).all()
    assert np.ptp(layouts[:, 0]) > 0.8 * (space.high - space.low)[0]


def test_without_a_seed_episodes_go_on_being_drawn_from_the_last_one(blind: MetaWorldEnv) -> None:
    def layouts() -> list[np.ndarray]:
        blind.reset(seed=5, options={"task": "push-v3"})
        drawn = []
        for _ in range(3):
            blind.reset()
            drawn.append(blind.layout)
        return drawn

    first, again = layouts(), layouts()
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first[0], first[1])


def test_truncates_at_the_step_limit_and_not_before(blind: MetaWorldEnv) -> None:
    blind.reset(seed=0)
    ends = [blind.step(CLOSE)[2:4] for _ in range(40)]
    assert ends == [(False, False)] * 39 + [(False, True)]


def test_terminates_at_the_first_success() -> None:
    teacher = MetaWorldEnv(MetaWorldConfig(task="reach-v3", render=False, terminate_on_success=False))
    played = rollout_expert(teacher, seed=2, steps_after_success=0)
    pupil = MetaWorldEnv(MetaWorldConfig(task="reach-v3", render=False))
    pupil.reset(seed=2)
    ends = [(terminated, info["success"]) for _, _, terminated, _, info in map(pupil.step, played.executed)]
    assert played.success
    assert ends == [(False, False)] * (len(ends) - 1) + [(True, True)]


@pytest.mark.parametrize("action", [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0, np.nan], [0.0, 0.0, 0.0, np.inf]])
def test_bad_actions_are_refused(blind: MetaWorldEnv, action: list[float]) -> None:
    blind.reset(seed=0)
    with pytest.raises(ValueError, match="4 finite numbers"):
        blind.step(action)


def test_unknown_names_are_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"no Meta-World task 'fly-v3'; choose from assembly-v3"):
        MetaWorldEnv(MetaWorldConfig(task="fly-v3"))
    with pytest.raises(ValueError, match=r"no camera 'corner9' in Meta-World; choose from .*gripperPOV"):
        MetaWorldEnv(MetaWorldConfig(cameras=("corner9",)))
    with pytest.raises(ValueError, match="image_size=0"):
        MetaWorldConfig(image_size=0)
