"""Environments of Gymnasium: what is registered is played, and what is of no use here is told in one line."""

from __future__ import annotations

import pickle
import sys

import numpy as np
import pytest

pytestmark = pytest.mark.sim

gymnasium = pytest.importorskip("gymnasium")
pytest.importorskip("mujoco")

from gymnasium.spaces import Box, Dict, Discrete  # noqa: E402
from tests.registries import registries_as_before  # noqa: E402

from tempovla.env.gymnasium_env import GymnasiumConfig, GymnasiumEnv, _sizes  # noqa: E402
from tempovla.env.vector import ShardedVectorEnv  # noqa: E402
from tempovla.timeline.plugins import use_plugin  # noqa: E402

ONE = Box(-1, 1, (1,), np.float32)
PLUGIN = """
import gymnasium, numpy as np

class Here(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(-9, 9, (1,), np.float32)
    action_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place = np.array([seed], np.float32)
        return self.place, {}

    def step(self, action):
        self.place = self.place + action
        return self.place, 1.5, False, False, {}

gymnasium.register("Here-v0", Here, max_episode_steps=10)
"""


class Toy(gymnasium.Env):
    """Its state is the number of steps; what it observes at its second step may be faulty, or of more numbers."""

    def __init__(
        self,
        observations=ONE,
        actions=ONE,
        observed=None,
        more=0,
        reward=1.0,
        told=None,
        picture=None,
        render_mode="",
    ):
        self.observation_space, self.action_space = observations, actions
        self.observed, self.more, self.reward, self.told, self.picture = observed, more, reward, told or {}, picture

    def reset(self, *, seed=None, options=None):
        self.steps = 0
        return np.zeros(self.observation_space.shape or (1,)), {}

    def step(self, action):
        self.steps += 1
        state = np.full(self.observation_space.shape, float(self.steps))
        if self.observed is not None and self.steps == 2:
            state[-1] = self.observed
        if self.steps == 2:
            state = np.append(state, np.zeros(self.more))
        return state, self.reward, False, False, self.told

    def render(self):
        return self.picture


@pytest.fixture
def toy():
    """Register a toy; its id."""
    before = dict(gymnasium.registry)

    def register(limit=20, **settings) -> str:
        gymnasium.registry.pop("Toy-v0", None)
        gymnasium.register("Toy-v0", Toy, max_episode_steps=limit, kwargs=settings)
        _sizes.cache_clear()
        return "Toy-v0"

    yield register
    gymnasium.registry.clear()
    gymnasium.registry.update(before)
    _sizes.cache_clear()


def env_of(task: str, **settings) -> GymnasiumEnv:
    return GymnasiumConfig(task=task, **{"render": False, **settings}).make()


