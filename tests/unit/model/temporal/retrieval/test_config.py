"""Options of retrieval: sizes that cannot be built are refused, and unset widths follow from the policy."""

from __future__ import annotations

import pytest

from tempovla.model.temporal.retrieval.config import RetrievalPartConfig


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"top_k": 0}, "RetrievalPartConfig.top_k=0 must be at least 1"),
        ({"match_frames": 0}, "RetrievalPartConfig.match_frames=0 must be at least 1"),
        ({"hidden_dim": 6}, "RetrievalPartConfig.hidden_dim=6 is not divisible by num_heads=4; choose heads"),
        ({"top_k": 9, "max_episodes": 8}, "RetrievalPartConfig.top_k=9 exceeds max_episodes=8; lower it"),
    ],
)
def test_sizes_that_cannot_be_built_are_refused_in_one_line(options, message):
    with pytest.raises(ValueError, match=r".") as error:
        RetrievalPartConfig(**options)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def test_an_unset_width_is_that_of_the_features_rounded_up_to_the_heads():
    assert [RetrievalPartConfig().width(size) for size in (64, 66)] == [64, 68]
    assert RetrievalPartConfig(hidden_dim=8).width(66) == 8
