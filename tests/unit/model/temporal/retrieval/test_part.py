"""Retrieval: what an episode of the library says reaches the episodes that are like it, and no others."""

from __future__ import annotations

import pytest
import torch
from tests.contract.policy_cases import seeded
from torch import Tensor

from tempovla.model.temporal.context import Frames
from tempovla.model.temporal.retrieval.config import RetrievalPartConfig
from tempovla.model.temporal.retrieval.part import RetrievalPart

WIDTH, ACTION, EPISODES, LENGTH = 6, 2, 5, 4
LENGTHS = torch.tensor([4, 2, 3, 4, 1])
VALID = torch.arange(LENGTH) < LENGTHS[:, None]


def stored(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Features, actions and validity of five episodes that are far from each other."""
    generator = torch.Generator().manual_seed(seed)
    places = 3 * torch.randn(EPISODES, 1, WIDTH, generator=generator)
    features = places + 0.1 * torch.randn(EPISODES, LENGTH, WIDTH, generator=generator)
    return features, torch.randn(EPISODES, LENGTH, ACTION, generator=generator), VALID


def build(*, library: bool = True, **options: int) -> RetrievalPart:
    sizes = {"hidden_dim": 8, "num_heads": 2, "top_k": 2, "match_frames": 3, "max_episodes": 7, "max_frames": 5}
    part = seeded(lambda: RetrievalPart(RetrievalPartConfig(**sizes | options), WIDTH, ACTION)).eval()
    if library:
        part.hold(*stored())
    return part


def frames(features: Tensor, valid: Tensor | None = None) -> Frames:
    shape = features.shape[:2]
    seen = torch.ones(shape, dtype=torch.bool) if valid is None else valid
    return Frames(features, seen, torch.zeros(*shape, ACTION), torch.zeros_like(seen))


def said(part: RetrievalPart, features: Tensor, valid: Tensor | None = None) -> Tensor:
    with torch.no_grad():
        return part.run(frames(features, valid), part.initial_state(len(features)))[0]


def test_a_frame_of_an_episode_is_most_similar_to_that_episode():
    part, (features, _, _) = build(), stored()
    similarity = part.similarity(features)[..., :EPISODES]
    assert (similarity.argmax(-1)[VALID] == torch.arange(EPISODES)[:, None].expand_as(VALID)[VALID]).all()
    nearest = similarity[VALID].amax(-1)
    torch.testing.assert_close(nearest, torch.zeros_like(nearest), atol=1e-3, rtol=0.0)  # minus a squared distance
    assert (similarity[VALID].sort(-1).values[:, -2] < -1).all()


def test_another_action_in_the_episode_that_is_like_it_changes_what_is_said_and_in_others_nothing():
    part, (features, actions, valid) = build(top_k=1), stored()
    before = said(part, features[:1])
    other = actions.clone()
    other[1:] += 1
    part.hold(features, other, valid)
    torch.testing.assert_close(said(part, features[:1]), before)
    other[0] += 1
    part.hold(features, other, valid)
    assert (said(part, features[:1]) - before).abs().max() > 1e-3


def test_values_beyond_an_episodes_end_are_nothing():
    part, (features, actions, valid) = build(top_k=4), stored()
    before = said(part, features)
    part.hold(torch.where(valid[..., None], features, 1e4), torch.where(valid[..., None], actions, -1e4), valid)
    torch.testing.assert_close(said(part, features), before, atol=1e-6, rtol=1e-6)


def test_only_the_first_frames_decide_which_episodes_are_looked_up():
    part, (features, _, _) = build(match_frames=2), stored()
    began = features[[0, 3]][:, [0, 1, 2]]
    crossed = torch.cat([began[:, :2], began.flip(0)[:, 2:]], dim=1)
    state = part.run(frames(crossed), part.initial_state(2))[1]
    assert state.total[:, :EPISODES].argmax(-1).tolist() == [0, 3]
    torch.testing.assert_close(state.total, part.run(frames(began[:, :2]), part.initial_state(2))[1].total)


def test_frames_that_were_not_seen_do_not_count():
    part, (features, _, _) = build(), stored()
    late = torch.cat([torch.full((1, 2, WIDTH), torch.nan), features[:1, :2]], dim=1)
    valid = torch.tensor([[False, False, True, True]])
    torch.testing.assert_close(said(part, late, valid)[:, 2:], said(part, features[:1, :2]))


def test_fewer_episodes_than_are_to_be_retrieved_are_all_of_them():
    many, one = build(top_k=6), build(top_k=1)
    alone = [tensor[:1] for tensor in stored()]
    for part in (many, one):
        part.hold(*alone)
    torch.testing.assert_close(said(many, stored()[0]), said(one, stored()[0]))


def test_without_a_library_nothing_is_added_and_gradients_are_finite():
    part = build(library=False)
    value, _ = part.run(frames(stored()[0]), part.initial_state(EPISODES))
    assert value.abs().max() == 0
    value.sum().backward()
    assert all(torch.isfinite(weight.grad).all() for weight in part.parameters() if weight.grad is not None)


def test_the_loss_teaches_what_makes_episodes_alike():
    """Of two episodes the one whose actions are wanted becomes the more similar one."""
    part, generator = build(library=False), torch.Generator().manual_seed(1)
    torch.nn.init.zeros_(part.log_sharpness)  # so that neither episode is all that is seen
    features = torch.randn(2, 1, WIDTH, generator=generator)
    actions = torch.tensor([[[5.0, 0.0]], [[-5.0, 0.0]]])
    part.hold(features, actions, torch.ones(2, 1, dtype=torch.bool))
    query = (0.55 * features[0] + 0.45 * features[1])[None] + 0.3 * torch.randn(1, 1, WIDTH, generator=generator)
    wanted = said(build_like(part, 1), query)
    optimizer = torch.optim.Adam([part.match_proj.weight], lr=0.2)
    before = part.similarity(query)[0, 0, :2].detach()
    for _ in range(60):
        value, _ = part.run(frames(query), part.initial_state(1))
        optimizer.zero_grad()
        (value - wanted).square().mean().backward()
        optimizer.step()
    after = part.similarity(query)[0, 0, :2].detach()
    assert before[0] > before[1] + 0.05
    assert after[1] > after[0] + 1


def build_like(part: RetrievalPart, episode: int) -> RetrievalPart:
    """The same part with one episode of its library."""
    other = build(library=False, top_k=1)
    other.load_state_dict(part.state_dict())
    chosen = slice(episode, episode + 1)
    other.hold(part.features[chosen].clone(), part.actions[chosen].clone(), part.valid[chosen].clone())
    return other


def test_half_precision_finds_the_episodes_of_a_large_library():
    sizes = RetrievalPartConfig(hidden_dim=8, num_heads=2, max_episodes=64, max_frames=32)
    part = seeded(lambda: RetrievalPart(sizes, WIDTH, ACTION)).eval()
    generator = torch.Generator().manual_seed(0)
    features = 9 * torch.randn(64, 32, WIDTH, generator=generator)  # the sum of their squares is beyond float16
    part.hold(features, torch.zeros(64, 32, ACTION), torch.ones(64, 32, dtype=torch.bool))
    part.half()
    found = part.similarity(features[:, :3].half()).argmax(-1)
    assert (found == torch.arange(64)[:, None]).float().mean() > 0.95


def test_libraries_that_are_too_large_or_empty_are_refused_in_one_line():
    features, actions, valid = stored()
    with pytest.raises(ValueError, match=r"^the library has 5 episodes, but context.retrieval.max_episodes=4; give a"):
        build(library=False, max_episodes=4).hold(features, actions, valid)
    with pytest.raises(ValueError, match=r"^the library has 4 frames, but context.retrieval.max_frames=3; give a"):
        build(library=False, max_frames=3).hold(features, actions, valid)
    with pytest.raises(ValueError, match=r"^the library has no episode, or one without frames"):
        build(library=False).hold(features, actions, torch.zeros_like(valid))


@pytest.mark.parametrize("value", [9.0, 100.0])
def test_a_policy_in_float16_compares_large_features_as_in_float32(value):
    features, actions, valid = stored()
    features[0, 0] = value
    found = {}
    for dtype in (torch.float32, torch.float16):
        part = build(library=False).to(dtype)
        part.hold(features, actions, valid)
        found[dtype] = part.similarity(features.to(dtype))[..., :EPISODES]
        assert said(part, features.to(dtype)).isfinite().all()
    assert found[torch.float16].dtype == torch.float32
    torch.testing.assert_close(found[torch.float16], found[torch.float32], rtol=2e-2, atol=1.0)


@pytest.mark.parametrize(("value", "dtype"), [(1e30, torch.float32), (torch.nan, torch.float32), (7e4, torch.float16)])
def test_a_library_beyond_what_the_policy_computes_with_is_refused_and_the_one_before_stays(value, dtype):
    part = build().to(dtype)
    before, (features, actions, valid) = part.features.clone(), stored()
    kind = str(dtype).removeprefix("torch.")
    with pytest.raises(ValueError, match=rf"numbers of up to .*, with which this policy cannot compute in {kind}; enc"):
        part.hold(torch.full_like(features, value), actions, valid)
    assert torch.equal(part.features, before)
