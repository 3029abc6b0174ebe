"""SA-GR sees the future in its losses alone, acts on what has been observed, and remembers row by row."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tests.sagr_policies import OBSERVED, changed_future, contexts_of, gradients, invalid, noisy, sagr, sample_of
from tests.tiny import FRONT, WRIST, tiny_sagr_config
from torch.utils._python_dispatch import TorchDispatchMode

from tempovla.model.vla.sagr import SAGR
from tempovla.model.vla.sagr_metrics import SLOT_SPREAD
from tempovla.model.vla.sagr_schedule import phase_of
from tempovla.model.vlm import lm_attention
from tempovla.model.vlm.language_model import LLMBackbone
from tempovla.objective import Objective
from tempovla.objective.objective import reduce_term
from tempovla.timeline import LossTerm, Progress
from tempovla.timeline.keys import ACTION_KEY, STATE_KEY, TOKENS_KEY

FULL = {"enable_causal_feedback_token": True, "cloning_weight": 1.0, "horizons": (1,)}
WORLD = ("dyn_loss", "geo_loss")


def values(policy, sample, progress=None):
    return {name: reduce_term(name, term) for name, term in policy(sample, progress).items()}


def test_the_future_frame_changes_no_velocity_and_no_token_but_reaches_the_losses():
    policy = sagr(**FULL, flare_weight=0.2)
    sample = sample_of(policy)
    other = changed_future(sample, lambda key, track: noisy(track))
    before, after = policy(sample), policy(other)
    for name in ("action_loss", "reg_loss", "behavior_cloning"):
        torch.testing.assert_close(after[name].prediction, before[name].prediction, rtol=0, atol=0)
    torch.testing.assert_close(policy.task_tokens(other.context), policy.task_tokens(sample.context), rtol=0, atol=0)
    first, second = values(policy, sample), values(policy, other)
    assert all(first[name] != second[name] for name in (*WORLD, "dyn_loss_k1", "flare_loss"))


def test_the_future_frame_changes_no_gradient_of_flow_matching():
    policy = sagr(**FULL)
    sample = sample_of(policy)
    found = gradients(policy, "action_loss", sample)
    other = gradients(policy, "action_loss", changed_future(sample, lambda key, track: noisy(track)))
    torch.testing.assert_close(other, found, rtol=0, atol=0)


@pytest.mark.parametrize("missing", ["future", "actions"])
def test_without_a_valid_target_auxiliary_losses_are_zero_and_gradients_finite(missing):
    policy = sagr(**FULL, world_target="state", task_token_num=3)
    sample = sample_of(policy)
    if missing == "future":
        sample = changed_future(sample, lambda key, track: invalid(track))
    else:
        sample = replace(sample, future={**sample.future, ACTION_KEY: invalid(sample.future[ACTION_KEY])})
    terms = policy(sample)
    assert all(reduce_term(name, terms[name]) == 0 for name in (*WORLD, "dyn_loss_k1"))
    Objective()(terms).total.backward()
    assert all(torch.isfinite(each.grad).all() for each in policy.parameters() if each.grad is not None)


def test_rows_without_a_target_leave_the_means_of_the_others_alone():
    policy = sagr()
    sample = sample_of(policy, rows=4)
    rows = torch.tensor([False, True, False, True])
    partly = changed_future(sample, lambda key, track: invalid(track, rows))
    kept = values(policy, sample.rows([0, 2]))
    found = values(policy, partly)
    for name in (*WORLD, "debug/sagr/persistence", "debug/sagr/rrr_mean"):
        assert float(found[name]) == pytest.approx(float(kept[name]), rel=1e-5)
    assert float(found["debug/temporal/valid_tk_ratio"]) == 0.5


def test_a_missing_future_frame_never_teaches_that_nothing_changes():
    policy = sagr()
    sample = sample_of(policy)
    frozen = {key: sample.context.now[key] for key in OBSERVED}
    clamped = changed_future(
        sample, lambda key, track: replace(invalid(track), value=frozen[key].value.expand_as(track.value))
    )
    assert not policy(clamped)["dyn_loss"].valid.any()


def test_padded_actions_are_not_learned():
    policy = sagr()
    sample = sample_of(policy)
    action = sample.future[ACTION_KEY]
    valid = action.valid.clone()
    valid[:, 3:] = False
    padded = replace(sample, future={**sample.future, ACTION_KEY: replace(action, valid=valid)})
    changed = replace(action, value=action.value + 5 * ~valid[..., None], valid=valid)
    other = replace(padded, future={**padded.future, ACTION_KEY: changed})
    assert values(policy, padded)["action_loss"] == values(policy, other)["action_loss"]


def test_dynamics_losses_leave_the_tokens_alone_unless_they_may_learn_from_them():
    detached = gradients(sagr(), "dyn_loss", sample_of(sagr()))
    assert detached
    assert all(name.startswith("world.") for name in detached)
    policy = sagr(world_detach_input=False, world_target_encoder="ema")
    assert any(name.startswith("frames.anchor.") for name in gradients(policy, "dyn_loss", sample_of(policy)))


def test_a_prediction_from_task_tokens_teaches_them():
    options = {"world_target": "vision", "world_target_encoder": "frozen", "world_condition": "tokens"}
    policy = sagr(**options, use_drift=False)
    sample = sample_of(policy)
    assert any(name.startswith("frames.anchor.") for name in gradients(policy, "dyn_loss", sample))
    other = replace(sample, future={**sample.future, ACTION_KEY: noisy(sample.future[ACTION_KEY])})
    found, expected = (policy(each)["dyn_loss"].prediction for each in (other, sample))
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_nothing_learns_to_make_the_energy_small_by_weighing_it():
    policy = sagr()
    found = gradients(policy, "geo_loss", sample_of(policy))
    assert all(name.startswith("world.") for name in found)
    assert not policy.residuals.weights.requires_grad
    assert values(policy, sample_of(policy))["geo_loss"] > 0


def test_the_energy_is_a_mean_over_dimensions():
    policy = sagr()
    residual = torch.full((2, 3, policy.target_shape[1]), 2.0)
    assert policy.residuals.weights.mean() == pytest.approx(1.0)
    energy = 0.5 * (policy.residuals.weights * residual.mean(1).square()).mean(1)
    torch.testing.assert_close(energy, torch.full((2,), 2.0))


def test_drift_reads_only_the_residual_of_a_prediction_that_has_been_observed():
    policy = sagr()
    sample = sample_of(policy)
    frame = policy.frames.now(sample.context)
    past = policy._past(sample, policy.frames.target_now(frame, sample.context), frame.words)
    drift = policy.drift
    bucket, time = torch.zeros(4, 1, dtype=torch.int64), torch.zeros(4, 1)
    embedded = policy.action_head.time_embedding(bucket.flatten())[:, None]
    assert drift(past.residual.mean(1), past.valid, embedded, time).abs().max() > 0
    assert drift(past.residual.mean(1), past.valid, embedded, time).abs().max() <= policy.config.drift_eta
    none = torch.zeros_like(past.valid)
    assert drift(past.residual.mean(1), none, embedded, time).abs().max() == 0
    assert drift(past.residual.mean(1), past.valid, embedded, torch.ones(4, 1)).abs().max() == 0


def test_without_the_frame_before_there_is_no_drift_in_flow_matching():
    policy = sagr()
    sample = sample_of(policy)
    gone = {key: invalid(track) for key, track in sample.context.past.items()}
    without = replace(sample, context=replace(sample.context, past=gone))
    plain = sagr(use_drift=False)
    plain.load_state_dict({k: v for k, v in policy.state_dict().items() if not k.startswith("drift.")})
    expected = plain(without)["action_loss"].prediction
    torch.testing.assert_close(policy(without)["action_loss"].prediction, expected, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("step", "phase", "alpha"), [(0, 1, 0.0), (9, 1, 0.0), (10, 2, 0.25), (13, 2, 1.0), (14, 3, 1.0), (99, 3, 1.0)]
)
def test_the_schedule_follows_the_optimiser_step(step, phase, alpha):
    assert phase_of(step, 10, 4) == (phase, alpha)
    policy = sagr(sagr_phase_a_steps=10, sagr_phase_b_ramp_steps=4)
    terms = policy(sample_of(policy), Progress(step, 100))
    assert terms["dyn_loss"].weight == pytest.approx(alpha * policy.config.loss_w_dyn)
    assert terms["geo_loss"].weight == pytest.approx(alpha * policy.config.loss_w_geo)
    assert terms["action_loss"].weight == 1.0
    figures = values(policy, sample_of(policy), Progress(step, 100))
    assert float(figures["debug/sagr_schedule/phase"]) == phase
    assert float(figures["debug/sagr_schedule/alpha"]) == pytest.approx(alpha)


def test_without_phases_everything_has_its_weight():
    assert phase_of(0, 0, 0) == (0, 1.0)
    assert phase_of(3, 3, 0) == (3, 1.0)


def test_phase_a_trains_neither_the_predictor_nor_the_drift():
    policy = sagr(sagr_phase_a_steps=10)
    sample = sample_of(policy)
    Objective()(policy(sample, Progress(0, 20))).total.backward()
    learned = {name for name, each in policy.named_parameters() if each.grad is not None and each.grad.abs().max() > 0}
    assert not any(name.startswith(("world.", "drift.")) for name in learned)
    Objective()(policy(sample, Progress(10, 20))).total.backward()
    learned = {name for name, each in policy.named_parameters() if each.grad is not None and each.grad.abs().max() > 0}
    assert {name.partition(".")[0] for name in learned} >= {"world", "drift"}


def test_targets_are_deterministic_while_the_policy_trains():
    """Attention dropout of the language model, which v4's task tokens pass, does not reach a target."""
    policy = sagr(algorithm_version="v4")
    for layer in policy.vlm.language.decoder.layers:
        layer.self_attn.attention_dropout = 0.5
    sample = sample_of(policy)
    ahead = (sample.future, 2, policy.frames.words(sample.context))
    expected = policy.frames.target(*ahead)
    policy.train()
    torch.testing.assert_close(policy.frames.target(*ahead), expected, rtol=0, atol=0)
    assert policy.vlm.training
    assert policy.frames.anchor.training


