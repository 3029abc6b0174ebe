import torch
from tests.unit.model.action_head.heads import ACTION, FEATURES, HORIZON, build, random

from tempovla.model.action_head.modes_action_head import ModesActionHead
from tempovla.objective import Objective

VALID = torch.ones(4, HORIZON, dtype=torch.bool)


def test_only_the_nearest_chunk_and_its_class_learn():
    head = build("modes")
    head.relaxation = 0.0
    features = random(4, FEATURES)
    chunks, probability = head.modes(features)
    assert chunks.shape == (4, 3, HORIZON, ACTION)
    torch.testing.assert_close(probability.sum(dim=1), torch.ones(4))
    wanted = chunks[torch.arange(4), torch.tensor([2, 0, 1, 2])].detach() + 1e-3
    terms = head.loss_terms(features, wanted, VALID)
    torch.testing.assert_close(terms["action_loss"].prediction, wanted - 1e-3)
    assert terms["mode_loss"].target.tolist() == [2, 0, 1, 2]
    assert set(terms) == {"action_loss", "mode_loss"}


def test_the_nearest_chunk_is_that_of_the_steps_that_are_known():
    head = build("modes")
    features = random(1, FEATURES)
    chunks, _ = head.modes(features)
    wanted = torch.cat([chunks[:, 1, :2], torch.full((1, HORIZON - 2, ACTION), torch.nan)], dim=1)
    valid = torch.arange(HORIZON)[None] < 2
    terms = head.loss_terms(features, wanted.detach(), valid)
    assert terms["mode_loss"].target.tolist() == [1]
    assert terms["mode_loss"].valid.tolist() == [True]
    unknown = head.loss_terms(features, wanted.detach(), torch.zeros_like(valid))
    assert unknown["mode_loss"].valid.tolist() == [False]


def test_it_acts_by_the_most_probable_chunk():
    head = build("modes")
    features = random(4, FEATURES)
    chunks, probability = head.modes(features)
    best = probability.argmax(dim=1)
    assert torch.equal(head.sample(features), chunks[torch.arange(4), best])


def test_two_futures_become_two_chunks():
    """Of two opposite demonstrations, regression learns the mean, which is neither."""
    torch.manual_seed(0)
    head = ModesActionHead(1, 1, hidden_dim=16, chunk_size=2, num_modes=2)
    optimizer = torch.optim.Adam(head.parameters(), lr=1e-2)
    wanted = torch.tensor([1.0, -1.0]).repeat(8)[:, None, None].expand(16, 2, 1)
    for _ in range(150):
        loss = Objective()(head.loss_terms(torch.ones(16, 1), wanted, torch.ones(16, 2, dtype=torch.bool))).total
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    chunks, probability = head.modes(torch.ones(1, 1))
    ends = sorted(chunks[0, :, -1, 0].tolist())
    assert ends[0] < -0.8
    assert ends[1] > 0.8
    assert 0.3 < probability[0, 0] < 0.7
