"""The agent that plans with a latent model: what it learns from, and from what it does not."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tempovla.model.vla.tdmpc_config import TDMPCConfig
from tempovla.model.vla.world_model_config import WorldModelConfig
from tempovla.model.vla.world_model_policy import WorldModelPolicy
from tempovla.model.world_model.dynamics_config import LatentDynamicsConfig
from tempovla.model.world_model.planning.config import PlannerConfig
from tempovla.objective import Objective
from tempovla.objective.objective import reduce_term
from tempovla.timeline import Context, Embodiment, Task, TimelineSample, Track
from tempovla.timeline.keys import ACTION_KEY, REWARD_KEY, STATE_KEY, TERMINATED_KEY

BODY = Embodiment("toy", 3, 2, 10.0)
ROWS, HORIZON = 6, 3


def policy_of(
    *, predicts_end: bool = False, plans: bool = True, dropout: float = 0.0, cloning_weight: float = 0.0
) -> WorldModelPolicy:
    """A small policy whose last layers have learned something."""
    torch.manual_seed(0)
    sizes = {"latent_dim": 16, "group_dim": 4, "encoder_dim": 8, "hidden_dim": 12, "bins": 11, "symlog_range": 3.0}
    dynamics = LatentDynamicsConfig(**sizes, num_values=3, dropout=dropout, predicts_end=predicts_end)
    planner = PlannerConfig(horizon=2, num_samples=16, num_elites=4, iterations=2, num_policy_samples=4)
    made = WorldModelPolicy(
        WorldModelConfig(
            robot_state_dim=3,
            action_dim=2,
            planner=planner,
            plans=plans,
            discount=0.9,
            tdmpc=TDMPCConfig(horizon=HORIZON, dynamics=dynamics, cloning_weight=cloning_weight),
        )
    )
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return made


def sample_of(policy: WorldModelPolicy, seed: int = 0) -> TimelineSample:
    """Rows in which everything is valid."""
    generator = torch.Generator().manual_seed(seed)
    seen = torch.randn(ROWS, HORIZON + 1, 3, generator=generator)
    future = {
        STATE_KEY: Track.of(seen[:, 1:], range(1, HORIZON + 1)),
        ACTION_KEY: Track.of(torch.rand(ROWS, HORIZON, 2, generator=generator) * 2 - 1, range(HORIZON)),
        REWARD_KEY: Track.of(torch.rand(ROWS, HORIZON, 1, generator=generator), range(HORIZON)),
    }
    if policy.config.tdmpc.dynamics.predicts_end:
        ended = torch.rand(ROWS, HORIZON, 1, generator=generator) < 0.3
        future[TERMINATED_KEY] = Track.of(ended, range(HORIZON))
    return TimelineSample(context_of(seen[:, :1]), future, torch.arange(ROWS))


def context_of(state: torch.Tensor, first: bool = True) -> Context:
    rows = len(state)
    return Context({}, {STATE_KEY: Track.of(state, (0,))}, (Task("", BODY),) * rows, torch.full((rows,), first))


def values(policy: WorldModelPolicy, sample: TimelineSample) -> dict[str, float]:
    return {name: float(reduce_term(name, term)) for name, term in policy(sample).items()}


def without(sample: TimelineSample, key: str, row: int, step: int, value: float = torch.nan) -> TimelineSample:
    """The sample with one value that is invalid, and not a number."""
    track = sample.future[key]
    changed, valid = track.value.clone(), track.valid.clone()
    changed[row, step] = value
    valid[row, step] = False
    return replace(sample, future={**sample.future, key: Track.of(changed, track.offset.tolist(), valid)})


def test_targets_are_the_reward_and_the_lesser_of_two_slow_values():
    policy = policy_of()
    sample, agent = sample_of(policy), policy.agent
    target = torch.stack([agent.world.encode_at(sample.future, step)[0] for step in (1, 2, 3)], dim=1)
    rewards = sample.future[REWARD_KEY].value[..., 0]
    ends = torch.zeros(ROWS, HORIZON, dtype=torch.bool)
    found = agent._value_target(sample, rewards, ends, target)
    noise = found.new_zeros(0)
    expected = []
    from tempovla.timeline.noise import row_normal

    noise = row_normal(sample.seed, (HORIZON, 2), stream=0)
    every = agent.world.slow_value(target, agent.world.policy_sample(target, noise))
    for row in range(ROWS):
        pairs = [torch.minimum(every[a, row], every[b, row]) for a in range(3) for b in range(3) if a != b]
        expected.append([rewards[row] + 0.9 * pair for pair in pairs])
    for row in range(ROWS):
        assert any(torch.allclose(found[row], each, atol=1e-5) for each in expected[row])
    ended = agent._value_target(sample, rewards, ~ends, target)
    torch.testing.assert_close(ended, rewards)


def test_each_loss_is_the_fading_mean_over_steps():
    policy = policy_of()
    sample, world = sample_of(policy), policy.agent.world
    z = world.encode_at(sample.context.now, 0)[0]
    total, told = 0.0, 0.0
    for step in range(HORIZON):
        action = sample.future[ACTION_KEY].value[:, step]
        logits = world.reward(torch.cat([z, action], dim=-1))
        told += 0.5**step * world.two_hot.loss(logits, sample.future[REWARD_KEY].value[:, step, 0]).mean() / HORIZON
        z = world.step(z, action)
        aim = world.encode_at(sample.future, step + 1)[0]
        total += 0.5**step * (z - aim).square().mean() / HORIZON
    found = policy(sample)
    assert float(reduce_term("c", found["consistency_loss"])) == pytest.approx(float(total.detach()), rel=1e-4)
    assert float(reduce_term("r", found["reward_loss"])) == pytest.approx(float(told.detach()), rel=1e-4)
    assert (found["consistency_loss"].weight, found["reward_loss"].weight, found["value_loss"].weight) == (20, 0.1, 0.1)


def test_what_is_not_there_changes_no_loss_and_gives_no_gradient():
    policy = policy_of(predicts_end=True).train()
    sample = sample_of(policy)
    for key, step in ((STATE_KEY, 2), (ACTION_KEY, 1), (REWARD_KEY, 0), (TERMINATED_KEY, 1)):
        if key == TERMINATED_KEY:
            track = sample.future[key]
            valid = track.valid.clone()
            valid[1, step] = False
            sample = replace(sample, future={**sample.future, key: Track.of(track.value, track.offset.tolist(), valid)})
            continue
        sample = without(sample, key, 1, step)
    other = sample
    for key in (STATE_KEY, ACTION_KEY, REWARD_KEY):
        track = other.future[key]
        filled = torch.where(track.valid[..., None], track.value, 7.0)
        other = replace(other, future={**other.future, key: Track.of(filled, track.offset.tolist(), track.valid)})
    torch.manual_seed(1)
    first = values(policy, sample)
    torch.manual_seed(1)
    assert values(policy, other) == first
    Objective()(policy(sample)).total.backward()
    assert all(torch.isfinite(each.grad).all() for each in policy.parameters() if each.grad is not None)


def test_the_last_step_of_an_episode_teaches_its_value_only_if_the_world_ended():
    policy = policy_of(predicts_end=True)
    sample = sample_of(policy)
    late = without(sample, STATE_KEY, 0, 2, 0.0)
    for ended in (False, True):
        track = late.future[TERMINATED_KEY]
        value = track.value.clone()
        value[0, 2] = ended
        now = replace(late, future={**late.future, TERMINATED_KEY: Track.of(value, track.offset.tolist(), track.valid)})
        terms = policy(now)
        assert terms["consistency_loss"].valid[0].tolist() == [True, True, False]
        assert terms["reward_loss"].valid[0].tolist() == [True, True, True]
        assert terms["value_loss"].valid[0].tolist() == [True, True, ended]


def test_nothing_is_learned_behind_an_action_that_is_missing():
    policy = policy_of()
    terms = policy(without(sample_of(policy), ACTION_KEY, 0, 1))
    for name in ("consistency_loss", "reward_loss", "value_loss"):
        assert terms[name].valid[0].tolist() == [True, False, False]
        assert terms[name].valid[1].all()


def test_the_policy_learns_from_the_values_without_moving_them_or_the_model():
    policy = policy_of().train()
    reduce_term("policy_loss", policy(sample_of(policy))["policy_loss"]).backward()
    moved = {
        name.split(".")[2] for name, each in policy.named_parameters() if each.grad is not None and each.grad.any()
    }
    assert moved == {"actor"}


def test_targets_get_no_gradient():
    policy = policy_of().train()
    reduce_term("value_loss", policy(sample_of(policy))["value_loss"]).backward()
    moved = {
        name.split(".")[2] for name, each in policy.named_parameters() if each.grad is not None and each.grad.any()
    }
    assert moved == {"encoder", "dynamics", "dynamics_norm", "values"}


def test_the_spread_of_values_follows_slowly_and_only_in_training():
    policy = policy_of()
    scale = policy.agent.scale
    policy.train()(sample_of(policy))
    policy.after_step(1)
    scale.add(torch.linspace(0.0, 100.0, 101), torch.ones(101, dtype=torch.bool))
    before = float(scale.value)
    policy.after_step(2)
    assert float(scale.value) == pytest.approx(0.99 * before + 0.01 * 90.0, rel=1e-4)
    policy.eval()
    with torch.no_grad():
        policy(sample_of(policy))
    policy.after_step(3)
    assert float(scale.value) == pytest.approx(0.99 * before + 0.01 * 90.0, rel=1e-4)


@pytest.mark.parametrize("plans", [True, False])
def test_rows_act_by_their_own_seed_and_remember_their_own_plan(plans):
    policy = policy_of(plans=plans).eval()
    seen = torch.randn(3, 1, 3, generator=torch.Generator().manual_seed(1))
    seeds = torch.tensor([4, 5, 6])
    state = policy.with_seeds(policy.initial_state(3), seeds)
    alone = policy.with_seeds(policy.initial_state(1), seeds[1:2])
    for step in range(3):
        chunk, state = policy.act(context_of(seen + step, first=step == 0), state)
        one, alone = policy.act(context_of(seen[1:2] + step, first=step == 0), alone)
        torch.testing.assert_close(chunk.value[1], one.value[0], rtol=1e-4, atol=1e-4)
        assert chunk.value.abs().max() <= 1.0
    again, _ = policy.act(context_of(seen), state)
    fresh, _ = policy.act(context_of(seen), policy.with_seeds(policy.initial_state(3), seeds))
    torch.testing.assert_close(again.value, fresh.value, rtol=0, atol=0)


def test_exploring_adds_noise_to_what_it_would_do():
    policy = policy_of().eval()
    seen = torch.randn(3, 1, 3, generator=torch.Generator().manual_seed(1))
    state = policy.with_seeds(policy.initial_state(3), torch.tensor([4, 5, 6]))
    done, after = policy.act(context_of(seen), state)
    tried, then = policy.explore(context_of(seen), state)
    assert not torch.equal(done.value, tried.value)
    assert tried.value.abs().max() <= 1.0
    torch.testing.assert_close(after.mean, then.mean, rtol=0, atol=0)


@pytest.mark.parametrize(("length", "discount"), [(500, 0.99), (1000, 0.995), (50, 0.95), (100, 0.95), (200, 0.975)])
def test_the_discount_follows_from_the_length_of_episodes(length, discount):
    assert WorldModelConfig(robot_state_dim=3, episode_length=length).step_discount == pytest.approx(discount)


def test_repeated_actions_are_one_step_whose_rewards_add_up():
    single = policy_of()
    config = replace(single.config, action_repeat=2)
    double = WorldModelPolicy(config)
    double.load_state_dict(single.state_dict())
    sample = sample_of(single)
    state = torch.cat([sample.context.now[STATE_KEY].value, sample.future[STATE_KEY].value], dim=1)
    halves = torch.stack([torch.full((ROWS, HORIZON, 1), 0.25), sample.future[REWARD_KEY].value - 0.25], dim=2)
    future = {
        STATE_KEY: Track.of(state[:, 1:], (2, 4, 6)),
        ACTION_KEY: Track.of(sample.future[ACTION_KEY].value.repeat_interleave(2, dim=1), range(6)),
        REWARD_KEY: Track.of(halves.flatten(1, 2), range(6)),
    }
    assert [window.offsets for window in double.training_windows()] == [(0, 2, 4, 6), tuple(range(6)), tuple(range(6))]
    repeated = replace(sample, future=future)
    one, other = values(single.eval(), sample), values(double.eval(), repeated)
    assert other == pytest.approx(one, rel=1e-5)
    chunk, _ = double.act(sample.context, double.initial_state(ROWS))
    assert chunk.value.shape == (ROWS, 2, 2)
    assert torch.equal(chunk.value[:, 0], chunk.value[:, 1])
    assert (double.frame_stride, single.frame_stride) == (2, None)
    missing = without(repeated, REWARD_KEY, 0, 3)
    assert double(missing)["reward_loss"].valid[0].tolist() == [True, False, True]
    future[ACTION_KEY].value[0, 3] += 0.5  # the second action was not done twice, so what follows from it is not known
    changed = double(repeated)
    assert changed["reward_loss"].valid[0].tolist() == [True, False, False]
    assert changed["consistency_loss"].valid[1].tolist() == [True, True, True]


def test_samples_of_repeated_actions_begin_where_an_action_did():
    assert policy_of().window_ends(4) == [0, 1, 2, 3]
    assert WorldModelPolicy(replace(policy_of().config, action_repeat=3)).window_ends(8) == [0, 3, 6]


def test_an_end_that_is_not_known_is_not_taken_for_none():
    policy = policy_of(predicts_end=True)
    sample = sample_of(policy)
    track = sample.future[TERMINATED_KEY]
    valid = track.valid.clone()
    valid[0, 1] = False
    unknown = Track.of(track.value, track.offset.tolist(), valid)
    terms = policy(replace(sample, future={**sample.future, TERMINATED_KEY: unknown}))
    for name in ("end_loss", "value_loss"):
        assert terms[name].valid[0].tolist() == [True, False, True]
        assert terms[name].valid[1:].all()
    assert terms["reward_loss"].valid.all()


def test_the_spread_of_values_stays_where_no_row_counts():
    scale = policy_of().agent.scale
    scale.value.fill_(7.0)
    scale.add(torch.linspace(0.0, 100.0, 11), torch.zeros(11, dtype=torch.bool))
    scale.update()
    assert float(scale.value) == 7.0


def test_the_moments_of_states_are_those_of_what_is_seen_in_training_alone():
    policy = policy_of()
    dynamics = replace(policy.config.tdmpc.dynamics, normalize_state=True)
    policy = WorldModelPolicy(replace(policy.config, tdmpc=replace(policy.config.tdmpc, dynamics=dynamics)))
    sample, moments = sample_of(policy), policy.agent.world.encoder.moments
    policy.eval()(sample)
    policy.after_step(1)
    assert int(moments.updates) == 0
    policy.train()
    before = policy.agent.world.encode(sample.context)
    policy(sample)
    policy.after_step(2)
    torch.testing.assert_close(moments.mean, sample.context.now[STATE_KEY].value[:, 0].mean(dim=0))
    assert not torch.equal(before, policy.agent.world.encode(sample.context))


def test_cloning_tells_the_recorded_actions_and_teaches_the_encoder():
    policy = policy_of(cloning_weight=0.5)
    sample, world = sample_of(policy), policy.agent.world
    term = policy(sample)["behavior_cloning"]
    state = world.encode(sample.context)
    for step in range(HORIZON):
        torch.testing.assert_close(term.prediction[:, step], world.policy_mean(state))
        state = world.step(state, sample.future[ACTION_KEY].value[:, step])
    assert term.weight == 0.5
    assert torch.equal(term.target, sample.future[ACTION_KEY].value)
    reduce_term("behavior_cloning", term).backward()
    assert all(weight.grad is not None and weight.grad.any() for weight in world.encoder.parameters())
    lost = policy(without(sample, ACTION_KEY, row=2, step=1, value=0.0))["behavior_cloning"]
    assert lost.valid[2].tolist() == [True, False, False]


@torch.no_grad()
def test_a_policy_weight_keeps_plans_near_to_the_policy_in_units_of_the_values_spread():
    policy, now = policy_of().eval(), context_of(torch.randn(ROWS, 1, 3, generator=torch.Generator().manual_seed(3)))
    likely = policy.agent.world.policy_mean(policy.agent.world.encode(now))

    def apart(weight: float, spread: float) -> float:
        planner = replace(policy.config.planner, kind="cem", num_samples=256, iterations=6, policy_weight=weight)
        policy.agent.config = replace(policy.config, planner=planner)
        policy.agent.scale.value.fill_(spread)
        chunk, _ = policy.act(now, policy.initial_state(ROWS))
        return float((chunk.value[:, 0] - likely).abs().max())

    assert apart(1e4, 1.0) < 0.1 < apart(0.0, 1.0)
    assert apart(1.0, 1e4) < 0.1
    explored = [policy.explore(now, policy.initial_state(ROWS))[0].value]
    policy.agent.config = replace(policy.config, planner=replace(policy.agent.config.planner, policy_weight=0.0))
    assert torch.equal(explored[0], policy.explore(now, policy.initial_state(ROWS))[0].value)
