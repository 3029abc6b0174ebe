"""StateVLA with its defaults is, part by part, the original model."""

from __future__ import annotations

import pytest
import torch
from tests.contract.samples import random_sample
from torch import nn

from tempovla.model.layers.mamba import Mamba
from tempovla.model.vla.statevla import StateVLA
from tempovla.model.vla.statevla_config import StateVLAConfig
from tempovla.model.vla.statevla_sizes import part_sizes, size_table
from tempovla.objective import Objective
from tempovla.timeline import LossTerm
from tempovla.timeline.keys import ACTION_KEY, STATE_KEY

CONFIG = StateVLAConfig()
AGENTVIEW, WRIST = CONFIG.cameras
SHAPES = {STATE_KEY: (9,), ACTION_KEY: (7,), "language": (512,), **dict.fromkeys(CONFIG.cameras, (3, 224, 224))}


def build(phase: int) -> StateVLA:
    torch.manual_seed(0)
    return StateVLA(CONFIG, phase)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def phase1() -> StateVLA:
    return build(1)


@pytest.fixture(scope="module")
def phase2() -> StateVLA:
    return build(2)


def linears(module: nn.Module) -> list[tuple[int, int]]:
    return [(layer.in_features, layer.out_features) for layer in module.modules() if isinstance(layer, nn.Linear)]


@torch.no_grad()
def test_tokens_are_language_robot_agentview_wrist_cls(phase1):
    """One part is changed at a time: what moves are its tokens, in its place."""
    tokenizer = phase1.encoder.tokenizer
    language, state = torch.zeros(1, 512), torch.zeros(1, 9)
    black, white = torch.zeros(2, 1, 3, 224, 224, dtype=torch.uint8), torch.full((1, 3, 224, 224), 255).byte()
    before = tokenizer(language, state, list(black))
    assert before.shape == (1, 395, 256)
    changed = {
        range(1): tokenizer(language + 1, state, list(black)),
        range(1, 2): tokenizer(language, state + 1, list(black)),
        range(2, 198): tokenizer(language, state, [white, black[1]]),
        range(198, 394): tokenizer(language, state, [black[0], white]),
    }
    for place, after in changed.items():
        assert (after != before).any(dim=-1)[0].nonzero().flatten().tolist() == list(place)
    assert torch.equal(before[0, 394], tokenizer.cls)


def test_pictures_are_cut_into_patches_of_16_by_one_convolution_that_the_cameras_share(phase1):
    tokenizer = phase1.encoder.tokenizer
    projection = tokenizer.image.projection
    assert type(projection) is nn.Conv2d
    assert (projection.in_channels, projection.out_channels) == (3, 256)
    assert projection.kernel_size == projection.stride == (16, 16)
    assert tokenizer.image.num_tokens == 196


def test_language_is_one_linear_layer_and_the_robots_state_an_mlp(phase1):
    tokenizer = phase1.encoder.tokenizer
    assert type(tokenizer.language) is nn.Linear
    assert linears(tokenizer.language) == [(512, 256)]
    assert linears(tokenizer.robot_state) == [(9, 256), (256, 256)]


@pytest.mark.parametrize(("name", "depth"), [("encoder", 12), ("flow_policy", 3)])
def test_encoder_and_policy_are_stacks_of_mamba(phase2, name, depth):
    (stack,) = (module for module in getattr(phase2, name).modules() if isinstance(module, Mamba))
    assert len(stack.layers) == depth
    for block in stack.layers:
        sizes = block.mixer.config
        assert (sizes.d_model, sizes.d_state, sizes.d_conv, sizes.expand) == (256, 16, 4, 2)


@torch.no_grad()
def test_z_is_read_at_cls_which_sees_every_token(phase1):
    readout = phase1.encoder.readout
    tokens = torch.randn(1, 395, 256)
    assert readout(tokens).shape == (1, 256)
    others = tokens.clone()
    others[:, :-1] = 0.0
    assert torch.equal(readout(others), readout(tokens))
    moved = phase1.encoder.encoder(tokens)[:, -1]
    for place in (0, 1, 2, 198, 393):
        disturbed = tokens.clone()
        disturbed[:, place] += 100.0
        assert not torch.equal(phase1.encoder.encoder(disturbed)[:, -1], moved)


