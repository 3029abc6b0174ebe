"""Earlier episodes for a policy that retrieves, beside those that it trains on."""

from __future__ import annotations

import logging
from typing import Any

from tempovla.control.library import encode_episodes, hold, retrieves, shared_episode
from tempovla.data.open import open_source
from tempovla.recipe.datasets.dataset import Recipe, check_fits
from tempovla.recipe.datasets.dataset_mixture import DatasetMixture
from tempovla.transform.pipeline import TransformPipeline

LOGGER = logging.getLogger(__name__)


def fill_library(policy: Any, transform: TransformPipeline, recipe: Recipe, data: DatasetMixture) -> None:
    """Encode the recipe's library, and let the policy look it up.

    Raises:
        ValueError: if the library does not fit the policy, or holds an episode that is trained on.
    """
    if not retrieves(policy):  # a phase without the context
        return
    place = recipe.data.library
    assert place is not None
    source = open_source(place, keys=recipe.data.stream_keys, default_instruction=recipe.data.default_instruction)
    check_fits(recipe.model, source)
    shared = shared_episode(source, data.only)
    if shared is not None:
        raise ValueError(
            f"data.library={place}: its episode {shared[0]} is episode {shared[1]} of the training data, in which the "
            "policy would look up its own future; give other episodes"
        )
    memory = encode_episodes(source, policy, transform)
    hold(policy, memory, f"data.library={place}")
    LOGGER.info("%s: %d earlier episodes of %d frames can be looked up", place, len(memory), memory.num_steps)
