"""SmolVLA as a policy: what it reads, what learns, what acting costs, adapters, saving."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from tests.contract.samples import random_sample
from tests.smolvla_tiny import FRONT, SHAPES, WRIST, act, save_smolvlm, tiny_config, tiny_policy
from torch import Tensor

from tempovla.model.vla.smolvla_config import SmolVLAConfig
from tempovla.model.vla.smolvla_wrapper import SmolVLAWrapper, draw_flow_time
from tempovla.model.vlm.smolvlm_config import SmolVLMBackboneConfig
from tempovla.objective import Objective
from tempovla.timeline import TimelineSample, Track
from tempovla.timeline.keys import ACTION_KEY, STATE_KEY, TOKENS_KEY, dims_key
from tempovla.timeline.noise import row_uniform


def sample_for(policy: SmolVLAWrapper, seed: int = 0) -> TimelineSample:
    return random_sample(policy.windows(), SHAPES, seed=seed)


def loss(policy: SmolVLAWrapper, sample: TimelineSample) -> Tensor:
    return Objective()(policy(sample)).total


def gradients(policy: SmolVLAWrapper, sample: TimelineSample) -> dict[str, Tensor]:
    policy.zero_grad()
    loss(policy, sample).backward()
    return {name: weight.grad.clone() for name, weight in policy.named_parameters() if weight.grad is not None}


def learn(policy: SmolVLAWrapper, steps: int = 2) -> set[str]:
    """Names of the weights that change."""
    before = {name: value.clone() for name, value in policy.state_dict().items()}
    weights = [weight for weight in policy.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=0.05)
    policy.train()
    for step in range(steps):
        optimizer.zero_grad()
        loss(policy, sample_for(policy, seed=step)).backward()
        assert all(weight.grad is not None for weight in weights)  # nothing that learns is without influence
        optimizer.step()
    policy.eval()
    return {name for name, value in policy.state_dict().items() if not torch.equal(value, before[name])}


def test_windows_name_what_it_reads():
    assert [window.key for window in tiny_policy().windows()] == [STATE_KEY, FRONT, WRIST, ACTION_KEY]
    assert [window.key for window in tiny_policy(robot_state_dim=None).windows()] == [FRONT, WRIST, ACTION_KEY]
    assert tiny_policy().windows()[-1].offsets == tuple(range(5))


@pytest.mark.parametrize("key", [STATE_KEY, FRONT, WRIST, TOKENS_KEY])
def test_everything_that_it_reads_reaches_the_actions(key):
    policy = tiny_policy(has_gripper=False)
    sample, other = sample_for(policy), sample_for(policy, seed=1)
    context = replace(sample.context, now={**sample.context.now, key: other.context.now[key]})
    change = act(policy, sample) - act(policy, replace(sample, context=context))
    assert change.abs().amax(dim=(1, 2)).min() > 1e-4


def test_a_gripper_is_open_or_closed_and_noise_follows_from_the_seed():
    policy = tiny_policy()
    sample = sample_for(policy)
    first, again, other = act(policy, sample), act(policy, sample), act(policy, sample, seed=1)
    assert first.shape == (4, 5, 4)
    assert set(first[..., -1].unique().tolist()) <= {-1.0, 1.0}
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@torch.no_grad()
def test_dimensions_beyond_the_bodys_own_go_to_zero_and_are_not_trained_on():
    policy = tiny_policy()
    sample = sample_for(policy)
    memory = policy.remember(policy.features(sample.context))
    actions = policy.sample_from(memory, torch.randn(4, 5, 6))
    torch.testing.assert_close(actions[..., 4:], torch.zeros(4, 5, 2), atol=1e-6, rtol=0)
    term = policy(sample)["action_loss"]
    assert term.prediction.shape == term.target.shape == term.valid.shape == (4, 5, 4)


@torch.no_grad()
def test_dimensions_that_a_body_lacks_are_not_trained_on_and_change_nothing():
    policy = tiny_policy(has_gripper=False)
    sample = sample_for(policy)
    own = torch.ones(4, 1, 4, dtype=torch.bool)
    own[0, :, 2] = False
    now = {**sample.context.now, dims_key(ACTION_KEY): Track.of(own, (0,))}
    context, action = replace(sample.context, now=now), sample.future[ACTION_KEY]

    def terms(filling: float) -> dict:
        value = action.value.clone()
        value[0, :, 2] = filling
        return policy(replace(sample, context=context, future={ACTION_KEY: Track.of(value, action.offset)}))

    first, second = terms(0.0), terms(float("nan"))
    assert torch.equal(first["action_loss"].valid, own.expand(-1, 5, -1))
    assert torch.equal(first["action_loss"].prediction, second["action_loss"].prediction)
    given = act(policy, replace(sample, context=context))
    torch.testing.assert_close(given[0, :, 2], torch.zeros(5), atol=1e-6, rtol=0)
    assert given[1, :, 2].abs().min() > 0


def test_several_draws_are_several_points_of_the_way():
    policy = tiny_policy(draws=3)
    term = policy(sample_for(policy))["action_loss"]
    assert term.prediction.shape == term.valid.shape == (12, 5, 4)
    rows = term.target.unflatten(0, (4, 3))
    assert (rows[:, 0] - rows[:, 1]).abs().min() > 0


def test_flow_times_follow_a_beta_distribution():
    times = draw_flow_time(row_uniform(torch.arange(20_000)), 1.5)
    assert 0.001 <= times.min() < 0.01
    assert times.max() <= 1.0
    assert times.mean().item() == pytest.approx(0.001 + 0.999 * 1.5 / 2.5, abs=5e-3)
    assert (times < 0.5).float().mean().item() == pytest.approx(0.5**1.5, abs=1e-2)


def test_pictures_and_words_are_read_once_a_chunk():
    policy = tiny_policy(num_steps=7)
    calls: dict[str, int] = {"vision": 0, "language": 0, "expert": 0}
    parts = {
        "vision": policy.vlm.vision_model.post_layernorm,
        "language": policy.vlm.text_model.layers[0].mlp,
        "expert": policy.expert.norm,
    }
    for name, part in parts.items():
        part.register_forward_pre_hook(lambda *_, name=name: calls.update({name: calls[name] + 1}))
    act(policy, sample_for(policy))
    assert calls == {"vision": 1, "language": 2, "expert": 7}  # the state is read behind the rest


def test_what_learns_is_what_the_config_says():
    changed = learn(tiny_policy(train_expert_only=True))
    assert {name.split(".")[0] for name in changed} == {"expert", "state_proj"}
    changed = learn(tiny_policy(train_expert_only=True, train_state_proj=False))
    assert {name.split(".")[0] for name in changed} == {"expert"}
    changed = learn(tiny_policy(freeze_vision_encoder=True))
    assert not [name for name in changed if name.startswith("vlm.vision_model")]
    assert [name for name in changed if name.startswith("vlm.connector")]
    changed = learn(tiny_policy(cloning_weight=1.0))
    assert [name for name in changed if name.startswith("vlm.vision_model")]
    assert [name for name in changed if name.startswith("vlm.text_model.layers.1.mlp")]


def test_what_is_pretrained_is_frozen_unless_asked_otherwise(tmp_path):
    name = save_smolvlm(tmp_path / "smolvlm")
    fields = {"cameras": (FRONT,), "chunk_size": 5, "action_dim": 4}
    policy = SmolVLAWrapper(SmolVLAConfig(SmolVLMBackboneConfig(name, num_layers=2), **fields)).train()
    assert policy.config.train_expert_only
    assert not any(weight.requires_grad for weight in policy.vlm.parameters())
    assert not policy.vlm.vision_model.training
    assert policy.vlm.config.dtype == "bfloat16"
    again = SmolVLAWrapper(policy.config)  # as from a checkpoint: reads nothing, and is frozen still
    assert again.config == policy.config
    assert not any(weight.requires_grad for weight in again.vlm.parameters())
    free = SmolVLAWrapper(
        SmolVLAConfig(SmolVLMBackboneConfig(name, num_layers=2), train_expert_only=False, **fields)
    ).train()
    assert not any(weight.requires_grad for weight in free.vlm.vision_model.parameters())
    assert all(weight.requires_grad for weight in free.vlm.text_model.parameters())
    assert free.vlm.text_model.training
    assert not free.vlm.vision_model.training


def test_a_frozen_model_keeps_no_activations_of_pictures_and_words():
    policy = tiny_policy(train_expert_only=True).train()
    features = policy.features(sample_for(policy).context)
    memory = policy.remember(features)
    assert features.hidden[:, -1].requires_grad  # the state's
    assert not policy.vlm.embed_words(torch.zeros(1, 1, dtype=torch.long), torch.ones(1, 1).bool()).requires_grad
    assert memory.layers[1][0].requires_grad


@pytest.mark.parametrize("options", [{}, {"cloning_weight": 1.0, "draws": 2}, {"train_expert_only": True}])
def test_gradient_checkpointing_gives_identical_gradients(options):
    policy, other = tiny_policy(**options).train(), tiny_policy(**options).train()
    other.enable_gradient_checkpointing()
    sample = sample_for(policy)
    plain, checkpointed = gradients(policy, sample), gradients(other, sample)
    assert plain.keys() == checkpointed.keys()
    assert [name for name in plain if not torch.equal(plain[name], checkpointed[name])] == []


@pytest.mark.parametrize("options", [{}, {"train_expert_only": True}], ids=["trained", "frozen"])
def test_of_the_language_model_lora_alone_learns_and_merges_to_the_same_actions(options, tmp_path):
    pytest.importorskip("peft")
    policy = tiny_policy(**options, has_gripper=False)
    names, sample = set(policy.state_dict()), sample_for(policy)
    before = act(policy, sample)
    policy.enable_lora(r=2, alpha=4.0)
    assert torch.equal(act(policy, sample), before)
    changed = learn(policy)
    language = {name for name in changed if name.startswith("vlm.text_model.")}
    assert len(language) == 2 * (7 + 2)  # of the last layer, keys and values are all that there is
    assert all("lora_" in name for name in language)
    after = act(policy, sample)
    policy.save_pretrained(tmp_path / "adapted")
    assert torch.equal(act(SmolVLAWrapper.from_pretrained(tmp_path / "adapted"), sample), after)
    policy.merge_lora()
    assert set(policy.state_dict()) == names
    torch.testing.assert_close(act(policy, sample), after, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("options", [{}, {"cloning_weight": 1.0}])
def test_a_saved_policy_reloads(tmp_path, options):
    policy = tiny_policy(**options)
    policy.save_pretrained(tmp_path / "saved")
    again = SmolVLAWrapper.from_pretrained(tmp_path / "saved")
    assert json.loads((tmp_path / "saved" / "config.json").read_text())["chunk_size"] == 5
    assert again.config == policy.config
    assert not again.training
    sample = sample_for(policy)
    assert torch.equal(act(again, sample), act(policy, sample))
    other = SmolVLAWrapper.from_pretrained(tmp_path / "saved", num_steps=1, has_gripper=False)
    assert (other.config.num_steps, other.config.has_gripper) == (1, False)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"action_dim": 7}, "model.action_dim=7 is more than model.max_action_dim=6; raise that"),
        ({"robot_state_dim": 9}, "model.robot_state_dim=9 is more than model.max_state_dim=6; raise that"),
        ({"chunk_size": 0}, "model.chunk_size=0 must be at least 1"),
        ({"flow_time_alpha": 0.0}, "model.flow_time_alpha=0.0 must be greater than 0"),
        ({"cloning_weight": -1.0}, "model.cloning_weight=-1.0 must not be negative"),
        ({"cameras": (FRONT, FRONT)}, "must name at least one camera, and none twice"),
    ],
)
def test_configs_that_do_not_fit_are_named(fields, message):
    with pytest.raises(ValueError, match=message):
        tiny_config(**fields)


def test_nobody_teaches_what_is_frozen():
    with pytest.raises(ValueError, match=r"cloning_weight=1.0 teaches the vision-language model, which is frozen; set"):
        tiny_policy(train_expert_only=True, cloning_weight=1.0)


def test_actions_of_another_size_are_named():
    policy = tiny_policy()
    sample = random_sample(policy.windows(), {**SHAPES, ACTION_KEY: (3,)})
    with pytest.raises(ValueError, match=r"SmolVLA: actions \(4, 5, 3\) .* must be \(B, 5, 4\)"):
        policy(sample)
