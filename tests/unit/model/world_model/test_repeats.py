"""Actions that are each done for several control steps."""

from __future__ import annotations

import torch

from tempovla.model.world_model.repeats import repeated_actions
from tempovla.timeline import Track


def test_an_action_is_known_where_it_was_done_all_the_time():
    value = torch.tensor([[1.0, 1.0, 2.0, 3.0, 4.0, 4.0, 5.0, 5.0]])[..., None]
    valid = torch.tensor([[True, True, True, True, True, True, True, False]])
    actions, known = repeated_actions(Track(value, valid, torch.arange(8)), 2)
    assert known.tolist() == [[True, False, True, False]]
    assert actions[0, :, 0].tolist() == [1.0, 0.0, 4.0, 0.0]
    singles, each = repeated_actions(Track(value, valid, torch.arange(8)), 1)
    assert torch.equal(each, valid)
    assert singles[0, :, 0].tolist() == [1.0, 1.0, 2.0, 3.0, 4.0, 4.0, 5.0, 0.0]


def test_what_is_not_valid_does_not_count():
    value = torch.tensor([[[1.0], [torch.nan]]])
    actions, known = repeated_actions(Track(value, torch.tensor([[True, False]]), torch.arange(2)), 2)
    assert (actions.tolist(), known.tolist()) == ([[[0.0]]], [[False]])