def test_words_change_what_the_task_tokens_look_at_and_padding_does_not():
    policy = sagr()
    sample = sample_of(policy)
    frame, anchor = policy.frames.now(sample.context), policy.frames.anchor
    looks = anchor.attention(frame.words.embedded, frame.words.valid, frame.vision, frame.seen)
    ids = sample.context.now[TOKENS_KEY].value[:, 0]
    other = policy.vlm.language.embed((ids + 1) % 16, frame.words.valid)
    moved = anchor.attention(other, frame.words.valid, frame.vision, frame.seen)
    assert (looks - moved).abs().amax(dim=(1, 2, 3)).min() > 1e-4
    valid = frame.words.valid.clone()
    valid[:, 4:] = False
    some = anchor.attention(frame.words.embedded, valid, frame.vision, frame.seen)
    padded = frame.words.embedded.clone()
    padded[:, 4:] = float("nan")
    torch.testing.assert_close(anchor.attention(padded, valid, frame.vision, frame.seen), some, rtol=0, atol=0)


@pytest.mark.parametrize("version", ["v3", "v4"])
def test_special_tokens_are_not_words_that_the_task_tokens_read(version):
    policy = sagr(algorithm_version=version, special_token_ids=(2, 5))
    context = sample_of(policy).context
    ids = torch.tensor([[3, 4, 6, 2]]).repeat(4, 1)
    said = {**context.now, TOKENS_KEY: context.now[TOKENS_KEY].map(lambda track: ids[:, None])}
    words = policy.frames.words(replace(context, now=said))
    assert words.valid.all()
    assert words.spoken.tolist() == [[True, True, True, False]] * 4
    frame = policy.frames.now(replace(context, now=said))
    said[TOKENS_KEY] = said[TOKENS_KEY].map(lambda track: torch.where(track == 2, 5, track))
    other = policy.frames.now(replace(context, now=said))
    assert not torch.equal(other.words.embedded, frame.words.embedded)
    torch.testing.assert_close(other.tokens, frame.tokens, rtol=0, atol=0)  # the words stand before the special token
    said[TOKENS_KEY] = said[TOKENS_KEY].map(lambda track: torch.where(track == 4, 7, track))
    assert not torch.equal(policy.frames.now(replace(context, now=said)).tokens, frame.tokens)