def test_the_predictor_joins_z_and_one_action_at_512_and_adds_a_change(phase1):
    predictor = phase1.temporal_predictor
    assert linears(predictor.state_projection) == [(256, 512)]
    assert linears(predictor.action_projection) == [(7, 512)]
    assert linears(predictor.delta) == [(1024, 512), (512, 512), (512, 256)]
    with torch.no_grad():
        last = predictor.delta[-1]
        kept = last.weight.clone(), last.bias.clone()
        last.weight.zero_(), last.bias.zero_()
        z = torch.randn(3, 256)
        assert torch.equal(predictor(z, torch.randn(3, 7)), z)
        last.weight.copy_(kept[0]), last.bias.copy_(kept[1])


def test_phase_1_compares_the_prediction_with_the_target_one_step_on_under_vicreg(phase1):
    sample = random_sample(phase1.windows(), SHAPES, rows=2, seed=0)
    assert {window.key: window.offsets for window in phase1.windows()}[WRIST] == (0, 1)
    with torch.no_grad():
        terms = phase1(sample)
    trained = {name: (term.kind, term.weight) for name, term in terms.items() if isinstance(term, LossTerm)}
    assert trained == {
        "jepa_mse": ("mse", 1.0),
        "jepa_variance": ("variance", 1.0),
        "jepa_covariance": ("covariance", 0.04),
    }
    assert terms["jepa_variance"].prediction is terms["jepa_covariance"].prediction is terms["jepa_mse"].prediction
    assert terms["jepa_mse"].prediction.shape == (2, 256)
    assert learning(phase1) == {"encoder", "temporal_predictor"}


def test_phase_2_learns_six_dimensions_by_flow_and_the_seventh_as_a_class(phase2):
    sample = random_sample(phase2.windows(), SHAPES, rows=2, seed=0)
    with torch.no_grad():
        terms = phase2(sample)
    assert {name: term.kind for name, term in terms.items() if isinstance(term, LossTerm)} == {
        "pos_rot_loss": "mse",
        "gripper_loss": "bce",
    }
    assert terms["pos_rot_loss"].prediction.shape == (2, 10, 6)
    assert terms["gripper_loss"].prediction.shape == (2, 10)
    assert set(terms["gripper_loss"].target.unique().tolist()) <= {0.0, 1.0}
    assert learning(phase2) == {"flow_policy", "gripper"}
    report = Objective({"action_loss": ("pos_rot_loss", "gripper_loss")})(terms)
    assert report.terms["action_loss"] == report.total


def test_the_flow_reads_noise_level_state_and_ten_actions_and_the_gripper_is_an_mlp(phase2):
    flow = phase2.flow_policy
    seen: list[torch.Tensor] = []
    hook = flow.backbone.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    noise, z = torch.randn(2, 10, 6), torch.randn(2, 256)
    with torch.no_grad():
        assert flow.sample(z, noise, CONFIG.flow_steps).shape == (2, 10, 6)
    hook.remove()
    assert [tokens.shape for tokens in seen] == [(2, 12, 256)] * 4
    torch.testing.assert_close(seen[0][:, 1], flow.state(z))
    torch.testing.assert_close(seen[0][:, 2:], flow.action_in(noise))
    assert linears(phase2.gripper) == [(256, 256), (256, 256), (256, 10)]


def test_parts_add_up_and_phases_train_their_own(phase1, phase2):
    sizes = part_sizes(phase1)
    assert sum(size.weights for size in sizes.values()) == sum(weight.numel() for weight in phase1.parameters())
    copied = sizes["target encoder (EMA, no gradient)"]
    assert copied.learning == 0
    encoder = ("image tokenizer, shared by the cameras", "language", "robot state", "camera and CLS embeddings")
    encoder += ("sequence encoder", "read-out")
    assert copied.weights == sum(sizes[name].weights for name in encoder)
    learns = {name for name, size in part_sizes(phase2).items() if size.learning}
    assert learns == {"flow-matching policy", "gripper classifier"}
    assert {name for name, size in sizes.items() if size.learning} == {*encoder, "temporal predictor"}
    assert all(size.learning in (0, size.weights) for size in sizes.values())


def test_the_table_shows_weights_and_those_that_learn(phase2):
    lines = {line.split("  ")[0]: line.split()[-2:] for line in size_table(phase2).splitlines()}
    assert lines["part"] == ["weights", "learning"]
    assert lines["gripper classifier"] == ["134,154", "134,154"]
    assert lines["sequence encoder"] == ["5,256,448", "0"]
    learning_weights = 134_154 + part_sizes(phase2)["flow-matching policy"].weights
    assert lines["all but the target encoder"] == ["8,407,568", f"{learning_weights:,}"]


def learning(policy: StateVLA) -> set[str]:
    return {name.split(".")[0] for name, weight in policy.named_parameters() if weight.requires_grad}
