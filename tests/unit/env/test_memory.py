"""The memory benchmark: one frame never says what must be remembered, and the simulator decides what was touched."""

from dataclasses import replace

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

pytestmark = pytest.mark.sim

pytest.importorskip("metaworld")

from tempovla.env.expert import rollout_expert  # noqa: E402
from tempovla.env.memory import MemoryConfig, MemoryEnv  # noqa: E402
from tempovla.env.memory_tasks import HELD_LAMP, MEMORY_TASKS  # noqa: E402
from tempovla.env.metaworld import MetaWorldConfig  # noqa: E402
from tempovla.env.protocol import Observation  # noqa: E402
from tempovla.timeline.keys import STATE_KEY  # noqa: E402

CUE, DELAY = 2, 3
PUSH = np.array([1.0, -1.0, 0.5, 1.0], np.float32)


@pytest.fixture(scope="module")
def seeing() -> MemoryEnv:
    return MemoryEnv(MemoryConfig(cue_steps=CUE, delay_steps=DELAY, terminate_on_success=False))


@pytest.fixture(scope="module")
def blind() -> MemoryEnv:
    return MemoryEnv(MemoryConfig(render=False))


def assert_equal(first: Observation, second: Observation) -> None:
    assert list(first) == list(second)
    for key, value in first.items():
        np.testing.assert_array_equal(value, second[key])


def start(env: MemoryEnv, task: str, seed: int = 1, **plan: object) -> None:
    """Begin an episode whose plan differs from the seed's in what is given."""
    env.reset(seed=seed, options={"task": task})
    env._plan = replace(env._plan, **plan)


def other_cue(env: MemoryEnv, task: str) -> dict:
    """The same episode with another cue, as a change of its plan."""
    env.reset(seed=1, options={"task": task})
    plan = env.plan
    if task == "lesson":
        other = 1 - plan.order[0]
        return {"order": (other,), "cue": (replace(plan.cue[0], position=(*plan.targets[other], 0.0)),)}
    if task == "colour-cue":
        other = 1 - plan.order[0]
        return {"order": (other,), "cue": (replace(plan.cue[0], colour=plan.scene[other].colour),)}
    return {"targets": ((0.1, 0.6),), "cue": (replace(plan.cue[0], position=(0.1, 0.6, 0.0)),)}


@pytest.mark.parametrize("task", ["colour-cue", "hidden-goal", "lesson"])
def test_once_the_cue_is_gone_nothing_seen_depends_on_it(seeing: MemoryEnv, task: str) -> None:
    def play(**plan: object) -> list[Observation]:
        start(seeing, task, **plan)
        generator = np.random.default_rng(0)
        seen = [seeing.observe()]
        for _ in range(CUE + DELAY + 8):
            seeing.advance(generator.uniform(-1, 1, 4))
            seen.append(seeing.observe())
        return seen

    one, other = play(), play(**other_cue(seeing, task))
    differ = [any((a[key] != b[key]).any() for key in a) for a, b in zip(one, other, strict=True)]
    assert differ == [True] * CUE + [False] * (DELAY + 9)
    moved = [not np.array_equal(a[STATE_KEY], one[CUE + DELAY][STATE_KEY]) for a in one[CUE + DELAY + 1 :]]
    assert all(moved)


def test_what_is_told_is_the_same_whatever_the_cue(blind: MemoryEnv) -> None:
    told = {blind.reset(seed=seed, options={"task": "colour-cue"})[1]["instruction"] for seed in range(8)}
    answers = {blind.reset(seed=seed)[0][STATE_KEY].tobytes() for seed in range(8)}
    assert told == {"touch the pad that has the colour of the lamp"}
    assert len(answers) == 1  # the arm's state at the start neither


@pytest.mark.parametrize("task", ["colour-cue", "hidden-goal", "touch-sequence"])
def test_while_the_hand_is_held_actions_do_nothing(blind: MemoryEnv, task: str) -> None:
    def states(action: np.ndarray) -> tuple[list[bytes], list[bool]]:
        blind.reset(seed=3, options={"task": task})
        seen, held = [], [blind.held]
        for _ in range(22):
            info = blind.advance(action)[3]
            seen.append(blind.state.tobytes())
            held.append(info["held"])
        return seen, held

    still, pushed = states(np.zeros(4)), states(PUSH)
    free_from = (8 if MEMORY_TASKS[task].plan(np.random.default_rng(0)).cue else 0) + 12
    assert still[1] == pushed[1] == [step < free_from for step in range(23)]
    equal = [a == b for a, b in zip(still[0], pushed[0], strict=True)]
    assert equal[:free_from] == [True] * free_from
    assert not equal[free_from]


