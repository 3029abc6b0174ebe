"""StateVLA: what each phase trains, sees and is told, and how it acts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from tests.contract.samples import random_contexts, random_sample
from tests.contract.toys import ACTION, FRONT, STATE
from tests.metric_values import metric
from tests.tiny import tiny_statevla_config
from torch.nn import functional as F

from tempovla.model.vla.statevla import StateVLA
from tempovla.model.vla.statevla_config import JepaConfig
from tempovla.objective import Objective
from tempovla.timeline import LossTerm, Metric, TimelineSample, Track
from tempovla.timeline.keys import ENCODING_KEY
from tempovla.timeline.noise import row_normal, row_uniform

WRIST = "observation.images.wrist"
LITERAL = JepaConfig(prediction_horizon=2, temporal_predictor_hidden_dim=8)
IMPROVED = replace(LITERAL, regularize="state", inverse_dynamics_weight=0.5, behavior_cloning_weight=0.25)
CONFIG = tiny_statevla_config(lang_emb_dim=5, jepa=LITERAL)
SHAPES = {STATE: (3,), FRONT: (3, 16, 16), WRIST: (3, 16, 16), ACTION: (4,), "language": (5,)}


def build(phase: int = 2, **options: Any) -> StateVLA:
    torch.manual_seed(0)
    return StateVLA(replace(CONFIG, **options), phase)  # type: ignore[arg-type]


def sample_for(policy: StateVLA, rows: int = 4, seed: int = 0) -> TimelineSample:
    return random_sample(policy.windows(), SHAPES, rows=rows, seed=seed)


def loss(terms: dict[str, LossTerm]) -> torch.Tensor:
    return Objective()(terms).total


def trained_parts(policy: StateVLA) -> set[str]:
    return {name.split(".")[0] for name, weight in policy.named_parameters() if weight.requires_grad}


def at_the_end_of_an_episode(sample: TimelineSample, row: int, steps_left: int) -> TimelineSample:
    """The row as it is `steps_left` actions before its episode ends."""

    def cut(key: str, track: Track) -> Track:
        valid = track.valid.clone()
        valid[row] &= track.offset < steps_left
        return replace(track, valid=valid)

    return replace(sample, future={key: cut(key, track) for key, track in sample.future.items()})


def unseen_now(sample: TimelineSample, row: int, key: str) -> TimelineSample:
    """The row without what one stream shows now."""
    track = sample.context.now[key]
    valid = track.valid.clone()
    valid[row] = False
    context = replace(sample.context, now={**sample.context.now, key: replace(track, valid=valid)})
    return replace(sample, context=context)


def test_phase_1_trains_the_representation_and_phase_2_the_policy():
    everything = {"encoder", "temporal_predictor", "inverse_dynamics", "behavior_cloning"}
    assert trained_parts(build(1, jepa=IMPROVED)) == everything
    assert trained_parts(build(1)) == {"encoder", "temporal_predictor"}
    assert trained_parts(build(2, jepa=IMPROVED)) == {"flow_policy", "gripper"}
    assert trained_parts(build(2, freeze_encoder=False)) == {"encoder", "flow_policy", "gripper"}
    cloning = build(2, freeze_encoder=False, cloning_weight=1.0)
    assert trained_parts(cloning) == {"encoder", "behavior_cloning", "flow_policy", "gripper"}
    assert trained_parts(build(2, has_gripper=False)) == {"flow_policy"}
    with pytest.raises(ValueError, match="phase=3 is unknown"):
        build(3)


@pytest.mark.parametrize("phase", [1, 2])
@pytest.mark.parametrize("options", [{"jepa": IMPROVED}, {"freeze_encoder": False, "cloning_weight": 0.5}])
def test_all_that_is_trainable_gets_a_gradient_and_nothing_else(phase, options):
    policy = build(phase, **options)
    torch.nn.init.normal_(policy.flow_policy.velocity_out.weight)
    loss(policy(sample_for(policy))).backward()
    for name, weight in policy.named_parameters():
        learns = weight.grad is not None and bool(weight.grad.abs().sum() > 0)
        if phase == 1 and name.startswith("behavior_cloning") and options.get("cloning_weight"):
            continue  # waits for phase 2
        assert learns == weight.requires_grad, name


def test_a_frozen_encoder_stays_bit_for_bit_while_the_policy_learns():
    policy = build(2)
    before = {name: weight.clone() for name, weight in policy.state_dict().items()}
    optimizer = torch.optim.AdamW([w for w in policy.parameters() if w.requires_grad], lr=1e-2, weight_decay=0.1)
    for step in range(3):
        loss(policy(sample_for(policy, seed=step))).backward()
        optimizer.step()
        policy.after_step(step + 1)
    moved = {
        name.split(".")[0] for name, weight in policy.state_dict().items() if not torch.equal(weight, before[name])
    }
    assert moved == {"flow_policy", "gripper"}


def test_windows_reach_ahead_in_phase_1_only():
    def offsets(policy: StateVLA) -> dict[str, tuple[int, ...]]:
        return {window.key: window.offsets for window in policy.windows()}

    assert offsets(build(1)) == {STATE: (0, 2), FRONT: (0, 2), WRIST: (0, 2), ACTION: (0, 1, 2, 3, 4)}
    assert offsets(build(2)) == {STATE: (0,), FRONT: (0,), WRIST: (0,), ACTION: (0, 1, 2, 3, 4)}
    far = replace(LITERAL, prediction_horizon=7)
    assert offsets(build(1, jepa=far))[ACTION] == tuple(range(7))
    assert offsets(build(2, jepa=far))[ACTION] == tuple(range(5))


def test_the_literal_recipe_regularises_the_prediction_and_the_other_the_state():
    literal = build(1)
    terms = literal(sample_for(literal))
    assert set(terms) == {"jepa_mse", "jepa_persistence", "jepa_variance", "jepa_covariance", "z_std"}
    assert terms["jepa_variance"].prediction is terms["jepa_mse"].prediction
    assert [terms[f"jepa_{name}"].weight for name in ("mse", "variance", "covariance")] == [1.0, 1.0, 0.04]
    assert [terms[f"jepa_{name}"].kind for name in ("variance", "covariance")] == ["variance", "covariance"]

    improved = build(1, jepa=IMPROVED)
    sample = sample_for(improved)
    terms = improved(sample)
    z, _ = improved.encode(sample.context)
    torch.testing.assert_close(terms["jepa_variance"].prediction, z)
    torch.testing.assert_close(terms["jepa_covariance"].prediction, z)
    assert (terms["inverse_dynamics"].weight, terms["behavior_cloning"].weight) == (0.5, 0.25)


def test_the_prediction_is_of_the_target_encoders_future_from_the_actions_in_between():
    policy = build(1)
    with torch.no_grad():
        for weight in policy.target_encoder.parameters():
            weight.mul_(0.5)
    sample = sample_for(policy)
    terms = policy(sample)
    z, _ = policy.encode(sample.context)
    pictures = [sample.future[key].at(2)[0] for key in (FRONT, WRIST)]
    language = sample.context.now["language"].at(0)[0]
    future = policy.target_encoder(language, sample.future[STATE].at(2)[0], pictures)
    torch.testing.assert_close(terms["jepa_mse"].target, future)
    assert not terms["jepa_mse"].target.requires_grad
    expected = policy.temporal_predictor(z, sample.future[ACTION].value[:, :2].flatten(1))
    torch.testing.assert_close(terms["jepa_mse"].prediction, expected)


def test_the_persistence_baseline_is_the_error_of_predicting_no_change_and_trains_nothing():
    policy = build(1)
    sample = sample_for(policy)
    terms = policy(sample)
    z, _ = policy.encode(sample.context)
    baseline = terms["jepa_persistence"]
    assert isinstance(baseline, Metric)
    assert not baseline.prediction.requires_grad
    expected = F.mse_loss(z, terms["jepa_mse"].target)
    torch.testing.assert_close(metric(Objective()(terms), "jepa_persistence"), expected.detach())
    total = Objective()({name: term for name, term in terms.items() if name != "jepa_persistence"}).total
    torch.testing.assert_close(loss(terms), total)


@pytest.mark.parametrize("phase", [1, 2])
def test_how_much_z_differs_between_observations_is_reported_and_trains_nothing(phase):
    policy = build(phase, freeze_encoder=False)
    sample = sample_for(policy)
    terms = policy(sample)
    z, _ = policy.encode(sample.context)
    assert isinstance(terms["z_std"], Metric)
    assert not terms["z_std"].prediction.requires_grad
    torch.testing.assert_close(metric(Objective()(terms), "z_std"), z.detach().std(dim=0).mean())


@pytest.mark.parametrize("phase", [1, 2])
@pytest.mark.parametrize("kind", ["mamba", "transformer"])
@pytest.mark.parametrize("bfloat16", [False, True])
def test_recomputed_activations_give_the_same_loss_and_gradients(phase, kind, bfloat16):
    gradients = []
    for again in (False, True):
        policy = build(phase, encoder_type=kind, policy_type=kind, encoder_depth=2, freeze_encoder=False)
        policy.recompute_activations(again)
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            terms = policy(sample_for(policy))
        total = loss(terms)
        total.backward()
        gradients.append({name: w.grad for name, w in policy.named_parameters() if w.grad is not None} | {"": total})
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        assert torch.equal(gradients[1][name], gradient), name


def test_recomputed_activations_are_not_kept():
    def kept_bytes(policy: StateVLA) -> int:
        kept: dict[int, int] = {}

        def keep(tensor: torch.Tensor) -> torch.Tensor:
            kept[tensor.data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            loss(policy(sample_for(policy)))
        return sum(kept.values())

    policy = build(1, encoder_type="mamba", encoder_depth=12)
    before = kept_bytes(policy)
    policy.recompute_activations(True)
    assert kept_bytes(policy) < before / 4


def test_at_the_end_of_an_episode_what_is_missing_counts_for_nothing():
    policy = build(1, jepa=IMPROVED)
    sample = sample_for(policy)
    cut = at_the_end_of_an_episode(sample, row=1, steps_left=1)
    terms = policy(cut)
    for name in ("jepa_mse", "jepa_persistence", "inverse_dynamics"):
        assert terms[name].valid.tolist() == [True, False, True, True]
    assert terms["jepa_variance"].valid.tolist() == [True] * 4
    assert terms["behavior_cloning"].valid[1].tolist() == [True, False, False, False, False]
    literal = build(1)
    assert literal(cut)["jepa_variance"].valid.tolist() == [True, False, True, True]
    together, others = (Objective()(literal(rows)) for rows in (cut, cut.rows([0, 2, 3])))
    assert metric(together, "z_std") != metric(others, "z_std")  # what it sees now is seen
    torch.testing.assert_close(metric(together, "jepa_persistence"), metric(others, "jepa_persistence"))
    torch.testing.assert_close(together.terms, others.terms)


def test_a_chunk_that_outlasts_its_episode_is_learned_as_far_as_it_goes():
    policy = build(2, flow_draws=3)
    terms = policy(at_the_end_of_an_episode(sample_for(policy), row=2, steps_left=2))
    assert terms["gripper_loss"].valid.sum(dim=1).tolist() == [5, 5, 2, 5]
    assert terms["pos_rot_loss"].valid.sum(dim=1).tolist() == [5] * 6 + [2] * 3 + [5] * 3


@pytest.mark.parametrize("key", [STATE, FRONT, WRIST])
@pytest.mark.parametrize("phase", [1, 2])
def test_rows_that_see_nothing_now_teach_nothing(phase, key):
    policy = build(phase, jepa=IMPROVED)
    terms = policy(unseen_now(sample_for(policy), row=3, key=key))
    for name, term in terms.items():
        assert term.valid[:3].all(), name
        assert not term.valid[3].any(), name


def test_the_flow_learns_the_pose_and_the_classifier_the_gripper():
    policy = build(2, flow_draws=3)
    sample = sample_for(policy)
    terms = policy(sample)
    assert set(terms) == {"pos_rot_loss", "gripper_loss", "z_std"}
    action = sample.future[ACTION].value
    noise = row_normal(sample.seed, (3, 5, 3), stream=1).flatten(0, 1)
    pose = action[..., :3].repeat_interleave(3, dim=0)
    torch.testing.assert_close(terms["pos_rot_loss"].target, noise - pose)
    flow_time = row_uniform(sample.seed, (3,), stream=2).flatten()
    z = policy.encode(sample.context)[0].repeat_interleave(3, dim=0)
    torch.testing.assert_close(
        terms["pos_rot_loss"].prediction, policy.flow_policy.training_pair(pose, noise, flow_time, z)[0]
    )
    torch.testing.assert_close(terms["gripper_loss"].target, (action[..., 3] > 0).float())
    assert terms["gripper_loss"].kind == "bce"
    whole = build(2, has_gripper=False)
    terms = whole(sample)
    assert set(terms) == {"pos_rot_loss", "z_std"}
    assert terms["pos_rot_loss"].prediction.shape == (4, 5, 4)


def test_the_target_encoder_follows_in_phase_1_along_the_schedule():
    policy = build(1, jepa=replace(LITERAL, ema_momentum=0.5, ema_steps=4))
    with torch.no_grad():
        for weight in policy.encoder.parameters():
            weight += 1.0

    @torch.no_grad()
    def distance() -> float:
        pairs = zip(policy.encoder.parameters(), policy.target_encoder.parameters(), strict=True)
        return max(float((a - b).abs().max()) for a, b in pairs)

    assert distance() == pytest.approx(1.0, abs=1e-5)
    policy.after_step(2)  # half-way the momentum is 0.75
    assert distance() == pytest.approx(0.75, abs=1e-5)
    policy.after_step(4)
    assert distance() == pytest.approx(0.75, abs=1e-5)
    still = build(2)
    still.after_step(1)
    assert all(
        torch.equal(a, b) for a, b in zip(still.encoder.parameters(), still.target_encoder.parameters(), strict=True)
    )


def test_a_policy_acts_in_chunks_with_a_binary_gripper():
    policy = build(2).eval()
    sample = sample_for(policy)
    with torch.no_grad():
        chunk, state = policy.act(sample.context, policy.initial_state(4))
    assert chunk.value.shape == (4, 5, 4)
    assert chunk.value.dtype == torch.float32
    assert chunk.valid.all()
    assert set(chunk.value[..., 3].unique().tolist()) <= {-1.0, 1.0}
    assert state.decision.tolist() == [1, 1, 1, 1]


def test_decisions_draw_fresh_noise_and_episodes_repeat():
    """What a row does depends on what it sees and how long its episode has run, not on what else is in the batch."""
    policy = build(2).eval()
    contexts = random_contexts(policy.windows(), SHAPES, steps=2)
    same = [replace(contexts[0], first=context.first) for context in contexts]
    with torch.no_grad():
        first, state = policy.act(same[0], policy.initial_state(4))
        second, state = policy.act(same[1], state)
        again, _ = policy.act(same[0], state)
        alone, _ = policy.act(same[0].rows([2]), policy.initial_state(1))
    assert not torch.allclose(first.value, second.value)
    assert torch.equal(first.value, again.value)
    torch.testing.assert_close(first.value[2:3], alone.value)


def test_a_rows_noise_follows_its_seed():
    policy = build(2).eval()
    (context,) = random_contexts(policy.windows(), SHAPES, steps=1)
    state = policy.with_seeds(policy.initial_state(4), torch.tensor([0, 5, 6, 7]))
    alone = policy.with_seeds(policy.initial_state(1), torch.tensor([6]))
    with torch.no_grad():
        unseeded, _ = policy.act(context, policy.initial_state(4))
        seeded, after = policy.act(context, state)
        row, _ = policy.act(context.rows([2]), alone)
    assert torch.equal(seeded.value[0], unseeded.value[0])
    assert not torch.allclose(seeded.value[1], unseeded.value[1])
    torch.testing.assert_close(row.value[0], seeded.value[2])
    assert after.seed.tolist() == [0, 5, 6, 7]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"flow_steps": 0}, "model.flow_steps=0 must be at least 1"),
        ({"action_seq_len": 0}, "model.action_seq_len=0 must be at least 1"),
        ({"cameras": ()}, "must name at least one camera"),
        ({"cameras": (FRONT, FRONT)}, "and none twice"),
        ({"action_dim": 1}, "model.action_dim=1 leaves nothing beside the gripper"),
        ({"cloning_weight": -1.0}, "model.cloning_weight=-1.0 must not be negative"),
        ({"num_heads": 3}, "dim=8 is not divisible by num_heads=3"),
        ({"patch_size": 5}, "image_size=16 is not divisible by patch_size=5"),
    ],
)
def test_impossible_sizes_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        build(2, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prediction_horizon": 0}, "jepa.prediction_horizon=0 must be at least 1"),
        ({"variance_weight": -0.1}, "jepa.variance_weight=-0.1 must not be negative"),
        ({"ema_momentum": 1.5}, "jepa.ema_momentum=1.5 must lie in"),
    ],
)
def test_impossible_recipes_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        replace(LITERAL, **options)


def test_a_given_encoding_takes_the_place_of_the_observations_it_was_made_from():
    policy = build(phase=2)
    sample = sample_for(policy)
    z, observed = policy.encode(sample.context)
    track = Track(z[:, None], observed[:, None], torch.zeros(1))
    encoded = replace(sample, context=replace(sample.context, now={ENCODING_KEY: track}))
    results = []
    for given in (sample, encoded):
        policy.zero_grad()
        terms = policy(given)
        loss(terms).backward()
        results.append((loss(terms), [weight.grad for weight in policy.flow_policy.parameters()]))
    assert torch.equal(results[0][0], results[1][0])
    assert all(torch.equal(*pair) for pair in zip(results[0][1], results[1][1], strict=True))
