"""The rule of consolidation, by examples that were worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from tempovla.model.temporal.memory.consolidation import MAX_WEIGHT, LongTerm, consolidate
from tempovla.model.temporal.memory.hierarchical import HierarchicalMemory


def at(*degrees):
    """Unit vectors (N, 2) at these angles."""
    return torch.tensor([[math.cos(math.radians(angle)), math.sin(math.radians(angle))] for angle in degrees])


def take_in(memory, vectors, threshold=0.5, valid=True):
    for x in vectors:
        memory = consolidate(memory, x[None], torch.tensor([valid]), threshold)
    return memory


def empty(slots, dim=2):
    return LongTerm(torch.zeros(1, slots, dim), torch.zeros(1, slots))


def expect(memory, entries, weight):
    torch.testing.assert_close(memory.entries[0], torch.as_tensor(entries), atol=1e-6, rtol=0)
    assert memory.weight[0].tolist() == weight


def test_what_is_novel_becomes_an_entry():
    # 90 degrees apart: cosine distance 1, over the threshold of 0.5.
    expect(take_in(empty(3), at(0, 90)), [[1.0, 0], [0, 1], [0, 0]], [1, 1, 0])


def test_what_is_known_is_merged_into_the_nearest():
    # (0, 3) lies on the second entry: distance 0. The mean of (0, 1) and (0, 3) is (0, 2); one more (0, 2) keeps it.
    memory = take_in(empty(3), [*at(0, 90), torch.tensor([0.0, 3.0])])
    expect(memory, [[1.0, 0], [0, 2], [0, 0]], [1, 2, 0])
    expect(take_in(memory, torch.tensor([[0.0, 2.0]])), [[1.0, 0], [0, 2], [0, 0]], [1, 3, 0])


def test_the_threshold_divides_the_novel_from_the_known():
    # 60 degrees: distance 1 - cos 60 = 0.5.
    assert take_in(empty(3), at(0, 60), threshold=0.49).weight.tolist() == [[1, 1, 0]]
    assert take_in(empty(3), at(0, 60), threshold=0.51).weight.tolist() == [[2, 0, 0]]


def test_a_full_memory_merges_the_two_most_alike_to_make_room():
    # Entries at 0, 70 and 200 degrees, then 290: nearest neighbours are 70 (0 to 70, 290 to 0), 90 and 130 apart.
    # 0 and 70 are the closest with 290 and 0; make it clear with 65 instead of 70.
    memory = take_in(empty(3), at(0, 65, 200, 290), threshold=0.3)
    expect(memory, torch.stack([at(0, 65).mean(0), at(290)[0], at(200)[0]]), [2, 1, 1])


def test_a_newcomer_that_is_the_most_alike_to_an_entry_is_merged_itself():
    # Entries at 0, 120 and 240 degrees; 290 is 50 from 240 and novel at 0.3 (1 - cos 50 = 0.357).
    memory = take_in(empty(3), at(0, 120, 240, 290), threshold=0.3)
    expect(memory, torch.stack([*at(0, 120), at(240, 290).mean(0)]), [1, 1, 2])


def test_merging_weighs_by_what_went_in():
    # The first entry is the mean of three vectors (2, 0), the second of one (0, 1); both slots taken, 180 is novel.
    memory = take_in(empty(2), [*torch.tensor([[2.0, 0], [2, 0], [2, 0]]), *at(90), *at(200)], threshold=0.2)
    expect(memory, torch.stack([torch.tensor([1.5, 0.25]), at(200)[0]]), [4, 1])


def test_weights_do_not_grow_without_bound():
    memory = LongTerm(torch.ones(1, 1, 2), torch.full((1, 1), float(MAX_WEIGHT)))
    assert take_in(memory, torch.ones(3, 2)).weight.tolist() == [[MAX_WEIGHT]]


def test_rows_that_are_not_valid_do_not_change():
    memory = take_in(empty(2), at(0, 90))
    for x in at(0, 200):
        expect(take_in(memory, x[None], valid=False), memory.entries[0], [1, 1])


def test_rows_of_a_batch_follow_the_rule_each_for_itself():
    generator = torch.Generator().manual_seed(0)
    x, valid = torch.randn(5, 20, 3, generator=generator), torch.rand(5, 20, generator=generator) > 0.3
    batch = LongTerm(torch.zeros(5, 4, 3), torch.zeros(5, 4))
    for step in range(20):
        batch = consolidate(batch, x[:, step], valid[:, step], 0.2)
    for row in range(5):
        alone = take_in(empty(4, 3), x[row, valid[row]], threshold=0.2)
        torch.testing.assert_close(alone.entries[0], batch.entries[row])
        assert alone.weight[0].tolist() == batch.weight[row].tolist()


def test_only_what_leaves_the_short_term_memory_is_consolidated():
    memory = HierarchicalMemory(2, short_term_slots=2, long_term_slots=3, num_heads=1, novelty_threshold=0.5)
    for x in at(0, 90):
        memory.update(x)
    assert memory.held.weight.tolist() == [[0, 0, 0]]
    for x in at(180, 180):
        memory.update(x)
    expect(memory.held.long, [[1.0, 0], [0, 1], [0, 0]], [1, 1, 0])
    torch.testing.assert_close(memory.held.slots[0], at(180, 180))


def test_reading_gives_both_levels_and_a_mixture_of_them():
    memory = HierarchicalMemory(4, num_heads=2)
    memory.update(torch.randn(3, 4))
    read = memory.read(torch.randn(3, 4))
    assert sorted(read) == ["fused", "long_term", "short_term"]
    low, high = (
        torch.minimum(read["short_term"], read["long_term"]),
        torch.maximum(read["short_term"], read["long_term"]),
    )
    assert ((low - 1e-6 <= read["fused"]) & (read["fused"] <= high + 1e-6)).all()


def test_reset_keeps_the_long_term_memory_unless_told_otherwise():
    memory = HierarchicalMemory(2, short_term_slots=1, long_term_slots=2, num_heads=1)
    for x in at(0, 90):
        memory.update(x)
    memory.reset()
    assert memory.held.count.tolist() == [0]
    assert memory.held.weight.tolist() == [[1, 0]]
    memory.reset(reset_long_term=True)
    assert memory.held.weight.tolist() == [[0, 0]]
    with pytest.raises(ValueError, match="content has 2 rows, the memory 1"):
        memory.update(at(0, 90))