def test_task_tokens_of_one_frame_differ_and_a_metric_tells_how_much():
    policy = SAGR(tiny_sagr_config(task_token_num=4)).eval()
    sample = sample_of(policy)
    tokens = policy.task_tokens(sample.context)
    apart = tokens.var(dim=1, unbiased=False).mean(dim=-1).sqrt()
    told = reduce_term("slots", policy(sample)[SLOT_SPREAD])
    assert apart.min() > 0.4
    assert float(told) == pytest.approx(float(apart.mean()), rel=1e-5)


APART = {"world_target_encoder": "ema", "world_detach_input": False}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"world_target_encoder": "ema"},
        APART,
        APART | {"world_target": "vision"},
        {"world_target_encoder": "frozen", "world_detach_input": False},
        {"world_target": "state"},
        {"algorithm_version": "v4"},
    ],
    ids=str,
)
def test_control_finds_the_residual_that_training_saw(options):
    policy = sagr(enable_causal_feedback_token=True, **options)
    sample, k = sample_of(policy), 2
    context, rows = sample.context, sample.context.batch_size
    frame = policy.frames.now(context)
    trained = policy._past(sample, policy.frames.target_now(frame, context), frame.words)
    then = {
        key: replace(track.select(track.offset == -k), offset=torch.tensor([0]))
        for key, track in context.past.items()
        if key in OBSERVED
    }
    before = replace(context, now={**context.now, **then}, first=torch.ones(rows, dtype=torch.bool))
    _, state = policy.act(before, policy.initial_state(rows))
    now = replace(context, first=torch.zeros(rows, dtype=torch.bool))
    _, _, acted = policy._look_back(policy.frames.now(now), now, state.memory)
    assert acted.valid.any()
    assert torch.equal(acted.valid, trained.valid)
    torch.testing.assert_close(acted.residual, trained.residual, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(acted.tokens[acted.valid], trained.tokens[acted.valid], rtol=1e-5, atol=1e-5)


def test_a_target_of_the_start_begins_with_the_pretrained_weights(tmp_path):
    pretrained = sagr()
    pretrained.save_pretrained(tmp_path)
    policy = SAGR(tiny_sagr_config(world_target_encoder="frozen"))
    policy.load_vlm(tmp_path)
    copied = policy.frames.copy.module["vision"].state_dict()
    assert all(torch.equal(copied[name], weight) for name, weight in pretrained.vlm.vision.state_dict().items())


def test_words_change_the_actions():
    policy = sagr()
    context = contexts_of(policy)[0]
    state = policy.initial_state(3)
    words = context.now[TOKENS_KEY].map(lambda ids: (ids.clamp(min=0) + 3) % 16)
    other = replace(context, now={**context.now, TOKENS_KEY: words})
    assert (policy.act(context, state)[0].value - policy.act(other, state)[0].value).abs().max() > 1e-4


def test_the_robots_state_changes_the_actions():
    policy = sagr()
    context = contexts_of(policy)[0]
    moved = context.now[STATE_KEY].map(lambda state: state + 1.0)
    other = replace(context, now={**context.now, STATE_KEY: moved})
    state = policy.initial_state(3)
    assert (policy.act(context, state)[0].value - policy.act(other, state)[0].value).abs().max() > 1e-4


def test_a_frame_is_read_once_and_nothing_waits_for_the_device(monkeypatch):
    monkeypatch.setattr(LLMBackbone, "_check_vocabulary", lambda self, ids: None)  # this and the next on a CPU alone
    monkeypatch.setattr(lm_attention, "reading_waits", lambda device: True)
    policy = sagr(**FULL).train()
    sample = sample_of(policy)

    class Waits(TorchDispatchMode):
        count = 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            waits = ("_local_scalar_dense", "nonzero", "is_nonzero", "equal", "masked_select")
            self.count += function.overloadpacket.__name__ in waits
            return function(*args, **kwargs or {})

    with Waits() as waits:
        policy(sample, Progress(3, 10))
    assert waits.count == 0


def test_losses_and_sampling_are_float32_under_autocast():
    policy = sagr().train()
    sample = sample_of(policy)
    with torch.autocast("cpu", torch.bfloat16):
        terms = policy(sample)
    for name in ("action_loss", "dyn_loss"):
        assert terms[name].prediction.dtype == terms[name].target.dtype == torch.float32


def test_figures_have_the_names_that_users_look_for():
    policy = sagr(**FULL)
    terms = policy(sample_of(policy))
    temporal = {f"debug/temporal/{name}" for name in ("has_image_tk", "valid_tk_ratio", "task_tokens_next_available")}
    schedule = {f"debug/sagr_schedule/{name}" for name in ("phase", "alpha", "loss_w_fm", "loss_w_dyn", "loss_w_geo")}
    losses = {f"debug/{place}/loss_{name}" for place in ("sagr", "loss") for name in ("cfm", "dyn", "geo", "reg")}
    weights = {f"debug/loss/weight_{name}" for name in ("fm", "dyn", "geo", "reg")} | {"debug/loss/valid_tk_ratio"}
    assert temporal | schedule | losses | weights <= set(terms)
    figures = values(policy, sample_of(policy))
    assert figures["debug/loss/loss_dyn"] == figures["dyn_loss"]
    assert not any(isinstance(term, LossTerm) for name, term in terms.items() if name.startswith("debug/"))


def test_a_camera_that_fails_is_left_out_of_the_target():
    policy = sagr()
    sample = sample_of(policy)
    rows = torch.tensor([True, False, False, False])
    future = {**sample.future, FRONT: invalid(sample.future[FRONT], rows)}
    assert policy(replace(sample, future=future))["dyn_loss"].valid.tolist() == [False, True, True, True]


def test_a_camera_that_a_body_lacks_costs_neither_the_row_nor_its_target():
    policy = sagr(optional_cameras=(WRIST,))
    sample = sample_of(policy)
    lacking = torch.tensor([True, True, False, False])
    failing = torch.tensor([False, False, True, False])
    now = {**sample.context.now, WRIST: invalid(sample.context.now[WRIST], lacking)}
    past = {**sample.context.past, WRIST: invalid(sample.context.past[WRIST], lacking)}
    future = {**sample.future, WRIST: invalid(sample.future[WRIST], lacking | failing)}
    terms = policy(replace(sample, context=replace(sample.context, now=now, past=past), future=future))
    assert terms["action_loss"].valid.all()
    assert terms["dyn_loss"].valid.tolist() == [True, True, False, True]
    assert terms["reg_loss"].valid.all()
