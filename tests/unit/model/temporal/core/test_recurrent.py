import torch

from tempovla.model.temporal.core.recurrent import RunningPool


def nothing(batch, dim):
    return torch.zeros(batch, dim), torch.zeros(batch), torch.zeros(batch, dtype=torch.bool)


def pool():
    torch.manual_seed(0)
    pool = RunningPool(4)
    torch.nn.init.normal_(pool.score.weight, std=3.0)
    return pool


def test_every_mean_is_the_softmax_over_the_steps_up_to_it_however_long():
    layer, hidden = pool(), torch.randn(2, 150, 4)
    means, log_weight = layer(hidden, *nothing(2, 4), None)
    scores = layer.score(hidden)
    for step in (0, 1, 63, 64, 65, 149):
        expected = (scores[:, : step + 1].softmax(dim=1) * hidden[:, : step + 1]).sum(1)
        torch.testing.assert_close(means[:, step], expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(log_weight, scores.squeeze(2).logsumexp(dim=1))


def test_steps_behind_a_rows_length_count_for_nothing():
    layer, hidden = pool(), torch.randn(3, 70, 4)
    lengths = torch.tensor([70, 5, 0])
    means, log_weight = layer(hidden, *nothing(3, 4), lengths)
    short, short_weight = layer(hidden[1:2, :5], *nothing(1, 4), None)
    torch.testing.assert_close(means[1, 69], short[0, -1])
    torch.testing.assert_close(log_weight[1], short_weight[0])
    assert log_weight[2] == 0.0


def test_a_new_pool_is_a_plain_mean():
    hidden = torch.randn(2, 7, 4)
    means, _ = RunningPool(4)(hidden, *nothing(2, 4), None)
    torch.testing.assert_close(means[:, -1], hidden.mean(1))


def test_gradients_agree_with_differences():
    layer = pool().double()
    hidden = torch.randn(2, 5, 4, dtype=torch.float64, requires_grad=True)
    mean = torch.randn(2, 4, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(2, dtype=torch.float64, requires_grad=True)
    seen, lengths = torch.tensor([True, False]), torch.tensor([5, 3])
    assert torch.autograd.gradcheck(lambda *given: layer(*given, seen, lengths), (hidden, mean, weight))