def test_the_same_frames_come_at_every_stage_of_a_sequence_and_ask_for_different_actions(seeing: MemoryEnv) -> None:
    """After each touch the hand is held at its start: what is seen until it is moved is equal to the bit."""
    seeing.reset(seed=2, options={"task": "touch-sequence"})
    expert = seeing.expert()
    frames: dict[int, list[Observation]] = {0: [], 1: [], 2: []}
    first_moves: dict[int, np.ndarray] = {}
    while seeing.stage < 3:
        stage, held = seeing.stage, seeing.held
        if len(frames[stage]) <= DELAY:
            frames[stage].append(seeing.observe())
        action = expert.act()
        if not held:
            first_moves.setdefault(stage, action)
        seeing.advance(action)
    for stage in (1, 2):
        assert len(frames[stage]) == DELAY + 1
        for first, later in zip(frames[0], frames[stage], strict=True):
            assert_equal(first, later)
    np.testing.assert_array_equal(first_moves[0], first_moves[2])
    assert first_moves[0][0] * first_moves[1][0] < 0  # the pads lie at either side


def go_to(env: MemoryEnv, target: int) -> tuple[bool, dict]:
    """Touch one of the places, whatever the plan says; whether the episode was truncated then, and its info."""
    from tempovla.env.memory_expert import touch

    stage, where = env.stage, env.plan.targets[target]
    for _ in range(60):
        _, _, truncated, info = env.advance(touch(env.fingers, where))
        if truncated or env.stage > stage:
            return truncated, info
    raise AssertionError("nothing was touched")


def test_the_wrong_pad_ends_the_episode_and_nothing_rescues_it(blind: MemoryEnv) -> None:
    blind.reset(seed=5, options={"task": "colour-cue"})
    right = blind.plan.order[0]
    assert go_to(blind, 1 - right) == (True, {"success": False, "held": False})
    assert not blind.advance(np.zeros(4))[3]["success"]
    blind.reset(seed=5)
    truncated, info = go_to(blind, right)
    assert (truncated, info["success"]) == (False, True)


def test_touching_out_of_order_fails(blind: MemoryEnv) -> None:
    blind.reset(seed=5, options={"task": "touch-twice"})
    assert go_to(blind, 0) == (False, {"success": False, "held": True})
    assert go_to(blind, 1) == (True, {"success": False, "held": False})


def test_the_table_beside_the_hidden_goal_is_a_wrong_touch_and_beside_pads_is_none(blind: MemoryEnv) -> None:
    down = np.array([0, 0, -1, -1], np.float32)

    def ends(task: str) -> bool:
        blind.reset(seed=5, options={"task": task})
        assert np.linalg.norm(np.array(blind.plan.targets) - (0, 0.6), axis=1).min() > 0.1
        return any(blind.advance(down)[2] for _ in range(45))

    assert ends("hidden-goal")
    assert not ends("colour-cue")


def test_no_frame_of_an_earlier_lesson_depends_on_which_pad_is_right(seeing: MemoryEnv) -> None:
    def play(**plan: object) -> list[Observation]:
        start(seeing, "earlier-lesson", **plan)
        seen = [seeing.observe()]
        for _ in range(DELAY + 3):
            seeing.advance(PUSH)
            seen.append(seeing.observe())
        return seen

    start(seeing, "earlier-lesson")
    right = seeing.plan.order[0]
    for one, other in zip(play(order=(right,)), play(order=(1 - right,)), strict=True):
        assert_equal(one, other)


def test_a_fixed_initial_state_is_a_room_of_the_house(blind: MemoryEnv) -> None:
    def targets(env: MemoryEnv, seed: int, room: int) -> np.ndarray:
        env.reset(seed=seed, options={"task": "lesson", "init_state": room})
        return np.array(env.plan.targets)

    next_door = MemoryEnv(MemoryConfig(render=False, house=1))
    np.testing.assert_allclose(targets(blind, 1, 7), targets(blind, 2, 7), atol=0.0101)
    assert np.abs(targets(blind, 1, 7) - targets(blind, 1, 8)).max() > 0.0101
    assert np.abs(targets(blind, 1, 7) - targets(next_door, 1, 7)).max() > 0.0101
    assert [blind.config.init_state_count(task) for task in ("lesson", "colour-cue")] == [1000, 0]
    with pytest.raises(ValueError, match="init_state=1000: fixed initial states of lesson are 0 to 999"):
        targets(blind, 1, 1000)
    with pytest.raises(ValueError, match="init_state=0: fixed initial states of colour-cue do not exist; give None"):
        blind.reset(options={"task": "colour-cue", "init_state": 0})


def test_seed_and_task_say_all_about_an_episode(blind: MemoryEnv) -> None:
    played = [rollout_with_states(blind, 7, task) for task in ("touch-twice", "colour-cue", "touch-twice")]
    np.testing.assert_array_equal(played[0], played[2])


