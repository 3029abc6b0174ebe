"""VLAModel: features, what is left out, gradient checkpointing, LoRA and saving."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from tests.contract.policy_cases import WRIST, seeded
from tests.contract.registry import METAWORLD, POLICIES
from tests.contract.samples import random_sample
from tests.contract.toys import ACTION, FRONT, STATE
from tests.tiny import tiny_vla_config
from torch import Tensor

from tempovla.model.action_head.registry import ACTION_HEAD_REGISTRY
from tempovla.model.vla.vla_config import VLAConfig
from tempovla.model.vla.vla_model import VLAModel
from tempovla.model.vlm.vlm_model import VLMConfig
from tempovla.objective import Objective
from tempovla.timeline import TimelineSample, Track
from tempovla.timeline.config import config_to_json
from tempovla.timeline.keys import ENCODING_KEY, TOKENS_KEY
from tempovla.transform.tokenize import TokenizeInstruction
from tempovla.transform.tokenizer import WordTokenizer

SHAPES = POLICIES["vla-mlp"].shapes


def build(head: str = "flow_matching", **options) -> VLAModel:
    return seeded(lambda: VLAModel(tiny_vla_config(head, **options)))


def sample_for(policy: VLAModel, seed: int = 0) -> TimelineSample:
    return random_sample(policy.windows(), SHAPES, seed=seed)


def loss(policy: VLAModel, sample: TimelineSample) -> Tensor:
    return Objective()(policy(sample)).total


def gradients(policy: VLAModel, sample: TimelineSample) -> dict[str, Tensor]:
    policy.zero_grad()
    loss(policy, sample).backward()
    return {name: weight.grad.clone() for name, weight in policy.named_parameters() if weight.grad is not None}


@torch.no_grad()
def act(policy: VLAModel, sample: TimelineSample, seed: int = 0) -> Tensor:
    state = policy.with_seeds(policy.initial_state(sample.batch_size), torch.full((sample.batch_size,), seed))
    return policy.act(sample.context, state)[0].value


@pytest.mark.parametrize(
    ("options", "tokens", "width"),
    [
        ({}, 2, 16),
        ({"readout": "last"}, 1, 16),
        ({"readout": "all_tokens"}, 2 * 4 + 1 + 6, 16),
        (METAWORLD, 1, 8),
        ({"token_dim": 4, "feature_dim": 12}, 1, 12),
    ],
)
def test_the_head_gets_what_the_read_out_says(options, tokens, width):
    policy = build(**options).eval()
    sample = sample_for(policy)
    value, valid = policy.encode(sample.context)
    assert value.shape == (4, tokens, width)
    assert valid.shape == (4, tokens)
    assert policy.hidden_dim == policy.action_head.input_dim == width
    assert policy.get_features(sample.context).shape == (4, width)


def test_windows_name_what_it_reads():
    assert [window.key for window in build().windows()] == [STATE, FRONT, WRIST, ACTION]
    assert [window.key for window in build(robot_state_dim=None).windows()] == [FRONT, WRIST, ACTION]


@pytest.mark.parametrize("key", [STATE, FRONT, WRIST, TOKENS_KEY])
def test_everything_that_it_reads_reaches_the_features(key):
    policy = build(**METAWORLD).eval()
    sample, other = sample_for(policy), sample_for(policy, seed=1)
    context = replace(sample.context, now={**sample.context.now, key: other.context.now[key]})
    before, after = policy.get_features(sample.context), policy.get_features(context)
    assert (before - after).abs().amax(dim=1).min() > 1e-5


@pytest.mark.parametrize("options", [{}, METAWORLD], ids=["queries", "metaworld"])
def test_features_of_pictures_words_and_state_are_those_of_a_context(options):
    policy = build(**options).eval()
    tokenizer = WordTokenizer(policy.vlm.language.vocab_size)
    sample = sample_for(policy)
    sentences = ["open the drawer", "push", "close it", "pick up the can now"]
    now = {key: replace(track, valid=torch.ones_like(track.valid)) for key, track in sample.context.now.items()}
    context, _ = TokenizeInstruction(tokenizer, 6).forward(
        replace(sample.context, now=now, task=tuple(replace(sample.context.task[0], instruction=s) for s in sentences)),
        {},
    )
    pictures = torch.stack([now[key].value[:, 0] for key in policy.config.cameras], dim=1)
    state, ids = now[STATE].value[:, 0], context.now[TOKENS_KEY].value[:, 0]
    policy.vlm.language.tokenizer = tokenizer
    expected = policy.get_features(context)
    assert torch.equal(policy.get_features(pictures, sentences, state), expected)
    assert torch.equal(policy.get_features(pictures, ids, state), expected)
    torch.testing.assert_close(policy.get_features(pictures, ids[:, :5], state), expected)
    assert torch.equal(policy.get_features(pictures[:1], "open the drawer", state[:1]).argmax(), expected[0].argmax())


def test_features_without_what_the_policy_reads_are_refused():
    policy, pictures, ids = build(), torch.zeros(2, 2, 3, 16, 16), torch.ones(2, 4, dtype=torch.int64)
    with pytest.raises(ValueError, match="get_features: this policy reads the robot's state; give state"):
        policy.get_features(pictures, ids)
    with pytest.raises(ValueError, match="get_features: this policy reads no state; leave out state"):
        build(robot_state_dim=None).get_features(pictures, ids, torch.zeros(2, 3))
    with pytest.raises(ValueError, match="get_features: text is missing; give an instruction for each picture"):
        policy.get_features(pictures, state=torch.zeros(2, 3))


@pytest.mark.parametrize("head", ACTION_HEAD_REGISTRY)
def test_a_call_of_the_policys_head_on_features_returns_a_chunk(head):
    policy = build(head)
    features = policy.get_features(sample_for(policy).context)
    chunk = policy.action_head(features)
    assert chunk.shape == (4, 5, 4)
    assert chunk.requires_grad


def test_all_cameras_are_encoded_in_one_call(monkeypatch):
    policy = build().eval()
    calls = []
    encoder = policy.vlm.vision.encoder
    forward = encoder.forward
    monkeypatch.setattr(encoder, "forward", lambda pixels: calls.append(len(pixels)) or forward(pixels))
    policy.get_features(sample_for(policy).context)
    assert calls == [2 * 4]


def test_a_gripper_is_open_or_closed_and_noise_follows_from_the_seed():
    policy = build().eval()
    sample = sample_for(policy)
    first, again, other = act(policy, sample), act(policy, sample), act(policy, sample, seed=1)
    assert set(first[..., -1].unique().tolist()) <= {-1.0, 1.0}
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    continuous = act(build(has_gripper=False).eval(), sample)
    assert len(continuous[..., -1].unique()) > 2


def test_a_policy_by_the_names_of_its_parts():
    vlm = tiny_vla_config("mlp").vlm
    policy = VLAModel(
        vision_model_name="patch",
        llm_model_name="mine",
        projector="perceiver",
        action_head="flow_matching",
        action_dim=4,
        cameras=(FRONT,),
        vlm=vlm,
    )
    config = policy.config
    assert (config.vlm.vision.model_name, config.vlm.language.model_name) == ("patch", "mine")
    assert (config.vlm.projector, config.vlm.num_cameras, config.action_dim) == ("perceiver", 1, 4)


def test_options_of_other_heads_wait():
    options = {"flow_matching": {"num_layers": 1, "hidden_dim": 8, "num_steps": 3}, "mlp": {"hidden_dim": 5}}
    assert build("flow_matching", action_head_options=options).action_head.num_steps == 3
    build("mlp", action_head_options=options)
    with pytest.raises(ValueError, match=r"action_head_options.flow: no such action head; choose from \["):
        build("mlp", action_head_options={"flow": {}})


@pytest.mark.parametrize("options", [{}, METAWORLD], ids=["queries", "metaworld"])
def test_gradient_checkpointing_gives_identical_gradients(options):
    policy, other = build(**options).train(), build(**options).train()
    other.enable_gradient_checkpointing()
    sample = sample_for(policy)
    plain, checkpointed = gradients(policy, sample), gradients(other, sample)
    assert plain.keys() == checkpointed.keys()
    assert [name for name in plain if not torch.equal(plain[name], checkpointed[name])] == []


def test_gradient_checkpointing_runs_the_layers_again_in_the_backward_pass():
    policy = build().train()
    policy.enable_gradient_checkpointing()
    calls = []
    policy.vlm.language.decoder.layers[0].mlp.register_forward_pre_hook(lambda *_: calls.append(1))
    gradients(policy, sample_for(policy))
    assert len(calls) == 2


def test_lora_changes_nothing_until_it_learns():
    pytest.importorskip("peft")
    policy = build().eval()
    sample = sample_for(policy)
    before = act(policy, sample)
    policy.enable_lora(r=2, alpha=4.0)
    assert torch.equal(act(policy, sample), before)


def learn(policy: VLAModel, steps: int = 3) -> None:
    optimizer = torch.optim.AdamW([weight for weight in policy.parameters() if weight.requires_grad], lr=0.05)
    policy.train()
    for step in range(steps):
        optimizer.zero_grad()
        loss(policy, sample_for(policy, seed=step)).backward()
        optimizer.step()
    policy.eval()


def test_of_the_language_model_lora_alone_learns_and_the_rest_learns_on():
    pytest.importorskip("peft")
    policy = build()
    policy.enable_lora(r=2, alpha=4.0)
    before = {name: value.clone() for name, value in policy.state_dict().items()}
    learn(policy)
    changed = {name for name, value in policy.state_dict().items() if not torch.equal(value, before[name])}
    language = {name for name in before if name.startswith("vlm.language.")}
    adapters = {name for name in language if "lora_" in name}
    assert len(adapters) == 2 * 2 * 7  # A and B of seven linear layers in each of two blocks
    assert changed & language == adapters
    for part in ("vlm.projector.", "vlm.vision.", "robot_state.", "action_head."):
        assert any(name.startswith(part) for name in changed), part


def test_lora_of_some_layers():
    pytest.importorskip("peft")
    policy = build()
    policy.enable_lora(r=2, alpha=4.0, target_modules=("q_proj", "v_proj"))
    adapted = {name.split(".lora_")[0].rsplit(".", 1)[-1] for name, _ in policy.named_parameters() if "lora_" in name}
    assert adapted == {"q_proj", "v_proj"}


def test_lora_merges_to_the_same_outputs(tmp_path):
    pytest.importorskip("peft")
    policy = build(**METAWORLD)
    names = set(policy.state_dict())
    policy.enable_lora(r=2, alpha=4.0)
    learn(policy)
    sample = sample_for(policy)
    before = act(policy, sample)
    policy.merge_lora()
    assert set(policy.state_dict()) == names
    assert policy.config.lora is None
    torch.testing.assert_close(act(policy, sample), before, atol=1e-5, rtol=1e-5)
    policy.save_pretrained(tmp_path / "merged")
    torch.testing.assert_close(act(VLAModel.from_pretrained(tmp_path / "merged"), sample), before, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("lora", [False, True])
def test_a_saved_policy_reloads(tmp_path, lora):
    policy = build(**METAWORLD)
    if lora:
        pytest.importorskip("peft")
        policy.enable_lora(r=2, alpha=4.0, target_modules=("q_proj",))
        learn(policy)
    policy.eval()
    policy.save_pretrained(tmp_path / "saved")
    again = VLAModel.from_pretrained(tmp_path / "saved")
    assert json.loads((tmp_path / "saved" / "config.json").read_text())["action_head"] == "flow_matching"
    assert again.config == policy.config
    assert not again.training
    sample = sample_for(policy)
    assert torch.equal(act(again, sample), act(policy, sample))


def test_a_vision_language_model_is_taken_over_and_the_rest_is_not(tmp_path):
    first, second = build("flow_matching", readout="last"), seeded_otherwise()
    first.save_pretrained(tmp_path / "first")
    before = {name: value.clone() for name, value in second.state_dict().items()}
    second.load_vlm(tmp_path / "first")
    taken = {name for name, value in second.state_dict().items() if torch.equal(value, before[name])}
    source = first.state_dict()
    for name, value in second.state_dict().items():
        if name.startswith(("vlm.vision.", "vlm.projector.", "vlm.language.")):
            assert torch.equal(value, source[name]), name
    assert {name for name in before if name.startswith(("action_head.", "vlm.queries", "robot_state."))} <= taken


def seeded_otherwise() -> VLAModel:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return VLAModel(tiny_vla_config("mlp"))


def test_mistakes_are_named_in_one_line(tmp_path):
    pytest.importorskip("peft")
    policy = build()
    with pytest.raises(ValueError, match=r"lora.target_modules=\['qproj'\] name no layer; choose from \['down_proj"):
        policy.enable_lora(target_modules=("qproj",))
    policy.enable_lora(r=2)
    with pytest.raises(ValueError, match="has LoRA already; merge_lora"):
        policy.enable_lora(r=2)
    with pytest.raises(ValueError, match=r"lora.r=0 must be at least 1"):
        build().enable_lora(r=0)
    with pytest.raises(ValueError, match=r"config.json: no such file; give a folder that save_pretrained wrote"):
        VLAModel.from_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"holds no model.safetensors or weights.safetensors; give a saved model"):
        policy.load_vlm(tmp_path)
    small = build("mlp")
    small.save_pretrained(tmp_path / "small")
    (tmp_path / "small" / "config.json").write_text(json.dumps(config_to_json(replace(small.config, action_horizon=7))))
    with pytest.raises(ValueError, match=r"weight 'action_head.* give a checkpoint of this config"):
        VLAModel.from_pretrained(tmp_path / "small")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"action_horizon": 0}, "model.action_horizon=0 must be at least 1"),
        ({"token_dim": 0}, "model.token_dim=0 must be at least 1"),
        ({"cameras": ()}, r"model.cameras=\[\] must name at least one camera"),
        ({"cloning_weight": -1.0}, "model.cloning_weight=-1.0 must not be negative"),
    ],
)
def test_impossible_configs_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        VLAConfig(VLMConfig(), **options)


def without(sample: TimelineSample, camera: str, row: int) -> TimelineSample:
    """The sample with no picture of one camera in one row."""
    track = sample.context.now[camera]
    valid = track.valid.clone()
    valid[row] = False
    return replace(
        sample, context=replace(sample.context, now={**sample.context.now, camera: replace(track, valid=valid)})
    )


def test_features_are_valid_where_all_is_there_that_must_be():
    policy, strict = build(**METAWORLD, optional_cameras=(WRIST,)), build(**METAWORLD)
    sample = sample_for(policy)
    everywhere = policy.encode_features(sample.context)[1]
    for camera, needed in ((FRONT, True), (WRIST, False)):
        row = int(everywhere.nonzero()[0])
        gone = without(sample, camera, row).context
        assert bool(policy.encode_features(gone)[1][row]) is not needed
        assert not strict.encode_features(gone)[1][row]


def test_encodings_take_the_place_of_pictures_state_and_words():
    policy = build(**METAWORLD)
    sample = sample_for(policy)
    z, valid = policy.encode_features(sample.context)
    assert z.shape == (4, policy.feature_dim)
    z = torch.where(valid[:, None], z.detach(), torch.nan)
    encoded = replace(sample.context, now={ENCODING_KEY: Track.of(z[:, None], (0,), valid[:, None])})
    from_encodings = replace(sample, context=encoded)
    torch.testing.assert_close(loss(policy, from_encodings), loss(policy, sample))
    torch.testing.assert_close(act(policy, from_encodings)[valid], act(policy, sample)[valid])
    policy.zero_grad()
    loss(policy, from_encodings).backward()
    learned = {name.split(".")[0] for name, weight in policy.named_parameters() if weight.grad is not None}
    assert learned == {"action_head", "behavior_cloning"}
    assert all(weight.grad.isfinite().all() for weight in policy.action_head.parameters() if weight.grad is not None)


def test_the_parts_of_the_encoder_are_all_but_the_heads():
    policy = build(**METAWORLD)
    names = {name for name, _ in policy.named_children()}
    assert names - set(policy.encoder_parts()) == {"action_head", "behavior_cloning"}
    with pytest.raises(ValueError, match="token_dim=null gives the action head 2 tokens"):
        build().encode_features(sample_for(build()).context)
