"""A policy in its context: it acts as it predicted in training, gradients end where they should, windows tile."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from tests.contract.policy_cases import CONTEXTS, in_context, remembering, seeded
from tests.contract.registry import POLICIES
from tests.contract.samples import random_sample
from tests.contract.toys import ACTION, FRONT, STATE
from tests.tiny import tiny_vla_config
from torch import Tensor

from tempovla.model.temporal.context_config import ContextConfig
from tempovla.model.vla.context_policy import ContextPolicy, base_of, base_weights, with_context
from tempovla.model.vla.vla_model import VLAModel
from tempovla.objective import Objective
from tempovla.timeline import Context, TimelineSample, Track
from tempovla.timeline.track import concatenate

SHAPES = POLICIES["vla-mlp"].shapes
KINDS = sorted(CONTEXTS)
ROWS, STRIDE, LENGTH = 3, 2, 5
WHOLE = {"stride": STRIDE, "sequence_length": LENGTH, "burn_in": 0, "bptt_length": None}


def build(kind: str = "all", model: Mapping[str, Any] | None = None, **options: Any) -> ContextPolicy:
    """A tiny VLA with the mlp head and no gripper, so that it acts as it predicts."""
    context = remembering(**CONTEXTS[kind] | WHOLE | options)
    config = tiny_vla_config("mlp", **{"has_gripper": False} | context | (model or {}))
    policy = seeded(lambda: in_context(VLAModel(config)))
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():  # so that no part of the context hides behind a zero
        for weight in policy.context.parameters():
            weight.add_(0.2 * torch.randn(weight.shape, generator=generator))
    return policy


def sample_for(policy: ContextPolicy, start: int = 0) -> TimelineSample:
    """A window of an episode whose first `start` frames lie before its beginning."""
    sample = random_sample(policy.training_windows(), SHAPES, rows=ROWS)
    first = policy.context.config.offsets[start]
    past = {key: unseen_before(track, first) for key, track in sample.context.past.items()}
    return replace(sample, context=replace(sample.context, past=past))


def unseen_before(track: Track, first: int) -> Track:
    return replace(track, valid=track.valid & (track.offset >= first))


def predictions(policy: ContextPolicy, sample: TimelineSample) -> Tensor:
    """(B, T, H, A): what `forward` says at the frames learned from."""
    return policy(sample)["action_loss"].prediction.unflatten(0, (ROWS, -1))


def context_at(policy: ContextPolicy, sample: TimelineSample, offset: int, *, first: bool) -> Context:
    """What control would see at one frame of a training window, in an episode where that was done."""
    now, past = {}, {}
    for key in sample.context.now:
        track = sample.context.track(key)
        chosen = track.select(track.offset == (0 if track.length == 1 else offset))
        now[key] = replace(chosen, offset=torch.tensor([0]))
    done = concatenate(sample.context.past[ACTION], sample.future[ACTION])
    if policy.context.reads_actions:
        before = done.select((done.offset >= offset - STRIDE) & (done.offset < offset))
        past[ACTION] = replace(before, offset=torch.arange(-STRIDE, 0), valid=before.valid & (not first))
    return Context(past, now, sample.context.task, torch.full((ROWS,), first))


@torch.no_grad()
def acted(policy: ContextPolicy, sample: TimelineSample, start: int = 0) -> Tensor:
    """(B, T, H, A): chunks of an episode that begins at frame `start`, decided one after the other."""
    state, chunks = policy.initial_state(ROWS), []
    for offset in policy.context.config.offsets[start:]:
        first = not chunks
        chunk, state = policy.act(context_at(policy, sample, offset, first=first), state)
        chunks.append(chunk.value)
    return torch.stack(chunks, dim=1)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cuts", [{}, {"bptt_length": 2}], ids=["whole", "cut"])
def test_acting_at_the_stride_does_what_training_predicted_for_a_whole_episode(kind, cuts):
    policy = build(kind, **cuts)
    sample = sample_for(policy)
    expected = predictions(policy, sample)
    torch.testing.assert_close(acted(policy, sample), expected, atol=1e-5, rtol=1e-5)
    assert (expected - base_of(policy)(last_frame(sample))["action_loss"].prediction[:, None]).abs().max() > 1e-3


def last_frame(sample: TimelineSample) -> TimelineSample:
    return replace(sample, context=replace(sample.context, past={}))


@pytest.mark.parametrize("kind", KINDS)
def test_frames_before_an_episodes_start_are_as_if_the_window_began_there(kind):
    policy = build(kind)
    sample = sample_for(policy, start=2)
    learned = policy(sample)["action_loss"].prediction
    assert len(learned) == ROWS * (LENGTH - 2)
    expected = acted(policy, sample, start=2)
    torch.testing.assert_close(learned.unflatten(0, (ROWS, -1)), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_warm_frames_are_part_of_the_past_but_not_learned_from(kind):
    """Of the same five frames the last three say the same, whether the first two are learned from or only read."""
    whole, warmed = build(kind), build(kind, sequence_length=3, burn_in=2)
    warmed.load_state_dict(whole.state_dict())
    sample = sample_for(whole)
    torch.testing.assert_close(predictions(warmed, sample), predictions(whole, sample)[:, 2:], atol=1e-5, rtol=1e-5)


def reached(policy: ContextPolicy, *, of: int) -> list[bool]:
    """Whether a prediction's gradient reaches the state seen at each frame of the window."""
    sample = sample_for(policy)
    past, now = (tracks[STATE] for tracks in (sample.context.past, sample.context.now))
    past.value.requires_grad_()
    now.value.requires_grad_()
    total = predictions(policy, sample)[:, of].square().sum()
    found = torch.autograd.grad(total, (past.value, now.value), allow_unused=True)
    sizes = [torch.zeros_like(x) if g is None else g for x, g in zip((past.value, now.value), found, strict=True)]
    return (torch.cat(sizes, dim=1).abs().sum(dim=(0, 2)) > 0).tolist()


