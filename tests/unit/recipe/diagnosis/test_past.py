"""What a policy sees of its past, and that what it does in full context is what control would do."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.contract.registry import POLICIES
from tests.contract.toys import ACTION, FRONT, STATE
from tests.unit.recipe.remembering import demonstrations, episodes, ignores_the_past

from tempovla.data.memory import MemoryEpisode, MemorySource
from tempovla.recipe.diagnosis.frames import encode
from tempovla.recipe.diagnosis.past import act_on, donors_of, last_frames, of_another, shuffled
from tempovla.timeline import Embodiment, Track
from tempovla.timeline.keys import LANGUAGE_KEY, TOKENS_KEY
from tempovla.timeline.noise import mix_seed
from tempovla.timeline.source import StreamInfo
from tempovla.transform.pipeline import TransformPipeline

WRIST = "observation.images.wrist"


@pytest.fixture(scope="module")
def decisions():
    """Of episodes of 3, 2 and 4 frames."""
    source = episodes(lambda state, random: state, (5, 4, 7))
    return encode(demonstrations(source, ignores_the_past()), ignores_the_past(), 4)[0]


def rows(past) -> list[list[int]]:
    return [frame[valid].tolist() for frame, valid in zip(past.frame, past.valid, strict=True)]


def test_the_last_frames_stay_in_their_episode(decisions):
    assert decisions.number.tolist() == [0, 1, 2, 0, 1, 0, 1, 2, 3]
    assert rows(last_frames(decisions, 2)) == [[0], [0, 1], [1, 2], [3], [3, 4], [5], [5, 6], [6, 7], [7, 8]]
    assert rows(last_frames(decisions))[-1] == [5, 6, 7, 8]
    past = last_frames(decisions, 3)
    assert past.valid[0].tolist() == [False, False, True]


def test_a_shuffled_past_has_the_same_frames_and_the_own_one_last(decisions):
    before, after = rows(last_frames(decisions)), rows(shuffled(last_frames(decisions), 0))
    assert [sorted(row) for row in after] == before
    assert [row[-1] for row in after] == list(range(9))
    assert rows(shuffled(last_frames(decisions), 0)) == after
    assert any(rows(shuffled(last_frames(decisions), seed))[-1] != before[-1] for seed in range(3))


def test_another_episode_lends_its_beginning_as_far_as_it_goes(decisions):
    found = rows(of_another(last_frames(decisions), decisions, [1, 2, 0]))
    assert found[:3] == [[0], [3, 1], [3, 4, 2]]
    assert found[3:5] == [[3], [5, 4]]
    assert found[5:] == [[5], [0, 6], [0, 1, 7], [0, 1, 2, 8]]
    assert rows(of_another(last_frames(decisions), decisions, [1, 0, 1]))[-1] == [3, 4, 8]  # episode 1 has two


def test_everyone_gets_a_past_of_the_same_instruction_where_there_is_one():
    words = ["a", "b", "a", "c", "a", "b"]
    for seed in range(5):
        donors = donors_of(words, seed)
        assert all(donor != own for own, donor in enumerate(donors))
        assert [words[donor] for own, donor in enumerate(donors) if words[own] != "c"] == ["a", "b", "a", "a", "b"]


class Words:
    """Instructions as a tiny policy reads them, for tests alone."""

    def forward(self, context, future):
        batch = context.batch_size
        tokens = Track.of(torch.arange(6).expand(batch, 1, 6), (0,))
        language = Track.of(torch.linspace(-1, 1, 12).expand(batch, 1, 12), (0,))
        return replace(context, now={**context.now, TOKENS_KEY: tokens, LANGUAGE_KEY: language}), future


def recorded(lengths=(7, 5, 10)) -> MemorySource:
    random = np.random.default_rng(1)
    shapes = {STATE: (3,), ACTION: (4,), FRONT: (3, 16, 16), WRIST: (3, 16, 16)}
    kinds = {STATE: "state", ACTION: "action", FRONT: "image", WRIST: "image"}
    streams = {
        key: StreamInfo(kinds[key], shape, "uint8" if len(shape) == 3 else "float32", 10.0)
        for key, shape in shapes.items()
    }
    made = []
    for length in lengths:
        values = {
            key: random.integers(0, 256, (length, *shape), dtype=np.uint8)
            if len(shape) == 3
            else random.normal(size=(length, *shape)).astype(np.float32)
            for key, shape in shapes.items()
        }
        made.append(MemoryEpisode("open the drawer", length, values))
    return MemorySource("recorded", Embodiment("toy", 3, 4, 10.0), streams, made, {})


CASES = ("vla-mlp-transformer-hierarchical", "vla-mlp-gru-buffer", "vla-flow-matching-all")


def lively(name: str):
    """A policy of the registry with no parameter that hides behind a zero."""
    policy = POLICIES[name].build()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return policy


@pytest.mark.parametrize("name", [*CASES, "statevla-policy-all"])
@torch.no_grad()
def test_full_context_is_what_stepping_the_policy_gives(name):
    with torch.enable_grad():
        policy = lively(name)
    looked_at = demonstrations(recorded(), policy, TransformPipeline([Words()]))
    decisions, encoded = encode(looked_at, policy, 4)
    found = act_on(policy, decisions, encoded, last_frames(decisions), 3)
    stepped, two = [], []
    state, before = policy.initial_state(1), None
    for context, part in looked_at.batches("cpu", 1):
        state = policy.with_seeds(state, mix_seed(torch.tensor([3]), part.episode))
        chunk, state = policy.act(context, state)
        stepped.append(chunk.value[:, :2])
        short = policy.with_seeds(policy.initial_state(1), mix_seed(torch.tensor([3]), part.episode))
        if not bool(context.first):
            _, short = policy.act(replace(before, first=torch.ones(1, dtype=torch.bool)), short)
        short = replace(short, noise=replace(short.noise, decision=part.number))
        two.append(policy.act(context, short)[0].value[:, :2])
        before = context
    assert torch.allclose(found, torch.cat(stepped), rtol=1e-4, atol=1e-4)
    found = act_on(policy, decisions, encoded, last_frames(decisions, 2), 64)
    assert torch.allclose(found, torch.cat(two), rtol=1e-4, atol=1e-4)
    assert (found - torch.cat(stepped)).abs().max() > 2e-3  # far beyond the tolerance of what is the same
