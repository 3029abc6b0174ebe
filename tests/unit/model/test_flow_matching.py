"""Flow matching: the path, its velocity, its integration, and that it learns distributions rather than means."""

import pytest
import torch
from torch import nn

from tempovla.model.action_head.flow_matching import FlowMatchingPolicy
from tempovla.model.layers.sequence import sequence_encoder


def build(kind: str = "transformer", action_dim: int = 1, action_horizon: int = 2) -> FlowMatchingPolicy:
    torch.manual_seed(0)
    sizes = {"depth": 2, "num_heads": 2, "d_state": 4, "d_conv": 3, "expand": 2}
    backbone = sequence_encoder(kind, dim=32, max_length=2 + action_horizon, **sizes)
    return FlowMatchingPolicy(2, action_dim, action_horizon, 32, backbone)


class Straight(FlowMatchingPolicy):
    """The true field of a distribution with all its mass at one chunk `goal` (H, A): (x - goal) / flow time."""

    def __init__(self, goal: torch.Tensor) -> None:
        super().__init__(2, goal.shape[1], goal.shape[0], 8, nn.Identity())
        self.goal = goal
        self.asked: list[float] = []

    def velocity(self, x, flow_time, z):
        self.asked.append(float(flow_time[0]))
        return (x - self.goal) / flow_time[:, None, None]


@pytest.mark.parametrize("steps", [1, 2, 7])
def test_euler_steps_follow_straight_lines_exactly(steps):
    goal = torch.tensor([[0.5, -2.0], [3.0, 0.0]])
    policy = Straight(goal)
    noise = torch.randn(4, 2, 2, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(policy.sample(torch.zeros(4, 2), noise, steps), goal.expand(4, 2, 2))
    assert policy.asked == pytest.approx([1.0 - step / steps for step in range(steps)])


def test_steps_are_euler_steps_from_noise_to_actions():
    """With velocity x, each of n steps multiplies by 1 - 1 / n."""
    policy = Straight(torch.zeros(2, 1))
    policy.velocity = lambda x, flow_time, z: x  # type: ignore[method-assign]
    noise = torch.ones(1, 2, 1)
    torch.testing.assert_close(policy.sample(torch.zeros(1, 2), noise, 4), noise * 0.75**4)


def test_the_target_is_noise_minus_action_at_a_point_on_the_line_between_them():
    seen = {}

    class Spy(FlowMatchingPolicy):
        def velocity(self, x, flow_time, z):
            seen.update(x=x, flow_time=flow_time)
            return torch.zeros_like(x)

    policy = Spy(2, 1, 2, 8, nn.Identity())
    action, noise = torch.tensor([[[1.0], [2.0]]] * 3), torch.tensor([[[-1.0], [4.0]]] * 3)
    flow_time = torch.tensor([0.0, 1.0, 0.25])
    predicted, target = policy.training_pair(action, noise, flow_time, torch.zeros(3, 2))
    torch.testing.assert_close(target, torch.tensor([[[-2.0], [2.0]]] * 3))
    assert predicted.shape == target.shape
    expected = torch.tensor([[[1.0], [2.0]], [[-1.0], [4.0]], [[0.5], [2.5]]])
    torch.testing.assert_close(seen["x"], expected)
    assert torch.equal(seen["flow_time"], flow_time)


def test_an_untrained_policy_has_velocity_zero():
    policy = build()
    x = torch.randn(3, 2, 1)
    assert torch.equal(policy.velocity(x, torch.rand(3), torch.randn(3, 2)), torch.zeros(3, 2, 1))


@pytest.mark.parametrize("kind", ["mamba", "transformer"])
def test_velocity_depends_on_flow_time_state_and_every_earlier_action(kind):
    policy = build(kind, action_dim=2, action_horizon=3)
    nn.init.normal_(policy.velocity_out.weight)
    x, flow_time, z = torch.randn(4, 3, 2), torch.rand(4) * 0.5, torch.randn(4, 2)
    base = policy.velocity(x, flow_time, z)
    assert base.shape == (4, 3, 2)
    assert not torch.allclose(base, policy.velocity(x, flow_time + 0.3, z))
    assert not torch.allclose(base, policy.velocity(x, flow_time, z + 1.0))
    other = x.clone()
    other[:, 0] += 1.0
    assert (policy.velocity(other, flow_time, z) - base).abs().amax(dim=(0, 2)).min() > 1e-4


@pytest.fixture(scope="module")
def fitted() -> FlowMatchingPolicy:
    """Trained where z = (+1, 0) means two chunks alike often, +1 or -1 throughout, and z = (-1, 0) means +3."""
    policy = build()
    optimizer = torch.optim.AdamW(policy.parameters(), lr=6e-3)
    random = torch.Generator().manual_seed(0)
    for step in range(250):
        for group in optimizer.param_groups:
            group["lr"] = 6e-3 * (1.0 - step / 250)
        two_ways = torch.rand(128, generator=random) < 0.5
        sign = (torch.rand(128, generator=random) < 0.5).float() * 2.0 - 1.0
        action = torch.where(two_ways, sign, 3.0)[:, None, None].expand(128, 2, 1)
        z = torch.stack([two_ways.float() * 2.0 - 1.0, torch.zeros(128)], dim=1)
        noise = torch.randn(128, 2, 1, generator=random)
        predicted, target = policy.training_pair(action, noise, torch.rand(128, generator=random), z)
        optimizer.zero_grad()
        (predicted - target).square().mean().backward()
        optimizer.step()
    return policy.eval()


@pytest.mark.slow
def test_both_of_two_ways_to_do_it_are_sampled_and_not_their_mean(fitted):
    noise = torch.randn(400, 2, 1, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        chunk = fitted.sample(torch.tensor([[1.0, 0.0]]).expand(400, 2), noise, 10)[..., 0]
    near = ((chunk.abs() - 1.0).abs() < 0.35).all(dim=1)
    together = chunk[:, 0].sign() == chunk[:, 1].sign()
    assert (near & together).float().mean() > 0.85
    assert 0.35 < (chunk[near & together, 0] > 0).float().mean() < 0.65


@pytest.mark.slow
def test_the_state_chooses_the_distribution(fitted):
    noise = torch.randn(100, 2, 1, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        chunk = fitted.sample(torch.tensor([[-1.0, 0.0]]).expand(100, 2), noise, 10)
    assert (chunk - 3.0).abs().mean() < 0.2
