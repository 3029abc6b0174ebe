"""What a world model cannot learn from is refused in one line, and leaves nothing behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.recordings import ACTION, STATE, record

from tempovla.data.layout import Feature
from tempovla.data.memory import MemoryEpisode, MemorySource
from tempovla.data.replay import ReplaySource
from tempovla.model.vla.dreamer_config import DreamerConfig
from tempovla.model.vla.tdmpc_config import TDMPCConfig
from tempovla.model.vla.world_model_config import WorldModelConfig
from tempovla.model.world_model.dynamics_config import LatentDynamicsConfig
from tempovla.model.world_model.planning.config import PlannerConfig
from tempovla.model.world_model.rssm_config import RSSMConfig
from tempovla.recipe.datasets.config import DataConfig
from tempovla.recipe.systems.world_model import check_repeats, train_world_model
from tempovla.recipe.systems.world_model_config import OnlineConfig, WorldModelRecipe, WorldModelTraining
from tempovla.timeline import Embodiment, StreamInfo
from tempovla.timeline.keys import REWARD_KEY

FEATURES = {STATE: Feature("float32", (3,)), ACTION: Feature("float32", (2,))}
REWARD = {REWARD_KEY: Feature("float32", (1,))}
DYNAMICS = LatentDynamicsConfig(latent_dim=16, group_dim=4, encoder_dim=8, hidden_dim=16, num_values=2, bins=11)
TDMPC = WorldModelConfig(
    planner=PlannerConfig(num_samples=16, num_elites=4, iterations=2, num_policy_samples=4),
    tdmpc=TDMPCConfig(dynamics=DYNAMICS),
)
DREAMER = WorldModelConfig("dreamer", dreamer=DreamerConfig(RSSMConfig(predicts_end=False)))
TRAINING = WorldModelTraining(train_steps=3, batch_size=4, save_interval_steps=None)


def learn(out: Path, folder: Path | str = "", model: WorldModelConfig = TDMPC, **options: Any) -> None:
    sized = replace(model, robot_state_dim=3, action_dim=2)
    recipe = WorldModelRecipe(data=DataConfig(data_directory=str(folder)), model=sized, training=TRAINING)
    train_world_model(recipe, out, **options)


def learn_online(out: Path, env: str, task: str) -> None:
    online = OnlineConfig(env=env, task=task, settings={"max_steps": 10}, seed_steps=35, pretrain_updates=0)
    train_world_model(WorldModelRecipe(online=online, model=TDMPC, training=TRAINING), out)


@contextmanager
def refused(told: str) -> Iterator[None]:
    with pytest.raises(ValueError, match=told) as caught:
        yield
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("model", [TDMPC, DREAMER], ids=["tdmpc", "dreamer"])
def test_a_dataset_without_rewards_is_refused_before_the_run_has_a_folder(tmp_path, model):
    record(tmp_path / "data", features=FEATURES)
    with refused(r"data: has no stream 'next\.reward', from which a world model learns; .*\(tempovla collect\)"):
        learn(tmp_path / "run", tmp_path / "data", model)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("model", "option"),
    [
        (replace(TDMPC, tdmpc=TDMPCConfig(dynamics=replace(DYNAMICS, predicts_end=True))), "tdmpc.dynamics"),
        (replace(DREAMER, dreamer=DreamerConfig()), "dreamer.rssm"),
    ],
)
def test_a_dataset_without_ends_is_refused_with_the_option_that_does_without(tmp_path, model, option):
    record(tmp_path / "data", features=FEATURES | REWARD)
    with refused(rf"has no stream 'next\.terminated', .*; set model\.{option}\.predicts_end=false, record it"):
        learn(tmp_path / "run", tmp_path / "data", model)


def test_a_dataset_whose_actions_change_at_every_step_is_refused_where_each_is_to_be_done_twice(tmp_path):
    record(tmp_path / "data", lengths=(6, 5), features=FEATURES | REWARD)
    with refused("none of its actions was done for 2 control steps, as model.action_repeat=2 says; use"):
        learn(tmp_path / "run", tmp_path / "data", replace(TDMPC, action_repeat=2))
    assert not (tmp_path / "run").exists()


def test_a_dataset_whose_episodes_are_shorter_than_an_action_may_repeat_it_until_their_ends():
    def dataset(*actions: list[float]) -> MemorySource:
        episodes = [MemoryEpisode("", len(each), {ACTION: np.array(each)[:, None]}) for each in actions]
        streams = {ACTION: StreamInfo("action", (1,), "float32", 10.0)}
        return MemorySource("short", Embodiment("toy", 1, 1, 10.0), streams, episodes)

    check_repeats(dataset([0.5, 0.1, 0.1], [0.2, 0.2, 0.2]), 5)
    for others in ([[0.5, 0.1]], [[0.5], [0.2]]):
        with refused("short: none of its actions was done for 5 control steps, as model.action_repeat=5 says; use"):
            check_repeats(dataset(*others), 5)


@pytest.mark.parametrize("key", [STATE, ACTION, REWARD_KEY])
@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_a_dataset_with_numbers_that_are_not_finite_is_refused_by_stream_and_place(tmp_path, key, value):
    record(tmp_path / "data", features=FEATURES | REWARD)
    (file,) = (tmp_path / "data").glob("data/**/*.parquet")
    table = pq.read_table(file)
    field, column = table.schema.field(key), table.column(key).to_pylist()
    column[5] = [value, *column[5][1:]] if isinstance(column[5], list) else value
    values = pa.array(column, field.type)
    pq.write_table(table.set_column(table.schema.get_field_index(key), field, values), file)
    with refused(rf"parquet: '{key}' has {value} in row 5 \(episode 0\).*; remove those episodes or repair the values"):
        learn(tmp_path / "run", tmp_path / "data")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("key", [STATE, ACTION, REWARD_KEY])
def test_so_is_a_source_of_ones_own(tmp_path, key):
    sizes = {STATE: ("state", 3), ACTION: ("action", 2), REWARD_KEY: ("scalar", 1)}
    streams = {name: StreamInfo(kind, (size,), "float32", 10.0) for name, (kind, size) in sizes.items()}  # type: ignore[arg-type]
    values = {name: np.ones((12, *stream.shape), np.float32) for name, stream in streams.items()}
    values[key][5] = np.nan
    source = MemorySource("mine", Embodiment("toy", 3, 2, 10.0), streams, [MemoryEpisode("go", 12, values)])
    with refused(rf"'{key}'.* not finite"):
        learn(tmp_path / "run", source=source)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("at", "told"),
    [
        (27, r"^cartpole-swingup: 'observation\.state' holds nan at step 5 of episode 2; mend the environment, or ch"),
        (22, r"^cartpole-swingup: 'observation\.state' holds nan at step 0 of episode 2; mend the environment, or ch"),
        (32, r"^cartpole-swingup: 'observation\.state' holds nan at step 10 of episode 2; mend the environment, or c"),
    ],
    ids=["within", "first", "last"],
)
def test_an_observation_that_is_not_finite_is_refused_before_its_episode_is_kept(tmp_path, monkeypatch, at, told):
    pytest.importorskip("dm_control")
    from tempovla.env.dm_control import DmControlEnv

    monkeypatch.setattr(DmControlEnv, "observe", _faulty(DmControlEnv.observe, at, _with_nan))
    with refused(told):
        learn_online(tmp_path / "run", "dmc", "cartpole-swingup")
    assert kept(tmp_path / "run") == [10, 10]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            lambda seen: {STATE: np.append(seen[STATE], np.float32(0))},
            r"^cartpole-swingup: 'observation\.state' is float32 of shape \(6,\) at step 5 of episode 2, but float32 "
            r"of shape \(5,\) is declared; mend the environment, or choose another task$",
        ),
        (
            lambda seen: {STATE: seen[STATE].astype(np.int64)},
            r"^cartpole-swingup: 'observation\.state' is int64 of shape \(5,\) at step 5 of episode 2, but float32 of ",
        ),
        (lambda seen: {}, r"'observation\.state' is observed at step 5 of episode 2 or declared, but not both; mend"),
    ],
    ids=["shape", "type", "missing"],
)
def test_an_observation_of_another_form_than_declared_is_refused_with_both(tmp_path, monkeypatch, change, told):
    pytest.importorskip("dm_control")
    from tempovla.env.dm_control import DmControlEnv

    monkeypatch.setattr(DmControlEnv, "observe", _faulty(DmControlEnv.observe, 27, change))
    with refused(told):
        learn_online(tmp_path / "run", "dmc", "cartpole-swingup")
    assert kept(tmp_path / "run") == [10, 10]


@pytest.mark.parametrize(
    ("reward", "told"),
    [
        (np.nan, "nan; mend the environment, or choose another task$"),
        (None, "None, which is no number; mend"),
        (1e39, r"1e\+39, more than float32 can hold; mend"),
    ],
)
def test_a_reward_that_cannot_be_kept_is_refused_at_its_step(tmp_path, monkeypatch, reward, told):
    pytest.importorskip("dm_control")
    from tempovla.env.dm_control import DmControlEnv

    faulty = _faulty(DmControlEnv.advance, 24, lambda moved: (reward, *moved[1:]))
    monkeypatch.setattr(DmControlEnv, "advance", faulty)
    with refused(f"^cartpole-swingup: the reward of step 4 of episode 2 is {told}"):
        learn_online(tmp_path / "run", "dmc", "cartpole-swingup")
    assert kept(tmp_path / "run") == [10, 10]


def kept(run: Path) -> list[int]:
    """The lengths of the episodes in a run's replay."""
    with ReplaySource.open(run / "replay") as replay:
        return [replay.episode(number).length for number in range(len(replay))]


