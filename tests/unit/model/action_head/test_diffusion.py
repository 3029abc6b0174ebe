"""The diffusion head where the best denoiser is known in closed form."""

from __future__ import annotations

import builtins
import math

import pytest
import torch
from tests.unit.model.action_head.heads import random

from tempovla.model.action_head.diffusion_action_head import DiffusionActionHead
from tempovla.model.action_head.unet import ConditionalUnet1d

MEAN, STD = 0.7, 0.3
KINDS = ("epsilon", "sample", "v_prediction")


def kept(step: int, steps: int = 100) -> float:
    """The share of the actions' variance left after that step of the cosine schedule (Nichol and Dhariwal, 2021)."""

    def level(time: float) -> float:
        return math.cos((time + 0.008) / 1.008 * math.pi / 2) ** 2

    left = 1.0
    for index in range(step + 1):
        left *= 1.0 - min(1.0 - level((index + 1) / steps) / level(index / steps), 0.999)
    return left


def know_the_answer(head: DiffusionActionHead, std: float = STD) -> None:
    """Replace the network by the best one for actions from a normal of mean MEAN: linear in the noisy actions."""

    def best(x, time, condition):
        left = kept(round(float(time[0]) * head.diffusion_steps))
        variance = left * std**2 + 1.0 - left
        clean = MEAN + math.sqrt(left) * std**2 / variance * (x - math.sqrt(left) * MEAN)
        noise = (x - math.sqrt(left) * clean) / math.sqrt(1.0 - left)
        velocity = math.sqrt(left) * noise - math.sqrt(1.0 - left) * clean
        return {"epsilon": noise, "sample": clean, "v_prediction": velocity}[head.prediction_type]

    head.denoiser.forward = best


def build(kind: str = "sample", **options) -> DiffusionActionHead:
    torch.manual_seed(0)
    options = {"hidden_dim": 16, "num_layers": 2, "prediction_type": kind, **options}
    return DiffusionActionHead(8, 3, horizon=5, **options)


@pytest.mark.parametrize("kind", KINDS)
def test_many_ddim_steps_turn_noise_into_the_distribution(kind):
    """The exact flow maps a standard normal to N(MEAN, STD) by scaling and moving it."""
    head = build(kind, num_steps=100, clip_sample=None)
    know_the_answer(head)
    noise = random(8, 5, 3)
    torch.testing.assert_close(head.sample_from(random(8, 8), noise), MEAN + STD * noise, rtol=0, atol=0.03)


@pytest.mark.parametrize("kind", ["sample", "v_prediction"])
@pytest.mark.parametrize("steps", [1, 2, 10])
def test_the_only_action_there_is_comes_out_exactly(kind, steps):
    head = build(kind)
    know_the_answer(head, std=0.0)
    chunk = head.sample_from(random(4, 8), random(4, 5, 3), num_steps=steps)
    torch.testing.assert_close(chunk, torch.full((4, 5, 3), MEAN), rtol=0, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_the_network_is_asked_at_a_point_between_action_and_noise_for_what_it_learns(kind):
    head = build(kind, draws=3)
    seen = {}

    def spy(x, time, condition):
        seen.update(x=x, step=(time * 100).round().long())
        return torch.zeros_like(x)

    head.denoiser.forward = spy
    actions = random(4, 5, 3)
    valid = torch.ones(4, 5, dtype=torch.bool)
    target = head.loss_terms(random(4, 8), actions, valid, torch.arange(4))["action_loss"].target
    left = torch.tensor([kept(int(step)) for step in seen["step"]])[:, None, None]
    assert len(set(seen["step"].tolist())) > 6
    actions = actions.repeat_interleave(3, dim=0)
    noise = (seen["x"] - left.sqrt() * actions) / (1.0 - left).sqrt()
    velocity = left.sqrt() * noise - (1.0 - left).sqrt() * actions
    expected = {"epsilon": noise, "sample": actions, "v_prediction": velocity}[kind]
    torch.testing.assert_close(target, expected, rtol=1e-3, atol=1e-3)


def test_noise_and_steps_of_the_training_are_spread():
    head = build(draws=100)
    steps = []
    head.denoiser.forward = lambda x, time, condition: steps.append(time) or x
    term = head.loss_terms(random(20, 8), torch.zeros(20, 5, 3), torch.ones(20, 5, dtype=torch.bool), torch.arange(20))
    drawn = (steps[0] * 100).round().long()
    assert (int(drawn.min()), int(drawn.max())) == (0, 99)
    assert torch.bincount(drawn).float().std() < 8
    assert term["action_loss"].prediction.shape == (2000, 5, 3)


@pytest.mark.parametrize("kind", KINDS)
def test_guesses_of_the_actions_are_clipped(kind):
    head = build(kind, clip_sample=0.4)
    know_the_answer(head, std=0.0)
    assert head.sample_from(random(4, 8), random(4, 5, 3)).max() <= 0.4 + 1e-5


def test_predict_is_the_guides_call_and_keeps_no_gradient():
    head = DiffusionActionHead(8, 3, hidden_dim=16)
    assert (head.action_horizon, head.diffusion_steps) == (16, 100)
    chunk = head.predict(random(4, 8), num_steps=10)
    assert chunk.shape == (4, 16, 3)
    assert not chunk.requires_grad
    assert torch.equal(head.predict(random(4, 8), 10, torch.arange(4)), head.sample(random(4, 8), torch.arange(4)))


@pytest.mark.parametrize("steps", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("levels", [1, 2, 3])
def test_the_unet_takes_chunks_of_any_length(steps, levels):
    torch.manual_seed(0)
    unet = ConditionalUnet1d(8, 3, 16, levels)
    torch.nn.init.normal_(unet.out.weight)
    x, time, condition = random(2, steps, 3), torch.tensor([0.1, 0.6]), unet.condition(random(2, 1, 8), None)
    base = unet(x, time, condition)
    assert base.shape == (2, steps, 3)
    moved = x.clone()
    moved[:, 0] += 1.0
    assert ((unet(moved, time, condition) - base).abs().amax(dim=2) > 1e-4).all()
    assert not torch.allclose(unet(x, time + 0.2, condition), base)
    assert not torch.allclose(unet(x, time, condition + 1.0), base)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="num_steps=30 must divide diffusion_steps=100"):
        build(num_steps=30)
    with pytest.raises(ValueError, match="num_steps=0 must be at least 1"):
        build(num_steps=0)
    with pytest.raises(ValueError, match="num_steps=1 needs prediction_type='sample' or 'v_prediction'"):
        build("epsilon").predict(random(4, 8), num_steps=1)
    with pytest.raises(ValueError, match="prediction_type='x0' is unknown; choose from epsilon, sample, v_prediction"):
        build("x0")
    with pytest.raises(ValueError, match="denoiser='mlp' is unknown; choose from unet, transformer"):
        build(denoiser="mlp")
    with pytest.raises(ValueError, match="hidden_dim=16 is not divisible by num_heads=3"):
        build(denoiser="transformer", num_heads=3)


def test_without_diffusers_the_message_says_what_to_install(monkeypatch):
    real = builtins.__import__

    def absent(name, *args, **options):
        if name == "diffusers":
            raise ModuleNotFoundError("No module named 'diffusers'", name="diffusers")
        return real(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(ValueError, match=r"needs 'diffusers'; install it with: pip install .*\[diffusion\]"):
        build()