def test_a_prediction_reaches_the_frames_of_its_piece_and_no_warm_one():
    assert reached(build("lstm"), of=-1) == [True] * 5
    assert reached(build("lstm", bptt_length=2), of=-1) == [False] * 4 + [True]
    assert reached(build("lstm", bptt_length=2), of=3) == [False, False, True, True, False]
    assert reached(build("lstm", burn_in=2, sequence_length=3), of=-1) == [False] * 2 + [True] * 3


@pytest.mark.parametrize("start", range(LENGTH))
def test_a_batch_without_frames_to_warm_up_is_learned_from_all_the_same(start):
    policy = build("all", burn_in=2, sequence_length=3)
    term = policy(sample_for(policy, start=start))["action_loss"]
    assert len(term.prediction) == ROWS * (LENGTH - max(start, 2))
    assert torch.isfinite(term.prediction).all()


def test_a_batch_without_any_frame_teaches_nothing():
    policy = build("all", burn_in=2, sequence_length=3)
    sample = random_sample(policy.training_windows(), SHAPES, rows=ROWS)
    nowhere = {
        name: {
            key: replace(track, valid=torch.zeros_like(track.valid)) if key != ACTION else track
            for key, track in tracks.items()
        }
        for name, tracks in (("past", sample.context.past), ("now", sample.context.now))
    }
    loss = Objective()(policy(replace(sample, context=replace(sample.context, **nowhere)))).total
    loss.backward()
    assert loss.item() == 0.0
    assert all(not weight.grad.any() for weight in policy.parameters() if weight.grad is not None)


