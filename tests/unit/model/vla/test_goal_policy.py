"""Acting towards a goal with a world model that has learned a linear world, and learning inverse dynamics for it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tests.line_worlds import policy_of as line_policy

from tempovla.model.vla.goal_policy import GoalPolicy, goal_of_steps
from tempovla.model.vla.tdmpc_config import TDMPCConfig
from tempovla.model.vla.world_model_config import WorldModelConfig
from tempovla.model.vla.world_model_policy import WorldModelPolicy
from tempovla.model.world_model.dynamics_config import LatentDynamicsConfig
from tempovla.model.world_model.planning.config import PlannerConfig
from tempovla.model.world_model.planning.scores import Costs, policy_score
from tempovla.objective import Objective
from tempovla.objective.objective import reduce_term
from tempovla.recipe.systems.world_model_config import WorldModelTraining
from tempovla.timeline import Context, Embodiment, Task, TimelineSample, Track
from tempovla.timeline.keys import ACTION_KEY, REWARD_KEY, STATE_KEY

BODY = Embodiment("toy", 2, 2, 10.0)
STEPS, ROWS = (1, 4), 32
STRIDE = 0.2
"""What an action of 1 moves the state by."""


def policy_of(weight: float = 1.0) -> WorldModelPolicy:
    torch.manual_seed(0)
    dynamics = LatentDynamicsConfig(latent_dim=32, group_dim=8, encoder_dim=32, hidden_dim=32, num_values=2, bins=11)
    learning = TDMPCConfig(
        horizon=2, dynamics=dynamics, inverse_dynamics_weight=weight, inverse_dynamics_steps=STEPS, value_weight=0.0
    )
    planner = PlannerConfig(kind="cem", horizon=4, num_samples=64, num_elites=8, iterations=3, num_policy_samples=0)
    return WorldModelPolicy(
        WorldModelConfig(robot_state_dim=2, action_dim=2, discount=0.9, planner=planner, tdmpc=learning)
    )


def context_of(places: torch.Tensor, first: bool = True) -> Context:
    rows = len(places)
    now = {STATE_KEY: Track.of(places[:, None], (0,))}
    return Context({}, now, (Task("", BODY),) * rows, torch.full((rows,), first))


def at(*places: float, first: bool = True) -> Context:
    """Rows that see these places on the line."""
    return context_of(torch.tensor(places)[:, None], first)


def walks(seed: int) -> TimelineSample:
    """Rows that walk from a random place, a constant way each."""
    drawn = torch.Generator().manual_seed(seed)
    begin = torch.rand(ROWS, 2, generator=drawn) * 2 - 1
    action = (torch.rand(ROWS, 1, 2, generator=drawn) * 2 - 1).expand(-1, 2, -1)
    places = {step: begin + STRIDE * step * action[:, 0] for step in (1, 2, 4)}
    future = {
        STATE_KEY: Track.of(torch.stack(list(places.values()), dim=1), tuple(places)),
        ACTION_KEY: Track.of(action, (0, 1)),
        REWARD_KEY: Track.of(torch.zeros(ROWS, 2, 1), (0, 1)),
    }
    return TimelineSample(context_of(begin), future, torch.arange(ROWS) + seed)


def test_how_far_plans_are_from_the_policy_counts_as_it_does_without_a_goal():
    policy = policy_of().eval()
    agent, z = policy.agent, torch.randn(3, 32).view(3, 4, 8).softmax(-1).flatten(1)
    actions = torch.rand(3, 5, 4, 2) * 2 - 1
    cost = torch.tensor(0.7)
    with torch.inference_mode():
        apart = policy_score(agent.world, z, cost)(actions)
        expected = agent.world.returns_from(z, cost)(actions) - agent.world.returns_from(z)(actions)
    assert float(apart.max()) < -0.1
    torch.testing.assert_close(apart, expected, rtol=1e-3, atol=1e-4)


def test_plans_towards_a_goal_stay_near_the_policy_where_rewards_count():
    policy, here, goal = policy_of().eval(), context_of(torch.zeros(2, 2)), context_of(torch.ones(1, 2))
    likely = policy.agent.world.policy_mean(policy.agent.world.encode(here)).detach()

    def distance(weight: float, **costs: float) -> float:
        planner = replace(policy.config.planner, policy_weight=weight, num_samples=256, num_elites=16)
        acts = GoalPolicy(policy, goal, planner, Costs(goal_weight=0.001, **costs))
        chunk, _ = acts.act(here, acts.initial_state(2))
        return float((chunk.value[:, 0] - likely).square().sum())

    assert distance(1000.0, reward_weight=1.0) < 0.5 * distance(0.0, reward_weight=1.0)
    assert distance(1000.0) == distance(0.0)


@pytest.fixture(scope="module")
def learned() -> WorldModelPolicy:
    policy = policy_of().train()
    optimizer = torch.optim.Adam(policy.parameters(), lr=2e-3)
    for step in range(250):
        loss = Objective()(policy(walks(step))).total
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        policy.after_step(step)
    return policy.eval()


def test_windows_reach_to_the_goals_where_inverse_dynamics_are_learned():
    offsets = {window.key: window.offsets for window in policy_of().training_windows()}
    assert offsets[STATE_KEY] == (0, 1, 2, 4)
    assert offsets[ACTION_KEY] == (0, 1)
    assert {window.key: window.offsets for window in policy_of(0.0).training_windows()}[STATE_KEY] == (0, 1, 2)
    assert policy_of(0.0).agent.world.inverse is None
    training = WorldModelTraining()
    assert [*training.settled(policy_of().config).parameter_groups] == ["encoder", "actor", "inverse"]
    assert [*training.settled(policy_of(0.0).config).parameter_groups] == ["encoder", "actor"]


def test_the_loss_compares_actions_with_those_towards_what_is_seen_later():
    policy, sample = policy_of(0.5), walks(0)
    world = policy.agent.world
    term = policy(sample)["inverse_dynamics_loss"]
    z = world.encode_at(sample.context.now, 0)[0]
    total = 0.0
    for step in STEPS:
        goal = world.encode_at(sample.future, step)[0]
        told = world.inverse_action(z, goal, step)
        total += (told - sample.future[ACTION_KEY].value[:, 0]).square().mean() / len(STEPS)
    assert float(reduce_term("inverse", term)) == pytest.approx(float(total), rel=1e-5)
    assert term.weight == 0.5


def test_only_the_inverse_dynamics_learn_from_their_loss():
    policy = policy_of().train()
    reduce_term("inverse", policy(walks(0))["inverse_dynamics_loss"]).backward()
    moved = {name.split(".")[2] for name, each in policy.named_parameters() if each.grad is not None}
    assert moved == {"inverse"}


def test_the_rest_of_the_model_is_the_same_with_and_without_them():
    one, other = policy_of(1.0), policy_of(0.0)
    weights = other.state_dict()
    shared = {name: value for name, value in one.state_dict().items() if name in weights}
    assert shared.keys() == weights.keys()
    assert all(torch.equal(value, weights[name]) for name, value in shared.items())


def test_goals_that_were_not_seen_teach_nothing():
    policy, sample = policy_of(), walks(0)
    track = sample.future[STATE_KEY]
    valid = track.valid.clone()
    valid[3, 2] = False
    wrong = torch.where(valid[..., None], track.value, 99.0)
    hidden = {**sample.future, STATE_KEY: Track.of(wrong, track.offset.tolist(), valid)}
    term = policy(replace(sample, future=hidden))["inverse_dynamics_loss"]
    assert term.valid[3].tolist() == [True, False]
    assert term.valid[4].tolist() == [True, True]


@pytest.mark.parametrize("by_inverse_dynamics", [False, True])
def test_it_comes_nearer_to_its_goal_than_where_it_began(learned, by_inverse_dynamics):
    goal = torch.tensor([[0.5, -0.4]])
    acts = GoalPolicy(learned, context_of(goal), by_inverse_dynamics=by_inverse_dynamics)
    place = torch.tensor([[-0.4, 0.4], [0.0, 0.6], [-0.7, -0.6]])
    state = acts.with_seeds(acts.initial_state(3), torch.tensor([1, 2, 3]))
    begin = (place - goal).norm(dim=-1)
    for step in range(8):
        chunk, state = acts.act(context_of(place, first=step == 0), state)
        assert chunk.value.shape == (3, 1, 2)
        assert chunk.value.abs().max() <= 1.0
        place = place + STRIDE * chunk.value[:, 0]
    assert ((place - goal).norm(dim=-1) < 0.6 * begin).all()


@pytest.mark.parametrize("by_inverse_dynamics", [False, True])
def test_a_row_acts_by_its_own_seed_alone(learned, by_inverse_dynamics):
    goal, place = torch.tensor([[0.5, -0.4]]), torch.tensor([[-0.4, 0.4], [0.0, 0.6]])
    acts = GoalPolicy(learned, context_of(goal), by_inverse_dynamics=by_inverse_dynamics)
    seeds = torch.tensor([7, 8])
    both, _ = acts.act(context_of(place), acts.with_seeds(acts.initial_state(2), seeds))
    alone, _ = acts.act(context_of(place[1:]), acts.with_seeds(acts.initial_state(1), seeds[1:]))
    torch.testing.assert_close(both.value[1], alone.value[0], rtol=1e-4, atol=1e-4)


def test_a_policy_without_inverse_dynamics_cannot_act_by_them():
    with pytest.raises(
        ValueError, match=r"did not learn inverse dynamics; train it with model.tdmpc.inverse_dynamics_w"
    ):
        GoalPolicy(policy_of(0.0), context_of(torch.zeros(1, 2)), by_inverse_dynamics=True)


@pytest.mark.parametrize("steps", [(), (0, 1), (4, 1), (1, 1)])
def test_steps_that_do_not_fit_are_refused(steps):
    with pytest.raises(ValueError, match=r"model.tdmpc.inverse_dynamics_steps=.* must be numbers from 1 on, in rising"):
        TDMPCConfig(inverse_dynamics_steps=steps)


@torch.no_grad()
def test_a_policy_that_remembers_plans_from_what_it_remembers():
    policy = line_policy("dreamer")
    acts = GoalPolicy(policy, at(0.3))
    seeds = torch.tensor([7, 7])
    state = acts.with_seeds(acts.initial_state(2), seeds)
    assert state.mean.shape == (2, 3, 2)
    _, state = acts.act(at(-2.0, 2.0), state)
    assert not torch.allclose(state.world.features[0], state.world.features[1])
    chosen = state.world.action
    chunk, later = acts.act(at(0.2, 0.2, first=False), state)
    torch.testing.assert_close(later.world.action, chunk.value[:, 0])
    assert not torch.allclose(chosen, later.world.action)
    assert not torch.allclose(chunk.value[0], chunk.value[1])
    again, _ = acts.act(at(0.2, 0.2), later)
    new, _ = acts.act(at(0.2, 0.2), acts.with_seeds(acts.initial_state(2), seeds))
    torch.testing.assert_close(again.value, new.value)
    torch.testing.assert_close(again.value[0], again.value[1])


@torch.no_grad()
def test_the_first_action_is_that_of_the_candidate_that_comes_nearest_in_the_latent_space():
    policy = line_policy("dreamer", planner=PlannerConfig("shooting", 1, 200, 1, num_policy_samples=0))
    acts = GoalPolicy(policy, at(2.0))
    chunk, state = acts.act(at(-2.0), acts.with_seeds(acts.initial_state(1), torch.tensor([5])))
    world = policy.agent.world
    aim = world.encode(at(2.0)).features
    before = replace(state.world, action=torch.zeros(1, 2))
    tried = torch.cartesian_prod(torch.linspace(-1, 1, 15), torch.linspace(-1, 1, 15))
    apart = (world.imagine(before, tried[None, :, None]).features[0, :, 0] - aim).square().sum(dim=-1)
    reached = (world.imagine(before, chunk.value[:, :, None]).features[0, 0] - aim).square().sum()
    assert reached <= apart.quantile(0.1)


@torch.no_grad()
def test_a_goal_of_steps_is_what_is_remembered_at_the_last_one():
    policy = line_policy("dreamer")
    world = policy.agent.world
    goal = goal_of_steps(policy, [at(0.1), at(0.5, first=False)])
    expected = world.encode(at(0.5, first=False), world.encode(at(0.1)))
    torch.testing.assert_close(goal.state.features, expected.features)
    assert float(goal.seen.now[STATE_KEY].value) == 0.5
    tdmpc = line_policy()
    torch.testing.assert_close(goal_of_steps(tdmpc, [at(0.1), at(0.5)]).state, tdmpc.agent.world.encode(at(0.5)))
    with pytest.raises(ValueError, match="no steps show no goal; give one at least"):
        goal_of_steps(policy, [])
    with pytest.raises(ValueError, match=r"the goal lacks 'observation.state', which the world model reads"):
        goal_of_steps(policy, [replace(at(0.1), now={})])


def test_what_cannot_be_planned_with_is_refused_before_anything_is_done():
    with pytest.raises(ValueError, match="algorithm 'dreamer' learns no inverse dynamics; plan towards the goal by a"):
        GoalPolicy(line_policy("dreamer"), at(0.1), by_inverse_dynamics=True)
    with pytest.raises(ValueError, match="nothing counts in the plan"):
        GoalPolicy(line_policy(), at(0.1), costs=Costs(goal_weight=0.0))
    with pytest.raises(ValueError, match="LatentDynamics has no decoder, which picture_weight needs"):
        GoalPolicy(line_policy(), at(0.1), costs=Costs(picture_weight=1.0))
