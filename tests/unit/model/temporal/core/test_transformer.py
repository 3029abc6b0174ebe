import torch

from tempovla.model.temporal.core.base import newest_entries
from tempovla.model.temporal.core.transformer import rotary_table, visible_keys


def column(*numbers):
    return torch.tensor(numbers, dtype=torch.float32).view(1, -1, 1)


def test_new_valid_entries_push_the_oldest_out():
    kept = torch.cat([column(1, 2, 3)] * 3)
    new = torch.cat([column(4, 5)] * 3)
    newest = newest_entries(kept, new, torch.tensor([2, 1, 0]))
    assert newest.squeeze(2).tolist() == [[3, 4, 5], [2, 3, 4], [1, 2, 3]]
    assert newest_entries(kept[:1], column(4, 5, 6, 7), None).flatten().tolist() == [5, 6, 7]


def test_a_step_sees_the_filled_entries_of_its_window():
    age, seen = visible_keys(2, 3, 3, torch.tensor([3, 1]), torch.device("cpu"))
    assert age.tolist() == [[3, 2, 1, 0, -1], [4, 3, 2, 1, 0]]
    assert seen.int().tolist() == [
        [[0, 1, 1, 1, 0], [0, 0, 1, 1, 1]],
        [[0, 0, 1, 1, 0], [0, 0, 1, 1, 1]],
    ]


def test_equal_distances_turn_alike_far_from_the_start():
    cos, sin = rotary_table(2000, 16)
    turned = cos[7:] * cos[:-7] + sin[7:] * sin[:-7]
    torch.testing.assert_close(turned, turned[:1].expand_as(turned), rtol=0, atol=1e-6)
