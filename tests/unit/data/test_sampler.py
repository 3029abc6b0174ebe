"""Orders are shuffled by epoch, complete, shared among ranks, mixed by weight and resumed exactly."""

from itertools import islice

import numpy as np
import pytest
import torch

from tempovla.data.sampler import MixtureSampler


def sampler(lengths: tuple[int, ...] = (10,), weights: tuple[float, ...] = (1.0,), batch_size: int = 4, **more):
    return MixtureSampler(lengths, weights, batch_size, **{"seed": 7, **more})


def test_each_epoch_holds_every_sample_once_in_another_order() -> None:
    batches = list(islice(sampler(batch_size=5), 4))
    first = np.concatenate([b.index for b in batches[:2]])
    second = np.concatenate([b.index for b in batches[2:]])
    assert sorted(first) == sorted(second) == list(range(10))
    assert first.tolist() != second.tolist()


def test_batches_run_on_into_the_next_epoch_so_that_none_is_dropped() -> None:
    drawn = np.concatenate([b.index for b in islice(sampler(batch_size=4), 5)])
    assert np.bincount(drawn).tolist() == [2] * 10


def test_epochs_end_the_order_with_what_is_left() -> None:
    assert [len(b.index) for b in sampler(batch_size=4, epochs=1)] == [4, 4, 2]


@pytest.mark.parametrize(("lengths", "weights"), [((10,), (1.0,)), ((10, 4), (1.0, 2.0))])
def test_batches_of_all_ranks_joined_are_those_of_one_process(lengths, weights) -> None:
    whole = list(islice(sampler(lengths, weights, batch_size=6), 5))
    ranks = [list(islice(sampler(lengths, weights, 3, rank=rank, world_size=2), 5)) for rank in (0, 1)]
    for one, parts in zip(whole, zip(*ranks, strict=True), strict=True):
        np.testing.assert_array_equal(one.index, np.concatenate([part.index for part in parts]))
        np.testing.assert_array_equal(one.source, np.concatenate([part.source for part in parts]))
        assert torch.equal(one.seed, torch.cat([part.seed for part in parts]))


def test_resumed_order_equals_the_uninterrupted_one() -> None:
    whole = list(islice(sampler((10, 4), (1.0, 2.0)), 8))
    before = sampler((10, 4), (1.0, 2.0))
    list(islice(before, 3))
    after = sampler((10, 4), (1.0, 2.0))
    after.load_state_dict(before.state_dict())
    for expected, got in zip(whole[3:], islice(after, 5), strict=True):
        np.testing.assert_array_equal(expected.source, got.source)
        np.testing.assert_array_equal(expected.index, got.index)
        assert torch.equal(expected.seed, got.seed)


def test_resuming_with_other_data_is_refused() -> None:
    with pytest.raises(ValueError, match="lengths"):
        sampler((11,)).load_state_dict(sampler((10,)).state_dict())


@pytest.mark.parametrize("drawn", [[1, 2], [-1], [10**30], ["a"], [True], [1.5], 3, []])
def test_counts_that_are_none_are_refused(drawn) -> None:
    saved = sampler().state_dict() | {"drawn": drawn}
    for take in (sampler().load_state_dict, sampler().take_up_changed):
        with pytest.raises(ValueError, match=r"sampler: drawn is .*; it must be a list of 1 counts of samples from 0"):
            take(saved)


def test_weights_decide_how_often_a_source_is_drawn() -> None:
    drawn = np.concatenate([b.source for b in islice(sampler((1000, 10), (1.0, 3.0), 100), 100)])
    assert abs(drawn.mean() - 0.75) < 0.02


def test_each_source_of_a_mixture_goes_through_its_own_epochs() -> None:
    batches = list(islice(sampler((50, 5), (1.0, 1.0), 20), 10))
    source, index = (np.concatenate([getattr(b, name) for b in batches]) for name in ("source", "index"))
    small = index[source == 1]
    complete = small[: len(small) // 5 * 5].reshape(-1, 5)
    assert (np.sort(complete, axis=1) == np.arange(5)).all()


def test_seed_of_a_sample_depends_on_run_epoch_and_sample_but_not_on_the_batch() -> None:
    def seeds(batch_size: int, seed: int = 7) -> dict[int, int]:
        one_epoch = sampler(batch_size=batch_size, seed=seed, epochs=1)
        return {int(i): int(s) for b in one_epoch for i, s in zip(b.index, b.seed, strict=True)}

    assert seeds(4) == seeds(3)
    assert len(set(seeds(4).values())) == 10
    assert not set(seeds(4).values()) & set(seeds(4, seed=8).values())
    two_epochs = torch.cat([b.seed for b in sampler(epochs=2)])
    assert len(two_epochs.unique()) == 20
