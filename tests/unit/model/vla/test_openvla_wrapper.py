"""OpenVLA's layout, training terms, greedy decoding and adapters: full sizes without weights, and tiny ones."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.contract.samples import random_sample
from tests.metric_values import metric
from tests.openvla_tiny import BOS, FRONT, STATISTICS, save_tokenizer, tiny_config, tiny_policy
from torch.nn import functional as F

from tempovla.model.vla.openvla_config import OpenVLAConfig, openvla_prompt
from tempovla.model.vla.openvla_statistics import ActionStatistics
from tempovla.model.vla.openvla_wrapper import OpenVLAWrapper
from tempovla.model.vla.registry import load_policy
from tempovla.objective import Objective
from tempovla.timeline import Bundle, TimelineSample, Track
from tempovla.timeline.config import config_from_json, config_to_json
from tempovla.timeline.keys import TOKENS_KEY
from tempovla.transform.normalize import NormalizationConfig, Normalize
from tempovla.transform.tokenizer import TransformersTokenizer

EMPTY = 7
PUBLISHED = {
    "vision_backbone.featurizer.cls_token": (1, 1, 1024),
    "vision_backbone.featurizer.reg_token": (1, 4, 1024),
    "vision_backbone.featurizer.pos_embed": (1, 256, 1024),
    "vision_backbone.featurizer.patch_embed.proj.weight": (1024, 3, 14, 14),
    "vision_backbone.featurizer.blocks.23.ls1.scale_factor": (1024,),
    "vision_backbone.featurizer.blocks.0.attn.qkv.weight": (3072, 1024),
    "vision_backbone.featurizer.blocks.0.mlp.fc1.weight": (4096, 1024),
    "vision_backbone.featurizer.norm.weight": (1024,),
    "vision_backbone.fused_featurizer.pos_embed": (1, 256, 1152),
    "vision_backbone.fused_featurizer.blocks.26.attn.proj.weight": (1152, 1152),
    "vision_backbone.fused_featurizer.blocks.0.mlp.fc2.weight": (1152, 4304),
    "vision_backbone.fused_featurizer.attn_pool.latent": (1, 1, 1152),
    "vision_backbone.fused_featurizer.attn_pool.kv.weight": (2304, 1152),
    "projector.fc1.weight": (8704, 2176),
    "projector.fc2.weight": (4096, 8704),
    "projector.fc3.weight": (4096, 4096),
    "language_model.model.embed_tokens.weight": (32064, 4096),
    "language_model.model.layers.31.self_attn.k_proj.weight": (4096, 4096),
    "language_model.model.layers.0.mlp.down_proj.weight": (4096, 11008),
    "language_model.model.norm.weight": (4096,),
    "language_model.lm_head.weight": (32064, 4096),
}


def observation(prompts: list[list[int]], seed: int = 0) -> TimelineSample:
    """Rows with these prompts, pictures and actions of their own."""
    policy = tiny_policy()
    sample = random_sample(policy.windows(), {FRONT: (3, 28, 28), "action": (3,)}, rows=len(prompts), seed=seed)
    length = max(len(prompt) for prompt in prompts)
    ids = torch.tensor([prompt + [-1] * (length - len(prompt)) for prompt in prompts])[:, None]
    now = {**sample.context.now, TOKENS_KEY: Track.of(ids, (0,))}
    return replace(sample, context=replace(sample.context, now=now))


def act(policy: OpenVLAWrapper, sample: TimelineSample) -> torch.Tensor:
    chunk, state = policy.act(sample.context, policy.initial_state(sample.batch_size))
    assert state is None
    assert chunk.offset.tolist() == [0]
    return chunk.value[:, 0]


@pytest.mark.slow
def test_the_full_model_has_the_published_names_shapes_and_number_of_weights():
    with torch.device("meta"):
        weights = OpenVLAWrapper(OpenVLAConfig()).vlm.state_dict()
    shapes = {name: tuple(weight.shape) for name, weight in weights.items()}
    assert {name: shapes.get(name) for name in PUBLISHED} == PUBLISHED
    assert len(shapes) == 982
    assert sum(weight.numel() for weight in weights.values()) == 7_541_237_184


def test_the_loss_is_the_cross_entropy_of_the_actions_words_and_learning_lowers_it():
    policy, sample = tiny_policy(), observation([[BOS, 3, 4], [BOS, 5, 6]])
    terms = policy.forward(sample)
    expected_target = policy.action_tokens.encode(sample.future["action"].value[:, 0])
    assert torch.equal(terms["action_loss"].target, expected_target)
    assert terms["action_loss"].prediction.shape == (2, 3, 64)
    before = Objective()(terms)
    expected = F.cross_entropy(terms["action_loss"].prediction.flatten(0, 1), expected_target.flatten())
    assert before.total.item() == pytest.approx(expected.item(), rel=1e-5)
    optimizer = torch.optim.Adam([w for w in policy.parameters() if w.requires_grad], lr=3e-3)
    for _ in range(40):
        optimizer.zero_grad()
        Objective()(policy.forward(sample)).total.backward()
        optimizer.step()
    after = Objective()(policy.forward(sample))
    assert after.total < 0.05 < before.total
    wanted = sample.future["action"].value[:, 0].clamp(-1, 1)
    assert (act(policy, sample) - wanted).abs().max() <= policy.action_tokens.bin_width / 2 + 1e-6


def test_each_word_is_predicted_from_those_before_it_alone():
    policy, sample = tiny_policy(), observation([[BOS, 3, 4]])
    other = sample.future["action"].value.clone()
    other[..., 1] = -other[..., 1].sign()
    changed = replace(sample, future={"action": sample.future["action"].with_value(other)})
    first, second = (policy.forward(x)["action_loss"].prediction[0] for x in (sample, changed))
    assert torch.equal(first[:2], second[:2])
    assert not torch.allclose(first[2], second[2])


def test_decoding_with_a_cache_gives_the_words_that_are_likeliest_without_one():
    policy, sample = tiny_policy(), observation([[BOS, 3, 4, 5], [BOS, 9]])
    actions = act(policy, sample)
    forced = replace(sample, future={"action": Track.of(actions[:, None], (0,))})
    terms = policy.forward(forced)
    # With what was decided as what is wanted, the likeliest word at every place is the one that was decided.
    assert torch.equal(terms["action_l1"].prediction, actions)
    assert metric(Objective()(terms), "action_l1") == 0.0


def test_actions_depend_on_the_picture_and_on_the_words():
    policy = tiny_policy()
    seeds = torch.stack([act(policy, observation([[BOS, 3, 4]], seed=seed))[0] for seed in range(8)])
    words = torch.stack([act(policy, observation([[BOS, word, 4]]))[0] for word in range(8, 16)])
    assert len(seeds.unique(dim=0)) > 1
    assert len(words.unique(dim=0)) > 1


def test_short_prompts_beside_long_ones_act_as_alone():
    policy = tiny_policy()
    prompts = [[BOS, 3], [BOS, 8, 9, 10, 11, 12]]
    sample = observation(prompts)
    with torch.no_grad():
        together = policy.forward(sample)["action_loss"].prediction
        for row, prompt in enumerate(prompts):
            ids = Track.of(torch.tensor([[prompt]]), (0,))
            alone = replace(sample.rows([row]), context=replace(sample.rows([row]).context))
            alone = replace(alone, context=replace(alone.context, now={**alone.context.now, TOKENS_KEY: ids}))
            assert torch.allclose(policy.forward(alone)["action_loss"].prediction[0], together[row], atol=1e-5)


@pytest.mark.parametrize("prompt", [[BOS, 3, 4, EMPTY], [3, 4], [3, 4, EMPTY]])
def test_the_first_word_and_the_empty_one_are_there_once_whether_given_or_not(prompt):
    policy = tiny_policy()
    with torch.no_grad():
        expected = policy.forward(observation([[BOS, 3, 4]]))["action_loss"].prediction
        given = policy.forward(observation([prompt]))["action_loss"].prediction
    assert torch.allclose(given, expected, atol=1e-5)


def test_the_picture_stands_after_the_first_word_and_the_empty_word_before_the_actions():
    policy, seen = tiny_policy(), []
    policy.vlm.language_model.model.register_forward_pre_hook(
        lambda module, args, options: seen.append(options["inputs_embeds"]), with_kwargs=True
    )
    images = torch.rand(1, 3, 28, 28, generator=torch.Generator().manual_seed(0))
    policy.predict_action(images, torch.tensor([[BOS, 3, 4]]), "bridge")
    words = policy.vlm.embed_words(torch.tensor([[BOS, 3, 4, EMPTY]]))
    picture = policy.vlm.projector(policy.vlm.vision_backbone(images))
    expected = torch.cat([words[:, :1], picture, words[:, 1:3], words[:, 1:2] * 0, words[:, 3:]], dim=1)
    kept = [0, 1, 2, 3, 4, 6, 7, 8]  # column 5 is where the first word stood in the prompt; it is not seen
    assert torch.allclose(seen[0][:, kept], expected[:, [0, 1, 2, 3, 4, 5, 6, 8]])


def test_predicted_actions_are_in_the_units_of_the_dataset_that_is_named():
    policy, sample = tiny_policy(), observation([[BOS, 3, 4], [BOS, 5, 6]])
    (picture, _), (ids, _) = sample.context.now[FRONT].at(0), sample.context.now[TOKENS_KEY].at(0)
    actions = act(policy, sample)
    bridge = policy.predict_action(picture, ids, "bridge")
    assert torch.allclose(bridge[:, 0], 0.5 * (actions[:, 0] + 1) * 4 - 1)
    assert torch.allclose(bridge[:, 1], 0.25 * (actions[:, 1] + 1))
    assert torch.equal(bridge[:, 2], actions[:, 2])
    assert torch.allclose(policy.predict_action(picture, ids, "toto"), 2 * actions)


@pytest.mark.parametrize(("key", "hint"), [("brige", "did you mean 'bridge'"), (None, "choose one of .*bridge.*toto")])
def test_unknown_datasets_are_refused(key, hint):
    with pytest.raises(ValueError, match=f"unnorm_key={key!r} is no dataset.*{hint}"):
        ActionStatistics.of(STATISTICS, key)


def test_statistics_without_quantiles_are_refused():
    with pytest.raises(ValueError, match=r"norm_stats of 'x' have no \['q99'\] of actions"):
        ActionStatistics.of({"x": {"action": {"q01": [0.0]}}})


def test_the_transform_of_control_undoes_the_same_normalisation():
    statistics = ActionStatistics.of(STATISTICS, "bridge")
    quantiles = {"q01": np.asarray(statistics.low), "q99": np.asarray(statistics.high)}
    transform = Normalize.fit({"action": quantiles}, {"action": NormalizationConfig("quantile", statistics.kept)})
    chunk, _ = (policy := tiny_policy()).act(observation([[BOS, 3]]).context, policy.initial_state(1))
    assert torch.allclose(transform.inverse(chunk).value, statistics.unnormalize(chunk.value), atol=1e-6)


def test_adapters_change_nothing_at_first_learn_alone_and_merge_to_the_same_outputs():
    policy, sample = tiny_policy(), observation([[BOS, 3, 4], [BOS, 5, 6]])
    names = set(policy.vlm.state_dict())
    before = policy.forward(sample)["action_loss"].prediction
    frozen = {name: weight.clone() for name, weight in policy.state_dict().items()}
    policy.enable_lora(r=4, alpha=8.0)
    assert torch.allclose(policy.forward(sample)["action_loss"].prediction, before, atol=1e-5)
    learned = [weight for weight in policy.parameters() if weight.requires_grad]
    assert {name.split(".")[-3] for name, w in policy.named_parameters() if w.requires_grad} == {"lora_A", "lora_B"}
    optimizer = torch.optim.Adam(learned, lr=1e-2)
    for _ in range(3):
        optimizer.zero_grad()
        Objective()(policy.forward(sample)).total.backward()
        assert all(weight.grad is not None for weight in learned)  # none beside a layer that is not run
        optimizer.step()
    adapted = policy.forward(sample)["action_loss"].prediction
    assert not torch.allclose(adapted, before, atol=1e-3)
    own = {name.replace(".base_layer", ""): weight for name, weight in policy.state_dict().items()}
    assert all(torch.equal(own[name], weight) for name, weight in frozen.items())
    policy.merge_lora()
    assert set(policy.vlm.state_dict()) == names
    assert torch.allclose(policy.forward(sample)["action_loss"].prediction, adapted, atol=1e-4)


def test_gradient_checkpointing_gives_the_same_gradients():
    gradients = []
    for checkpointing in (False, True):
        policy, sample = tiny_policy().train(), observation([[BOS, 3, 4]])
        if checkpointing:
            policy.enable_gradient_checkpointing()
        Objective()(policy.forward(sample)).total.backward()
        gradients.append({n: w.grad for n, w in policy.named_parameters() if w.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    assert all(torch.equal(gradient, gradients[1][name]) for name, gradient in gradients[0].items())


def test_the_policy_of_a_bundle_acts_as_the_one_that_was_saved(tmp_path):
    policy, sample = tiny_policy(), observation([[BOS, 3, 4]])
    embodiment = sample.context.task[0].embodiment
    config = config_to_json(policy.config)
    Bundle("openvla", config, policy.windows(), embodiment, {}, policy.state_dict()).save(tmp_path / "bundle")
    loaded = load_policy(Bundle.load(tmp_path / "bundle"))
    assert loaded.config == policy.config
    assert torch.equal(act(loaded, sample), act(policy, sample))


def test_a_config_of_before_adapters_and_grippers_were_in_it_is_read():
    saved = config_to_json(tiny_config())
    for key in ("lora", "has_gripper"):
        del saved[key]
    assert config_from_json(OpenVLAConfig, saved) == tiny_config()


def test_adapters_come_back_with_the_bundle():
    policy, sample = tiny_policy(), observation([[BOS, 3, 4]])
    policy.enable_lora(r=2, alpha=4.0, target_modules=("q_proj", "fc1"))
    with pytest.raises(ValueError, match="has LoRA already; merge_lora"):
        policy.enable_lora()
    for name, weight in policy.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, generator=torch.Generator().manual_seed(0))
    embodiment = sample.context.task[0].embodiment
    config = config_to_json(policy.config)
    loaded = load_policy(Bundle("openvla", config, policy.windows(), embodiment, {}, policy.state_dict()))
    assert loaded.config == policy.config
    assert torch.equal(
        policy.forward(sample)["action_loss"].prediction, loaded.forward(sample)["action_loss"].prediction
    )


def test_the_prompt_goes_from_words_to_an_action_through_a_tokenizer_in_a_folder(tmp_path):
    prompt = openvla_prompt("Open the Drawer ")
    assert prompt == "In: What action should the robot take to open the drawer?\nOut:"
    words = save_tokenizer(tmp_path, "open the drawer")
    ids = TransformersTokenizer(str(tmp_path)).encode(prompt)
    assert ids[0] == BOS
    assert [words[index] for index in ids[1:4]] == ["In", ":", "What"]
    policy = tiny_policy()
    images = torch.rand(1, 3, 28, 28, generator=torch.Generator().manual_seed(0))
    action = policy.predict_action(images, torch.tensor([ids]), "toto")
    assert action.shape == (1, 3)
    assert action.isfinite().all()


def test_words_beyond_the_vocabulary_are_refused():
    with pytest.raises(ValueError, match=r"token ids 0 to 64 are not in the vocabulary of 64"):
        act(tiny_policy(), observation([[BOS, 64]]))


def test_actions_of_another_size_are_refused():
    with pytest.raises(ValueError, match="actions have 3 dimensions, but action_dim=5"):
        tiny_policy(action_dim=5).forward(observation([[BOS, 3]]))
    with pytest.raises(ValueError, match="action_dim=0 must be at least 1"):
        tiny_config(action_dim=0)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"q01": ["a", 0.0]}, r"q01 is \['a', 0.0\], not a list of numbers"),
        ({"q99": None}, "q99 is None, not a list of numbers"),
        ({"q99": [1.0, float("nan")]}, "q99 is nan in dimension 1, which no action has"),
        ({"q01": [-1e30, 0.0]}, r"q01 is -1e\+30 in dimension 0, which no action has"),
        ({"q01": [2.0, 0.0]}, "of dimension 0 q01 is 2 and q99 is 1"),
        ({"q01": [0.0]}, "q01 has 1 dimensions, q99 2 and mask 2, but they are of the same actions"),
        ({"mask": [True, 1]}, r"mask is \[True, 1\], not a list of true and false"),
    ],
)
def test_published_statistics_that_no_actions_have_are_refused_by_dataset_and_dimension(change, told):
    action = {"q01": [-1.0, 0.0], "q99": [1.0, 1.0], "mask": [True, False]}
    assert ActionStatistics.of({"own": {"action": action}}).kept == (1,)
    with pytest.raises(ValueError, match=f"norm_stats of 'own': {told}; copy the checkpoint again"):
        ActionStatistics.of({"own": {"action": action | change}})