@pytest.mark.parametrize("stride", [1, 2, 5])
@pytest.mark.parametrize("sequence_length", [1, 3, 4])
@pytest.mark.parametrize("burn_in", [0, 2])
def test_training_windows_hold_every_step_of_an_episode_exactly_once(stride, sequence_length, burn_in):
    policy = build("lstm", stride=stride, sequence_length=sequence_length, burn_in=burn_in)
    learned = policy.context.config.offsets[burn_in:]
    for length in range(1, 33):
        ends = policy.window_ends(length)
        assert ends == sorted(set(ends))
        assert all(0 <= end < length for end in ends)
        steps = Counter(end + offset for end in ends for offset in learned if end + offset >= 0)
        assert steps == Counter(range(length))


def test_windows_of_control_hold_the_present_and_the_actions_since_the_last_frame():
    offsets = {window.key: window.offsets for window in build("all").windows()}
    assert offsets[STATE] == offsets[FRONT] == (0,)
    assert offsets[ACTION] == tuple(range(-STRIDE, 5))
    offsets = {window.key: window.offsets for window in build("lstm").windows()}
    assert offsets[ACTION] == tuple(range(5))


def test_windows_of_training_hold_the_frames_and_the_actions_from_before_the_first_one():
    offsets = {window.key: window.offsets for window in build("all", burn_in=1).training_windows()}
    assert offsets[STATE] == offsets[FRONT] == (-10, -8, -6, -4, -2, 0)
    assert offsets[ACTION] == tuple(range(-12, 5))
    offsets = {window.key: window.offsets for window in build("lstm").training_windows()}
    assert offsets[ACTION] == tuple(range(-8, 5))


def test_the_past_of_other_rows_is_no_business_of_a_row():
    policy = build()
    sample = sample_for(policy)
    _, state = policy.act(context_at(policy, sample, -4, first=True), policy.initial_state(ROWS))
    now = context_at(policy, sample, -2, first=False)
    went_on, _ = policy.act(now, state)
    mixed, _ = policy.act(replace(now, first=torch.tensor([False, True, False])), state)
    as_new, _ = policy.act(context_at(policy, sample, -2, first=True), policy.initial_state(ROWS))
    expected = torch.stack([went_on.value[0], as_new.value[1], went_on.value[2]])
    torch.testing.assert_close(mixed.value, expected, atol=1e-6, rtol=1e-6)
    assert (went_on.value[1] - as_new.value[1]).abs().max() > 1e-4


def test_with_a_frozen_base_the_context_and_the_head_learn():
    policy = build("all", freeze_base=True, model={"readout": "all_tokens", "token_dim": 4, "feature_dim": 8})
    learned = {name for name, weight in policy.named_parameters() if weight.requires_grad}
    assert {".".join(name.split(".")[:2]) for name in learned} == {"base.action_head", "context.parts"}
    before = {name: weight.clone() for name, weight in policy.named_parameters()}
    Objective()(policy(sample_for(policy))).total.backward()
    torch.optim.SGD([weight for weight in policy.parameters() if weight.requires_grad], lr=0.1).step()
    moved = {name for name, weight in policy.named_parameters() if not torch.equal(weight, before[name])}
    parts = {".".join(name.split(".")[:3]) for name in moved if name.startswith("context.")}
    assert parts == {"context.parts.temporal", "context.parts.history", "context.parts.memory"}
    assert moved <= learned


def test_a_stride_beyond_the_chunk_is_refused_in_one_line():
    with pytest.raises(ValueError, match=r"context\.stride=6 exceeds the chunk of 5 actions; shorten the stride"):
        build("lstm", stride=6)


def test_a_policy_without_a_context_stays_as_it_is():
    policy = VLAModel(tiny_vla_config("mlp"))
    assert with_context(policy) is policy is base_of(policy)
    inside = ContextPolicy(policy, ContextConfig(**{**WHOLE, "memory": CONTEXTS["working"]["memory"]}))
    assert base_of(inside) is policy
    assert inside.config.context == inside.context.config


def test_weights_of_the_base_are_found_in_either_bundle():
    policy = build()
    own = policy.base.state_dict()
    for weights in (policy.state_dict(), own):
        found = base_weights(weights)
        assert found.keys() == own.keys()
        assert all(torch.equal(found[name], own[name]) for name in own)