def refusal(task: str, **settings) -> str:
    with pytest.raises(ValueError, match=r"^task: ") as caught:
        env_of(task, **settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_registered_environment_plays_its_own_episode_with_rescaled_actions():
    env, theirs = env_of("Pendulum-v1", action_repeat=2), gymnasium.make("Pendulum-v1")
    env.reset_state(seed=1)
    env.reset_state(seed=7)
    observed, _ = theirs.reset(seed=7)
    assert np.array_equal(env.state, observed)
    for step in range(100):
        reward, terminated, truncated, info = env.advance([0.5])
        steps = [theirs.step(np.array([1.0], np.float32)) for _ in range(2)]  # its torque is in [-2, 2]
        assert reward == pytest.approx(sum(step[1] for step in steps))
        assert np.array_equal(env.state, steps[-1][0])
        assert (terminated, truncated, info["success"]) == (False, step == 99, False)


def test_a_longer_limit_than_the_registered_one_holds(toy):
    env = env_of(toy(limit=3), max_steps=4, action_repeat=2)
    env.reset_state(seed=0)
    assert [env.advance([0.0])[2] for _ in range(4)] == [False, False, False, True]
    assert env.state.tolist() == [8]


def test_episodes_without_an_end_need_a_limit(toy):
    assert refusal(toy(limit=None)) == "task: the episodes of Toy-v0 have no end; give max_steps"
    env = env_of("Toy-v0", max_steps=1)
    env.reset_state(seed=0)
    assert env.advance([0.0])[2]


@pytest.mark.parametrize("told", [{"is_success": True}, {"success": 1.0}, {"is_success": np.bool_(True), "success": 0}])
def test_success_is_what_the_environment_says(toy, told):
    env = env_of(toy(told=told))
    env.reset_state(seed=0)
    assert env.advance([0.0])[3] == {"success": True}


def test_an_unknown_id_is_told_with_the_nearest():
    assert refusal("Pendulum-v7").endswith(
        "no task 'Pendulum-v7' is registered with Gymnasium; did you mean Pendulum-v1?"
    )
    assert refusal("dance").endswith("name the module that registers it with --plugin MODULE")


def test_a_module_in_the_id_is_not_imported():
    told = "task: 'my_module:Env-v0' names a module, which is not imported; give --plugin my_module and Env-v0"
    assert refusal("my_module:Env-v0") == told
    assert "my_module" not in sys.modules


def test_actions_must_be_a_vector_with_finite_bounds(toy):
    assert refusal("CartPole-v1") == "task: CartPole-v1 has actions of Discrete; choose a task with continuous actions"
    assert "has actions without finite bounds, from -1.0 to inf" in refusal(toy(actions=Box(-1, np.inf, (2,))))
    wide = refusal(toy(actions=Box(-3.4e38, 3.4e38, (2,))))
    assert wide.endswith(
        "has actions from -3.4e+38 to 3.4e+38, whose distance float32 cannot hold; register it in a wrapper that "
        "narrows the bounds"
    )
    assert "has actions of Box of shape (2, 2) and no vector" in refusal(toy(actions=Box(-1, 1, (2, 2))))
    assert "no vector of floats" in refusal(toy(actions=Box(0, 9, (2,), np.int64)))


def test_the_state_must_be_a_vector(toy):
    assert "observes Dict and no vector" in refusal(toy(observations=Dict({"a": ONE})))
    assert "observes Discrete and no vector" in refusal(toy(observations=Discrete(4)))
    assert "observes Box of shape (8, 8, 3) and no vector" in refusal(toy(observations=Box(0, 1, (8, 8, 3))))


def test_what_an_environment_needs_is_named():
    assert "task: BipedalWalker-v3 cannot be made: " in refusal("BipedalWalker-v3")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_state_that_is_not_finite_is_told_with_its_step(toy, value):
    env = env_of(toy(observations=Box(-9, 9, (3,)), observed=value))
    env.reset_state(seed=0)
    env.advance([0.0])
    message = rf"^task: Toy-v0 observes {value} in dimension 2 at step 2; mend the environment$"
    with pytest.raises(ValueError, match=message):
        env.advance([0.0])


def test_a_state_of_another_shape_than_declared_is_told_with_both_and_its_step(toy):
    env = env_of(toy(observations=Box(-9, 9, (3,)), more=2))
    env.reset_state(seed=0)
    env.advance([0.0])
    message = (
        r"^task: Toy-v0 observes 'observation\.state' as float64 of shape \(5,\) at step 2, but declares float32 of "
        r"shape \(3,\); mend the environment$"
    )
    with pytest.raises(ValueError, match=message):
        env.advance([0.0])


@pytest.mark.parametrize(
    ("reward", "told"),
    [
        (np.nan, "nan"),
        (np.float32(-np.inf), "-inf"),
        (None, "None, which is no number"),
        ("high", "'high', which is no number"),
        (np.ones(2), r"array\(\[1\., 1\.\]\), which is no number"),
    ],
)
def test_a_reward_that_is_no_finite_number_is_told_with_its_step(toy, reward, told):
    env = env_of(toy(reward=reward))
    env.reset_state(seed=0)
    with pytest.raises(ValueError, match=rf"^task: Toy-v0 gives the reward {told} at step 1; mend the environment$"):
        env.advance([0.0])


@pytest.mark.parametrize("reward", [1, True, np.float16(1), np.array([1.0])])
def test_a_reward_may_be_any_one_number(toy, reward):
    env = env_of(toy(reward=reward))
    env.reset_state(seed=0)
    assert env.advance([0.0])[0] == 1.0


def test_pictures_are_scaled_to_a_square_by_averaging(toy):
    picture = np.zeros((40, 80, 3), np.uint8)
    picture[:, 40:, 0] = 200
    seen, _ = env_of(toy(picture=picture), render=True, image_size=4).reset(seed=0)
    assert seen["observation.images.render"][..., 0].tolist() == [[0, 0, 200, 200]] * 4


def test_what_is_no_picture_is_refused(toy):
    env = env_of(toy(picture=np.zeros((4, 4))), render=True)
    with pytest.raises(ValueError, match=r"^task: Toy-v0 draws float64 of shape \(4, 4\) and no \(H, W, 3\) uint8"):
        env.reset(seed=0)
    with pytest.raises(ValueError, match=r"^cameras: no camera 'top' in Gymnasium; there is only 'render'$"):
        GymnasiumConfig(cameras=("top",))


def test_mujocos_environments_are_drawn():
    seen, _ = env_of("InvertedPendulum-v5", render=True, image_size=32).reset(seed=0)
    assert seen["observation.images.render"].std() > 5


def test_words_follow_from_the_id():
    words = {"InvertedPendulum-v5": "inverted pendulum v5", "phys2d/CartPole-v1": "phys2d cart pole v1"}
    assert {task: GymnasiumConfig().instruction(task) for task in words} == words


def test_the_rate_is_that_of_the_metadata_over_the_repeats():
    assert GymnasiumConfig(task="Pendulum-v1", action_repeat=3).embodiment.rate_hz == 10


def test_a_config_is_the_same_after_it_travelled():
    config = GymnasiumConfig(task="Pendulum-v1", action_repeat=3)
    assert pickle.loads(pickle.dumps(config)) == config


def test_workers_know_what_a_plugin_registers(tmp_path, monkeypatch):
    (tmp_path / "plugin_of_here.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(tmp_path)
    before = dict(gymnasium.registry)
    with registries_as_before():
        use_plugin("plugin_of_here")
        env = ShardedVectorEnv(GymnasiumConfig(task="Here-v0", render=False), 1, 1)
        try:
            env.reset(seed=[5])
            result = env.step_chunk(np.ones((1, 2, 1), np.float32))
        finally:
            env.close()
    gymnasium.registry.clear()
    gymnasium.registry.update(before)
    assert result.observations["observation.state"].tolist() == [[7]]
    assert result.rewards.tolist() == [3.0]
