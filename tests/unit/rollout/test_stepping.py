"""Whether control is stepped one by one or by chunks, a policy sees the same."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

pytest.importorskip("gymnasium")

from tests.toy_simulator import LineConfig

from tempovla.control.context_builder import ContextBuilder
from tempovla.control.controller import Controller
from tempovla.env.vector import ShardedVectorEnv
from tempovla.rollout.evaluate import EvaluationConfig, run_specs
from tempovla.rollout.runner import EpisodeResult, EpisodeSpec, RolloutRunner
from tempovla.timeline import ActionChunk, Bundle, Context, Embodiment, StridedPolicy, Window
from tempovla.timeline.keys import ACTION_KEY, STATE_KEY
from tempovla.transform.pipeline import TransformPipeline

BODY = Embodiment("hand", 1, 2, rate_hz=10.0)
PAST_ACTIONS = (Window(STATE_KEY, (0,)), Window(ACTION_KEY, (-4, -3, -2, -1, *range(8))))
SPECS = [EpisodeSpec(task, seed) for seed in range(3) for task in ("left", "right")]


@dataclass
class Remembering:
    """Acts on its own past actions, on the state and on noise of a kind; keeps all that it was shown."""

    shown: list[Context]
    wanted: tuple[Window, ...] = PAST_ACTIONS
    frame_stride: int | None = None

    def windows(self) -> tuple[Window, ...]:
        return self.wanted

    def initial_state(self, batch_size: int) -> Tensor:
        return torch.zeros(batch_size, 1)

    def act(self, context: Context, state: Tensor) -> tuple[ActionChunk, Tensor]:
        self.shown.append(context)
        done = context.track(ACTION_KEY)
        past = torch.where(done.valid[..., None], done.value, 0.0).sum(dim=(1, 2))[:, None]
        seen = context.track(STATE_KEY).value.sum(dim=(1, 2))[:, None] if STATE_KEY in context.now else 0.0
        way = torch.tensor([[-1.0 if task.instruction == "go left" else 1.0] for task in context.task])
        phase = way * 0.2 + 0.4 * torch.sin(5 * past + seen + torch.arange(8.0))
        return ActionChunk.of(torch.stack([phase, phase], dim=2), range(8)), state

    def controller(self) -> Controller:
        return Controller(self, TransformPipeline([]), Bundle("toy", {}, self.wanted, BODY, {"steps": []}, {}))


class CountingEnv(ShardedVectorEnv):
    """Counts its calls, each of which draws once."""

    calls = 0

    def step_chunk(self, *arguments, **settings):
        self.calls += 1
        return super().step_chunk(*arguments, **settings)


def run(policy: Remembering, specs=SPECS, horizon: int | None = 4) -> tuple[list[EpisodeResult], int]:
    env = CountingEnv(LineConfig(max_steps=22), 3, 1)
    try:
        return RolloutRunner(policy.controller(), env, horizon).run(specs), env.calls
    finally:
        env.close()


def test_past_actions_need_no_step_by_step_and_contexts_are_the_same_to_the_bit(monkeypatch):
    by_chunks, one_by_one = Remembering([]), Remembering([])
    expected_results, drawn = run(by_chunks)
    monkeypatch.setattr(ContextBuilder, "needs_every_step", True)
    results, drawn_stepping = run(one_by_one)
    assert drawn < drawn_stepping / 3
    assert any(result.steps % 4 for result in results)  # episodes do end inside chunks
    assert any(result.success for result in results)
    for ours, theirs in zip(expected_results, results, strict=True):
        assert ours.to_json() == theirs.to_json()
        assert ours.actions.tobytes() == theirs.actions.tobytes()
    assert len(by_chunks.shown) == len(one_by_one.shown) > 10
    for ours, theirs in zip(by_chunks.shown, one_by_one.shown, strict=True):
        assert torch.equal(ours.first, theirs.first)
        assert {key: t.offset.tolist() for key, t in ours.past.items()} == {ACTION_KEY: [-4, -3, -2, -1]}
        for key in (STATE_KEY, ACTION_KEY):
            assert torch.equal(ours.track(key).value, theirs.track(key).value)
            assert torch.equal(ours.track(key).valid, theirs.track(key).valid)


def test_the_past_actions_seen_are_those_that_were_executed():
    policy = Remembering([])
    results, _ = run(policy, SPECS[:1])
    (result,) = results
    for decision, context in enumerate(policy.shown):
        track, steps = context.track(ACTION_KEY), min(4 * decision, 4)
        assert track.valid[0].tolist() == [False] * (4 - steps) + [True] * steps
        done = torch.from_numpy(result.actions[4 * decision - steps : 4 * decision])
        assert torch.equal(track.value[0, 4 - steps :], done)


def test_a_policy_that_observes_nothing_keeps_its_episodes_to_their_end():
    """A row whose policy has no window of observations is no row that never began."""
    blind = Remembering([], wanted=PAST_ACTIONS[1:])
    lengths = [result.steps for result in run(blind)[0]]
    assert lengths == [run(replace(blind, shown=[]), [spec])[0][0].steps for spec in SPECS]


def test_the_policys_stride_is_the_execution_horizon():
    assert isinstance(Remembering([]), StridedPolicy)
    policy = Remembering([], frame_stride=5)
    assert policy.controller().frame_stride == 5
    results, _ = run(policy, SPECS[:1], horizon=None)
    assert len(policy.shown) == results[0].policy_calls == -(-results[0].steps // 5)
    assert run(Remembering([], frame_stride=5), SPECS[:1], horizon=5)[0][0].to_json() == results[0].to_json()


def test_another_execution_horizon_than_the_stride_is_refused_wherever_it_is_asked_for():
    said = r"^execution_horizon=6 is not the policy's frame_stride=5, .*; leave execution_horizon out, or train with"
    with pytest.raises(ValueError, match=said):
        run(Remembering([], frame_stride=5), horizon=6)
    config = EvaluationConfig(num_envs=1, workers=1, execution_horizon=6)
    with pytest.raises(ValueError, match=said):
        run_specs(Remembering([], frame_stride=5).controller(), SPECS[:1], LineConfig(), config)


class Unstrided:
    """Has no such attribute."""


@pytest.mark.parametrize("policy", [Unstrided(), Remembering([])])
def test_policies_without_a_stride_have_none(policy):
    bundle = Bundle("toy", {}, PAST_ACTIONS, BODY, {"steps": []}, {})
    assert Controller(policy, TransformPipeline([]), bundle).frame_stride is None
