import math

import pytest
import torch

from tempovla.timeline.noise import mix_seed, row_integers, row_normal, row_seeds, row_uniform

SEED = torch.arange(64)

GOLDEN_UNIFORM = [[0.6524484753608704, 0.7012121081352234], [0.34329187870025635, 0.9557467103004456]]
GOLDEN_NORMAL = [
    [-1.103284478187561, -0.8622280955314636, 0.9468094706535339],
    [-0.9137064814567566, 2.276808023452759, 0.07855985313653946],
]
GOLDEN_INTEGERS = [[1, 2, -1, 1], [-1, 4, 0, -4]]


def splitmix64(seed: int, salt: int) -> int:
    """The finaliser in whole numbers, as written in Steele et al. (2014)."""
    mask = (1 << 64) - 1
    bits = (seed + 0x9E3779B97F4A7C15 * (salt + 1)) & mask
    bits = ((bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9) & mask
    bits = ((bits ^ (bits >> 27)) * 0x94D049BB133111EB) & mask
    return bits ^ (bits >> 31)


@pytest.mark.parametrize("salt", [0, 1, 2, 0x5348, -5, 2**40, 2**63 - 2])
def test_mixing_equals_splitmix64(salt):
    seeds = [0, 1, -1, 12345, 2**63 - 1, -(2**63)]
    mixed = mix_seed(torch.tensor(seeds), salt)
    assert [int(bits) % 2**64 for bits in mixed] == [splitmix64(seed % 2**64, salt) for seed in seeds]
    assert torch.equal(mixed, mix_seed(torch.tensor(seeds), torch.tensor(salt)))


def test_golden_values():
    seed = torch.tensor([0, 42])
    assert mix_seed(seed, 0).tolist() == [-2152535657050944081, -4767286540954276203]
    torch.testing.assert_close(row_uniform(seed, (2,)), torch.tensor(GOLDEN_UNIFORM), rtol=0, atol=0)
    torch.testing.assert_close(row_normal(seed, (3,)), torch.tensor(GOLDEN_NORMAL), rtol=0, atol=1e-6)
    assert row_integers(seed, -4, 5, (4,)).tolist() == GOLDEN_INTEGERS


def test_uniform_is_flat():
    draws = row_uniform(torch.arange(2000), (100,)).flatten()
    assert 0.0 <= draws.min() < 1e-4
    assert 1.0 - 1e-4 < draws.max() < 1.0
    counts = torch.histc(draws, bins=20, min=0, max=1)
    chi_square = ((counts - 10_000) ** 2 / 10_000).sum()
    assert chi_square < 43.8  # 0.1% of a chi-square with 19 degrees of freedom lies above


def test_normal_has_the_moments_and_tails_of_a_normal():
    draws = row_normal(torch.arange(2000), (101,)).double().flatten()
    assert abs(draws.mean()) < 4 / math.sqrt(len(draws))
    assert abs(draws.var() - 1) < 4 * math.sqrt(2 / len(draws))
    assert abs((draws**3).mean()) < 4 * math.sqrt(15 / len(draws))
    assert abs((draws**4).mean() - 3) < 4 * math.sqrt(96 / len(draws))
    assert 0.0455 * 0.95 < (draws.abs() > 2).double().mean() < 0.0455 * 1.05
    assert draws.isfinite().all()


def test_integers_cover_their_range_evenly():
    draws = row_integers(torch.arange(9000), -4, 5)
    assert draws.unique().tolist() == list(range(-4, 5))
    counts = torch.bincount(draws + 4).double()
    assert ((counts - 1000) ** 2 / 1000).sum() < 26.1  # 0.1% of a chi-square with 8 degrees of freedom


@pytest.mark.parametrize("draw", [row_uniform, row_normal])
def test_a_row_follows_from_its_seed_alone(draw):
    together = draw(SEED, (7, 3))
    assert torch.equal(draw(SEED.flip(0), (7, 3)), together.flip(0))
    for row in (0, 1, 31, 63):
        assert torch.equal(draw(SEED[row : row + 1], (7, 3))[0], together[row])


@pytest.mark.parametrize("draw", [row_uniform, row_normal])
def test_the_global_generator_is_left_alone(draw):
    before = torch.random.get_rng_state()
    first = draw(SEED, (5,))
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(1)
    assert torch.equal(draw(SEED, (5,)), first)


def correlation(a, b):
    return float(torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1])


@pytest.mark.parametrize("draw", [row_uniform, row_normal])
def test_streams_neighbouring_seeds_and_neighbouring_draws_are_independent(draw):
    seed = torch.arange(1000)
    first = draw(seed, (100,))
    limit = 4 / math.sqrt(first.numel())
    for stream in (1, 2, 3):
        assert abs(correlation(first, draw(seed, (100,), stream=stream))) < limit
    assert abs(correlation(first[:-1], first[1:])) < limit
    assert abs(correlation(first[:, :-1], first[:, 1:])) < limit
    assert abs(correlation(first[:, :50], first[:, 50:])) < limit  # cosine and sine of one Box-Muller pair


def test_mixed_seeds_do_not_collide():
    seeds = torch.stack([mix_seed(torch.arange(1000), salt) for salt in range(50)])
    assert seeds.unique().numel() == 50_000


def test_scalar_shapes_and_odd_counts():
    assert row_uniform(SEED).shape == (64,)
    assert row_normal(SEED).shape == (64,)
    assert row_normal(SEED, (3, 5)).shape == (64, 3, 5)


def test_row_seeds_are_those_given_or_drawn_from_the_generator_named():
    assert torch.equal(row_seeds(SEED, 64), SEED)
    drawn = row_seeds(torch.Generator().manual_seed(3), 5)
    assert drawn.dtype == torch.int64
    assert drawn.unique().numel() == 5
    assert torch.equal(drawn, row_seeds(torch.Generator().manual_seed(3), 5))
    torch.manual_seed(3)
    first = row_seeds(None, 5)
    assert torch.equal(first, drawn)
    assert not torch.equal(row_seeds(None, 5), first)


def test_row_seeds_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"row seeds \(64,\) \(torch.int64\) must be \(5,\) int64"):
        row_seeds(SEED, 5)
    with pytest.raises(ValueError, match=r"row seeds \(64,\) \(torch.float32\) must be \(64,\) int64"):
        row_seeds(SEED.float(), 64)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_every_device_draws_the_same():
    seed = SEED.to("cuda")
    assert torch.equal(row_uniform(seed, (50,)).cpu(), row_uniform(SEED, (50,)))
    assert torch.equal(row_integers(seed, -4, 5, (50,)).cpu(), row_integers(SEED, -4, 5, (50,)))
    torch.testing.assert_close(row_normal(seed, (50,)).cpu(), row_normal(SEED, (50,)), rtol=0, atol=2e-6)
