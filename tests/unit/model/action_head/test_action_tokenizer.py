"""Action tokens: round trips, and the formula of the public code on the published sizes."""

import numpy as np
import pytest
import torch

from tempovla.model.action_head.action_tokenizer import ActionTokenizer


@pytest.mark.parametrize("num_bins", [2, 16, 256])
def test_actions_come_back_within_half_a_bin(num_bins):
    tokenizer = ActionTokenizer(32000, num_bins)
    actions = torch.cat([torch.linspace(-1, 1, 4001), torch.tensor([-1.0, 0.0, 1.0])]).view(4, -1)
    back = tokenizer.decode(tokenizer.encode(actions))
    assert back.dtype == torch.float32
    assert float((back - actions).abs().max()) <= tokenizer.bin_width / 2 + 1e-6


def test_the_edges_have_the_last_and_the_first_token_and_what_lies_beyond_is_taken_for_them():
    tokenizer = ActionTokenizer()
    assert tokenizer.encode(torch.tensor([-1.0, 1.0, -7.0, 7.0])).tolist() == [31999, 31744, 31999, 31744]
    assert tokenizer.first_token == 31744
    expected = [-1 + 1 / 255, 1 - 1 / 255, 1 - 1 / 255]  # 31744 means what 31745 means
    assert tokenizer.decode(torch.tensor([31999, 31745, 31744])).tolist() == pytest.approx(expected)


def test_tokens_that_are_no_actions_mean_the_nearest_edge():
    tokenizer = ActionTokenizer()
    assert tokenizer.decode(torch.tensor([0, 32063])).tolist() == pytest.approx([1 - 1 / 255, -1 + 1 / 255])


def test_every_token_but_the_upper_edges_stands_for_its_own_action():
    tokenizer = ActionTokenizer()
    tokens = torch.arange(31745, 32000)
    assert torch.equal(tokenizer.encode(tokenizer.decode(tokens)), tokens)


def test_tokens_are_those_of_numpys_digitize_counted_from_the_end():
    actions = np.random.default_rng(0).uniform(-1.2, 1.2, (500, 7)).astype(np.float32)
    counted = 32000 - np.digitize(np.clip(actions, -1, 1), np.linspace(-1, 1, 256))
    assert torch.equal(ActionTokenizer().encode(torch.tensor(actions)), torch.tensor(counted))


def test_more_bins_than_words_are_refused():
    with pytest.raises(ValueError, match="num_bins=256 must be from 2 to the vocabulary's 100"):
        ActionTokenizer(100)
