"""Instructions that a policy has never heard."""

from __future__ import annotations

import logging

from tempovla.control.new_words import warn_of_new_words

TRAINED = {"instructions": ["open the drawer", "push the block"]}


def test_a_typing_error_is_warned_of_with_what_was_meant(caplog):
    with caplog.at_level(logging.WARNING, "tempovla"):
        warn_of_new_words(["opne the drawer", "opne the drawer", "open the drawer"], TRAINED)
        warn_of_new_words(["xyz"], TRAINED)
        warn_of_new_words(["anything"], {})
        warn_of_new_words([20_000 * "a"], TRAINED)
    assert caplog.messages == [
        "the policy was never told 'opne the drawer' in training; the nearest that it was told is 'open the drawer'",
        "the policy was never told 'xyz' in training",
        f"the policy was never told '{59 * 'a'}... in training",
    ]