def rollout_with_states(env: MemoryEnv, seed: int, task: str) -> np.ndarray:
    env.reset(seed=seed, options={"task": task})
    expert = env.expert()
    states = []
    for _ in range(40):
        env.advance(expert.act())
        states.append(env.state)
    return np.stack(states)


@pytest.mark.parametrize("task", list(MEMORY_TASKS))
def test_experts_succeed_in_few_steps_and_success_ends_the_episode(blind: MemoryEnv, task: str) -> None:
    teacher = MemoryEnv(MemoryConfig(render=False, terminate_on_success=False))
    played = rollout_expert(teacher, seed=2, task=task, binary_gripper=True, steps_after_success=0)
    assert played.success
    assert len(played.labels) <= 120
    blind.reset(seed=2, options={"task": task})
    ends = [(terminated, truncated) for _, terminated, truncated, _ in map(blind.advance, played.executed)]
    assert ends == [(False, False)] * (len(ends) - 1) + [(True, False)]


def test_truncates_at_the_tasks_own_limit_or_at_max_steps(blind: MemoryEnv) -> None:
    def steps(env: MemoryEnv, task: str) -> int:
        env.reset(seed=0, options={"task": task})
        return next(step for step in range(1, 200) if env.advance(np.zeros(4))[2])

    assert [steps(blind, task) for task in MEMORY_TASKS] == [80, 100, 146, 146, 80, 72]
    assert steps(MemoryEnv(MemoryConfig(render=False, max_steps=30)), "colour-cue") == 30


@pytest.mark.parametrize("task", list(MEMORY_TASKS))
def test_markers_are_several_pixels_large_in_the_small_picture(task: str) -> None:
    env = MemoryEnv(MemoryConfig(cameras=("corner2",)))
    for seed in range(4):
        env.reset(seed=seed, options={"task": task})
        shown, env._free_from = (*env.plan.scene, *env.plan.cue, HELD_LAMP), 0
        pictures = []
        for markers in ((), *((marker,) for marker in shown)):
            env._plan = replace(env._plan, scene=markers, cue=())
            pictures.append(env.render().astype(int))
        for picture in pictures[1:]:
            assert (np.abs(picture - pictures[0]).max(-1) > 60).sum() >= 5


@pytest.mark.parametrize("task", list(MEMORY_TASKS))
def test_every_frame_tells_whether_the_hand_is_held(seeing: MemoryEnv, task: str) -> None:
    start(seeing, task)
    held, plan = [], seeing.plan
    for _ in range(CUE + DELAY + 2):
        held.append((seeing.held, bool(set(seeing._visible()) & {*plan.cue, HELD_LAMP})))
        seeing.advance(PUSH)
    waiting = DELAY + (CUE if plan.cue else 0)
    assert held == [(step < waiting,) * 2 for step in range(CUE + DELAY + 2)]


def test_the_puck_and_the_goal_of_the_scene_are_not_seen() -> None:
    """Without markers, red (puck and goal) is on the arm's pixels only: moving both changes no picture."""
    env = MemoryEnv(MemoryConfig(image_size=32))
    env.reset(seed=1, options={"task": "hidden-goal"})
    env._plan = replace(env._plan, cue=())
    before = env.observe()
    env._world.simulation._set_obj_xyz(np.array([0.1, 0.7, 0.02]))
    assert_equal(before, env.observe())


def test_follows_gymnasiums_interface() -> None:
    check_env(MemoryEnv(MemoryConfig(image_size=16)), skip_render_check=True)


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="delay_steps=0 must be at least 1"):
        MemoryConfig(delay_steps=0)
    with pytest.raises(ValueError, match="house=-1 must not be negative"):
        MemoryConfig(house=-1)
    with pytest.raises(ValueError, match="image_size=0"):
        MemoryConfig(image_size=0)
    with pytest.raises(ValueError, match="no task 'push-v3' of the memory benchmark"):
        MemoryEnv(MemoryConfig(task="push-v3", render=False))
    with pytest.raises(ValueError, match="no camera 'corner9' in Meta-World"):
        MemoryEnv(MemoryConfig(cameras=("corner9",)))


def test_chunks_long_enough_to_carry_the_cue_are_refused() -> None:
    config = MemoryConfig(delay_steps=5)
    config.check_execution_horizon(6)
    with pytest.raises(ValueError, match=r"execution_horizon=7 is more than delay_steps \+ 1 = 6"):
        config.check_execution_horizon(7)


def test_spaces_are_those_of_metaworld() -> None:
    assert MemoryConfig().spaces() == MetaWorldConfig().spaces()
