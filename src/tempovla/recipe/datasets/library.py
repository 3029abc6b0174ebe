"""Earlier episodes for a policy that retrieves, beside those that it trains on."""

from __future__ import annotations

import logging
from typing import Any

from tempovla.control.library import encode_episodes, hold, retrieves, shared_episode
from tempovla.data.open import open_source
from tempovla.recipe.datasets.dataset import Recipe
from tempovla.recipe.datasets.dataset_mixture import DatasetMixture
from tempovla.recipe.datasets.fits import check_fits
from tempovla.timeline import EpisodeSource
from tempovla.timeline.arguments import with_noun
from tempovla.transform.pipeline import TransformPipeline

LOGGER = logging.getLogger(__name__)


def open_library(policy: Any, recipe: Recipe, data: DatasetMixture) -> EpisodeSource | None:
    """Return the recipe's library; None for a phase of training without the context.

    Raises:
        ValueError: if there is no such dataset, or it does not fit the policy, or holds an episode that is trained on.
    """
    if not retrieves(policy):
        return None
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
    longest = max((source.episode(index).length for index in range(len(source))), default=0)
    try:
        policy.context.retrieval.check_room(len(source), -(-longest // policy.frame_stride))
    except ValueError as problem:
        raise ValueError(f"data.library={place}: {problem}") from None
    return source


def fill_library(policy: Any, transform: TransformPipeline, library: EpisodeSource, place: str | None) -> None:
    """Encode a library, and let the policy look it up.

    Args:
        policy: retrieves.
        transform: prepares observations and actions as in training.
        library: as `open_library` returned it.
        place: `data.library` of the recipe, for messages.

    Raises:
        ValueError: if the library does not fit the policy.
    """
    memory = encode_episodes(library, policy, transform)
    hold(policy, memory, f"data.library={place}")
    known, frames = with_noun(len(memory), "earlier episode"), with_noun(memory.num_steps, "frame")
    LOGGER.info("%s: %s of %s can be looked up", place, known, frames)