def _with_nan(seen: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    seen[STATE][1] = np.nan
    return seen


def _faulty(method: Callable[..., Any], at: int, change: Callable[[Any], Any]) -> Callable[..., Any]:
    """A method whose result is changed at this call, counted from 0: of 10 steps, 11 moments are observed."""
    count = iter(range(at + 1))

    def faulty(*arguments: Any) -> Any:
        result = method(*arguments)
        return change(result) if next(count) == at else result

    return faulty


def test_actions_without_bounds_are_refused_before_the_run_has_a_folder(tmp_path):
    gymnasium = pytest.importorskip("gymnasium")
    from tempovla.env.gymnasium_env import _sizes

    class Unbounded(gymnasium.Env):
        observation_space = gymnasium.spaces.Box(-9, 9, (3,), np.float32)
        action_space = gymnasium.spaces.Box(-np.inf, 1, (2,), np.float32)

    gymnasium.register("Unbounded-v0", Unbounded, max_episode_steps=10)
    _sizes.cache_clear()
    try:
        with refused("Unbounded-v0 has actions without finite bounds, from -inf to 1.0; register it in a wrapper"):
            learn_online(tmp_path / "run", "gym", "Unbounded-v0")
    finally:
        gymnasium.registry.pop("Unbounded-v0")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: PlannerConfig(horizon=0), r"^model\.planner\.horizon=0 must be at least 1; raise it$"),
        (lambda: TDMPCConfig(horizon=0), r"^model\.tdmpc\.horizon=0 must be at least 1$"),
        (lambda: DreamerConfig(horizon=0), r"horizon=0 must be at least 1"),
    ],
)
def test_a_horizon_of_nothing_is_refused(make, told):
    with refused(told):
        make()


def test_a_simulator_without_a_task_is_refused_before_the_run_has_a_folder(tmp_path):
    pytest.importorskip("dm_control")
    with refused(r"^online.task is missing; give --task, for dmc such as \S+, \S+, \S+ or another of its \d+ tasks$"):
        learn_online(tmp_path / "run", "dmc", "")
    assert not (tmp_path / "run").exists()


def test_a_camera_that_no_dataset_has_is_refused_with_the_option_for_none(tmp_path):
    record(tmp_path / "data", features=FEATURES | REWARD)
    seeing = replace(TDMPC, cameras=("observation.images.front",))
    with refused(r"has no camera 'observation.images.front'; set --model.cameras '\[\]', as it has none$"):
        learn(tmp_path / "run", tmp_path / "data", seeing)
