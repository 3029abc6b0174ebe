import torch

from tempovla.model.layers.grouped_rows import largest, weighted_sums


def test_sums_and_gradients_are_those_of_the_definition():
    generator = torch.Generator().manual_seed(0)
    table = torch.randn(7, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(40, generator=generator, dtype=torch.float64, requires_grad=True)
    rows, into = (torch.randint(0, high, (40,), generator=generator) for high in (7, 5))
    found = weighted_sums(table, rows, weights, into, 9)
    expected = torch.zeros(9, 3, dtype=torch.float64).index_add(0, into, weights[:, None] * table[rows])
    assert torch.allclose(found, expected, rtol=0, atol=1e-12)
    assert not found[5:].any()
    gradient = torch.randn(9, 3, generator=generator, dtype=torch.float64)
    pairs = zip(*(torch.autograd.grad(each, (table, weights), gradient) for each in (found, expected)), strict=True)
    assert all(torch.allclose(mine, theirs, rtol=0, atol=1e-12) for mine, theirs in pairs)


def test_sums_of_nothing_are_zero():
    nothing = torch.zeros(0, dtype=torch.int64)
    assert not weighted_sums(torch.ones(2, 3), nothing, torch.zeros(0), nothing, 4).any()


def test_largest_values_and_their_gradients_are_those_of_the_definition():
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(30, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    into = torch.randint(0, 5, (30,), generator=generator)
    found = largest(values, into, 7)
    expected = [values[into == group].amax(dim=0) for group in range(5)]
    assert torch.equal(found[:5], torch.stack(expected))
    assert not found[5:].any()
    gradient = torch.randn(7, 3, generator=generator, dtype=torch.float64)
    pairs = [torch.autograd.grad(each, values, gradient[: len(each)])[0] for each in (found, torch.stack(expected))]
    assert torch.equal(*pairs)
