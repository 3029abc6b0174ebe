"""A policy as an object gives, robot by robot, what explicit states and contexts give; and says what it cannot use."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from tests.contract.registry import IN_CONTEXT, POLICIES
from tests.contract.toys import FRONT, STATE
from torch import Tensor

from tempovla.control.context_builder import ContextBuilder
from tempovla.control.controller import Controller
from tempovla.control.observations import Reads
from tempovla.control.robot_policy import RobotPolicy
from tempovla.timeline import ActionChunk, Bundle, Context, Embodiment, Window
from tempovla.timeline.keys import ACTION_KEY
from tempovla.transform.image import ResizeImages
from tempovla.transform.pipeline import TransformPipeline
from tempovla.transform.tokenize import TokenizeInstruction
from tempovla.transform.tokenizer import WordTokenizer

BODY = Embodiment("hand", 1, 2, rate_hz=10.0)
WINDOWS = (Window(STATE, (0,)), Window(ACTION_KEY, (-2, -1, *range(4))))
WRIST = "observation.images.wrist"


@dataclass
class Counting:
    """Its chunk tells what it sees, what was done, how long the instruction is and how often it was asked."""

    wanted: tuple[Window, ...] = WINDOWS
    frame_stride: int | None = None
    broken_at: int | None = None
    asked: int = 0

    def windows(self) -> tuple[Window, ...]:
        return self.wanted

    def initial_state(self, batch_size: int) -> Tensor:
        return torch.zeros(batch_size, 1)

    def act(self, context: Context, state: Tensor) -> tuple[ActionChunk, Tensor]:
        self.asked += 1
        count = torch.where(context.first[:, None], 0.0, state) + 1
        seen = context.track(STATE).value.sum(dim=(1, 2))[:, None]
        done = context.past[ACTION_KEY]
        past = torch.where(done.valid[..., None], done.value, 0.0).sum(dim=(1, 2))[:, None]
        words = torch.tensor([[float(len(task.instruction))] for task in context.task])
        value = torch.sin(seen + past + words + 10 * count + torch.arange(4.0))
        value = value if self.asked != self.broken_at else value * torch.nan
        return ActionChunk.of(torch.stack([value, -0.5 * value], dim=2), range(4)), count


def made(policy: Counting, **options: Any) -> RobotPolicy:
    bundle = Bundle("toy", {}, policy.wanted, BODY, {"steps": []}, {})
    controller = Controller(policy, TransformPipeline([]), bundle)
    reads = replace(Reads.of(policy.wanted, policy.wanted, TransformPipeline([]), BODY), instruction=True)
    return RobotPolicy(controller, reads, **options)


def seen(step: int, robot: int = 0) -> np.ndarray:
    return np.array([0.1 * step + robot], np.float32)


def by_hand(policy: Counting, horizon: int, steps: int, task: str = "open", robot: int = 0) -> np.ndarray:
    """The actions (T, A) of an episode with an explicit state."""
    controller, builder = made(policy).actor, ContextBuilder(policy.wanted, BODY, 1)
    state, actions = controller.initial_state(1), []
    builder.reset(0, task, {STATE: seen(0, robot)})
    while len(actions) < steps:
        chunk, state = controller.act(builder.context(), state)
        for action in chunk.value[0, :horizon].numpy():
            actions.append(action)
            builder.add(0, action[None], {STATE: seen(len(actions), robot)})
    return np.stack(actions[:steps])


PAST_STATES = (Window(STATE, (-2, 0)), WINDOWS[1])


@pytest.mark.parametrize("wanted", [WINDOWS, PAST_STATES])
@pytest.mark.parametrize(("asked", "stride", "horizon"), [(None, None, 4), (1, None, 1), (3, None, 3), (None, 2, 2)])
def test_steps_are_those_of_an_explicit_loop_to_the_bit(wanted, asked, stride, horizon):
    policy = made(Counting(wanted, stride), execution_horizon=asked)
    assert (policy.execution_horizon, policy.frame_stride, policy.action_horizon) == (horizon, stride, 4)
    actions = [policy.step({STATE: seen(step), "task": "open"}) for step in range(11)]
    assert policy.actor.policy.asked == -(-11 // horizon)
    np.testing.assert_array_equal(np.stack(actions), by_hand(Counting(wanted, stride), horizon, 11))


def test_chunks_are_those_of_steps_where_the_first_actions_of_each_are_executed():
    policy = made(Counting(), execution_horizon=3)
    chunks = [policy.act({STATE: seen(3 * call), "task": "open"}) for call in range(3)]
    assert [chunk.shape for chunk in chunks] == [(4, 2)] * 3
    np.testing.assert_array_equal(np.concatenate([chunk[:3] for chunk in chunks]), by_hand(Counting(), 3, 9))


def test_what_was_really_executed_can_be_told():
    told, assumed = made(Counting(), execution_horizon=3), made(Counting(), execution_horizon=3)
    first = [policy.act({STATE: seen(0), "task": "open"}) for policy in (told, assumed)]
    first[1][:] = 9.0  # what is returned is the caller's
    same = assumed.act({STATE: seen(3)})
    np.testing.assert_array_equal(told.act({STATE: seen(3)}, executed=first[0][:3]), same)
    stopped = torch.zeros(1, 2)
    assert np.abs(told.act({STATE: seen(3)}, executed=stopped) - assumed.act({STATE: seen(3)})).max() > 0.01


@pytest.mark.parametrize("ensemble", [None, 0.2])
@pytest.mark.parametrize("horizon", [1, 2, 3])
def test_a_row_that_is_reset_acts_as_new_and_its_neighbours_do_not_notice(ensemble, horizon):
    together = made(Counting(), execution_horizon=horizon, ensemble=ensemble)
    alone = [made(Counting(), execution_horizon=horizon, ensemble=ensemble) for _ in range(3)]
    starts = [0, 0, 0]
    for step in range(9):
        if step in (4, 5):
            row = step - 4
            starts[row] = step
            together.reset(rows=[row])
            alone[row].reset()
        batch = {
            STATE: np.stack([seen(step - starts[row], row) for row in range(3)]),
            "task": ["open", "go on", "stop"],
        }
        actions = together.step(batch)
        for row, policy in enumerate(alone):
            own = policy.step({STATE: batch[STATE][row], "task": batch["task"][row]})
            np.testing.assert_allclose(actions[row], own, atol=1e-6)


def test_overlapping_chunks_are_averaged_with_the_weights_of_their_age():
    policy, chunks, actions = made(Counting(), ensemble=0.5), [], []
    decide = policy.actor.act
    policy.actor.act = lambda context, state: _kept(chunks, decide(context, state))
    for step in range(6):
        actions.append(policy.step({STATE: seen(step), "task": "open"}))
    weights = [1.0, math.exp(-0.5), math.exp(-1.0), math.exp(-1.5)]
    opinions = [chunks[start][5 - start] for start in range(2, 6)]  # of step 5, the oldest first
    expected = sum(weight * said for weight, said in zip(weights, opinions, strict=True)) / sum(weights)
    np.testing.assert_allclose(actions[5], expected, atol=1e-6)
    np.testing.assert_array_equal(actions[0], chunks[0][0])
    with pytest.raises(ValueError, match=r"ensemble=0.5 averages single actions; call step"):
        policy.act({STATE: seen(0)})


def _kept(chunks: list[np.ndarray], decided: Any) -> Any:
    chunks.append(decided[0].value[0].numpy())
    return decided


def test_tensors_in_are_tensors_out_and_a_batch_is_one_even_of_one_row():
    policy = made(Counting())
    action = policy.step({STATE: torch.zeros(1), "task": "open"})
    assert (type(action), tuple(action.shape)) == (torch.Tensor, (2,))
    policy.reset()
    assert policy.step({STATE: np.zeros((1, 1)), "task": ["open"]}).shape == (1, 2)
    policy.reset()
    assert policy.act({STATE: torch.zeros(3, 1), "task": "open"}).shape == (3, 4, 2)


def test_the_instruction_holds_until_another_is_given():
    policy, other = made(Counting(), execution_horizon=1), made(Counting(), execution_horizon=1)
    with pytest.raises(
        ValueError, match=r"^the observation's 'task' is None, and none was given before; say once what"
    ):
        policy.step({STATE: seen(0), "task": None})
    with pytest.raises(ValueError, match=r"the observation lacks 'task': it holds \['observation.state'\]; say once"):
        policy.step({STATE: seen(0)})
    assert policy.task is None
    first = policy.step({STATE: seen(0), "task": "open"})
    assert policy.task == "open"
    np.testing.assert_array_equal(first, other.step({STATE: seen(0), "task": "open"}))
    np.testing.assert_array_equal(policy.step({STATE: seen(1)}), other.step({STATE: seen(1), "task": "open"}))
    told = policy.step({STATE: seen(2), "task": "close it"})
    assert np.abs(told - other.step({STATE: seen(2)})).max() > 0.01
    policy.reset()
    policy.step({STATE: np.zeros((2, 1))})
    assert policy.task == ["close it"] * 2
    policy.step({STATE: np.zeros((2, 1)), "task": ["a", "b"]})
    policy.reset()
    with pytest.raises(
        ValueError, match="the last instructions were 2 different ones, but the observation is of 3 robots"
    ):
        policy.step({STATE: np.zeros((3, 1))})


def test_what_does_not_go_on_with_the_episode_is_refused():
    policy = made(Counting())
    policy.step({STATE: np.zeros((2, 1)), "task": "open"})
    with pytest.raises(ValueError, match=r"of 1 robots, but the episodes in progress are of 2; call reset\(\) first"):
        policy.step({STATE: np.zeros(1)})
    with pytest.raises(ValueError, match=r"begun with step\(\); call reset\(\) before act\(\)"):
        policy.act({STATE: np.zeros((2, 1))})
    with pytest.raises(ValueError, match=r"reset\(rows=\[0, 2\]\): there is no row 2 in a batch of 2"):
        policy.reset(rows=[0, 2])
    strided = made(Counting(frame_stride=2))
    with pytest.raises(ValueError, match="executed actions were given with the first observation"):
        strided.act({STATE: np.zeros(1), "task": "open"}, executed=np.zeros((2, 2)))
    strided.act({STATE: np.zeros(1), "task": "open"})
    with pytest.raises(ValueError, match="3 actions were executed, but the policy must be asked every 2 steps"):
        strided.act({STATE: np.zeros(1)}, executed=np.zeros((3, 2)))
    with pytest.raises(ValueError, match=r"executed is \(3,\); give \(n, 2\)"):
        strided.act({STATE: np.zeros(1)}, executed=np.zeros(3))
    with pytest.raises(ValueError, match=r"execution_horizon=3 is not the policy's frame_stride=2"):
        made(Counting(frame_stride=2), execution_horizon=3)


def test_an_observation_that_is_refused_leaves_the_episode_as_it_was():
    policy = made(Counting(), execution_horizon=2)
    policy.step({STATE: seen(0), "task": "open"})
    with pytest.raises(ValueError, match="has nan in dimension 0"):
        policy.step({STATE: np.array([np.nan])})
    actions = [policy.step({STATE: seen(step)}) for step in range(1, 6)]
    np.testing.assert_array_equal(np.stack(actions), by_hand(Counting(), 2, 6)[1:])


def test_actions_that_are_not_finite_are_refused():
    policy = made(Counting(broken_at=2), execution_horizon=1)
    policy.step({STATE: seen(0), "task": "open"})
    with pytest.raises(
        ValueError, match="gives nan in dimension 0 at step 0 of the chunk of row 0, which is not a motion"
    ):
        policy.step({STATE: seen(1)})


@pytest.mark.parametrize("broken_at", [1, 3])
@pytest.mark.parametrize("wanted", [WINDOWS, PAST_STATES])
def test_a_decision_that_fails_leaves_the_episode_as_it_was(wanted, broken_at):
    policy, actions = made(Counting(wanted, broken_at=broken_at), execution_horizon=2), []
    for step in range(7):
        observation = {STATE: seen(step), "task": "open"}
        if len(actions) == 2 * (broken_at - 1):
            with pytest.raises(ValueError, match="gives nan"):
                policy.step(observation)
        actions.append(policy.step(observation))
    np.testing.assert_array_equal(np.stack(actions), by_hand(Counting(wanted), 2, 7))


def test_decisions_and_steps_are_timed():
    policy = made(Counting(), execution_horizon=2)
    assert policy.timing.decisions == 0
    for step in range(5):
        policy.step({STATE: seen(step), "task": "open"})
    timing = policy.timing
    assert (timing.decisions, timing.asked_rate_hz) == (3, 10.0)
    assert 0 < timing.latency_s <= timing.latency_max_s
    assert timing.rate_hz > 0
    assert repr(policy) == (
        "RobotPolicy(reads 'observation.state', 'task', moves hand by 2 numbers at 10 Hz, decides every 2 steps)"
    )


def remembering(name: str) -> RobotPolicy:
    """A tiny policy with a memory, or with noise, that sees pictures and words."""
    policy: Any = POLICIES[name].build()
    steps = TransformPipeline([ResizeImages(16), TokenizeInstruction(WordTokenizer(16), 6)])
    bundle = Bundle("vla", {}, policy.windows(), Embodiment("arm", 3, 4, 10.0), {"steps": []}, {})
    controller = Controller(policy, steps, bundle)
    return RobotPolicy(controller, Reads.of(controller.windows, bundle.windows, steps, controller.embodiment))


def pictures(step: int, rows: int) -> dict[str, Any]:
    random = np.random.default_rng(step)
    frames = {key: random.integers(0, 256, (rows, 20, 24, 3), np.uint8) for key in (FRONT, WRIST)}
    return frames | {STATE: random.normal(size=(rows, 3)), "task": [f"open drawer {row}" for row in range(rows)]}


@pytest.mark.parametrize("name", [*(f"vla-mlp-{context}" for context in IN_CONTEXT), "vla-flow-matching-all"])
def test_memories_are_kept_by_row_though_rows_decide_at_different_steps(name):
    together, alone = remembering(name), [remembering(name) for _ in range(2)]
    for row, policy in enumerate(alone):
        policy.seed(7 + row)
    together.seed(7)
    assert together.frame_stride == together.execution_horizon == 2
    for step in range(7):
        if step == 3:  # between two decisions of the other row
            together.reset(rows=[1])
            alone[1].reset()
        batch = pictures(step, rows=2)
        actions = together.step(batch)
        for row, policy in enumerate(alone):
            own = policy.step({key: value[row] for key, value in batch.items()})
            np.testing.assert_allclose(actions[row], own, atol=2e-5)


def test_noise_follows_from_the_seed():
    def first(seed: Any, rows: int = 1) -> np.ndarray:
        policy = remembering("vla-flow-matching-all")
        policy.seed(seed)
        return policy.step(pictures(0, rows))

    np.testing.assert_array_equal(first(5), first(5))
    assert np.abs(first(5) - first(6)).max() > 1e-4
    np.testing.assert_allclose(first([6, 5], rows=2)[0], first(6, rows=2)[0], atol=1e-6)
    with pytest.raises(ValueError, match="3 seeds were given for 2 rows"):
        first([1, 2, 3], rows=2)
