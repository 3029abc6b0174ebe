"""Instructions that a policy has never heard, such as those with a typing error."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from tempovla.timeline.arguments import brief

LOGGER = logging.getLogger(__name__)


def warn_of_new_words(instructions: Iterable[str], provenance: Mapping[str, Any]) -> None:
    """Warn of each instruction that is none of those of training, where these are known, with the nearest of them."""
    trained = list(provenance.get("instructions", ()))
    for words in dict.fromkeys(instructions):
        if trained and words not in trained:
            near = get_close_matches(words, trained, n=1)
            hint = f"; the nearest that it was told is {brief(near[0])}" if near else ""
            LOGGER.warning("the policy was never told %s in training%s", brief(words), hint)
