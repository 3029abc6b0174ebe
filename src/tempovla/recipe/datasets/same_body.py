"""Checks that a dataset was recorded with the body that a policy learned to move: control rate and dimensions."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tempovla.recipe.datasets.dataset_mixture import DatasetMixture
from tempovla.storage.said_by import said_by
from tempovla.timeline import Embodiment, EpisodeSource
from tempovla.timeline.bundle import read_meta

LOGGER = logging.getLogger(__name__)
SAME_RATE = 1 / 500
"""Largest relative difference of two rates that count as equal, such as 29.97 and 30."""


def check_same_body(where: str, trained: Embodiment, source: EpisodeSource, *, reads_state: bool) -> None:
    """Refuse demonstrations that cannot be compared with a policy's actions; warn where names alone differ.

    Args:
        where: the policy, for messages.
        trained: the body that it learned to move.
        source: the demonstrations.
        reads_state: whether the policy reads the state.

    Raises:
        ValueError: if they are of another control rate, or their dimensions are the same in another order.
    """
    body = source.embodiment
    if _is_other_rate(trained, body):
        raise ValueError(
            f"{source.name}: is recorded at {body.rate_hz:g} Hz, but {where} learned at {trained.rate_hz:g} Hz, so its "
            f"steps have another length; give demonstrations at {trained.rate_hz:g} Hz"
        )
    for what, learned, here in _other_names(trained, body, reads_state=reads_state):
        if sorted(learned) == sorted(here):
            raise ValueError(
                f"{source.name}: the dimensions of its {what} are {list(here)}, but those that {where} learned are "
                f"{list(learned)}, the same in another order; give demonstrations in that order"
            )
        LOGGER.warning(
            "%s: the dimensions of its %s are called %s, and those that %s learned are called %s; they are taken to "
            "be the same, in this order",
            source.name,
            what,
            list(here),
            where,
            list(learned),
        )


def warn_of_other_body(checkpoint: str | Path | None, data: DatasetMixture, *, reads_state: bool) -> None:
    """Warn where training starts from a policy of another control rate, or one whose dimensions have other names.

    That may be meant: the policy then learns the new body.

    Args:
        checkpoint: bundle that training starts from. Without one, or with one of several bodies, nothing is checked.
        data: the new training data.
        reads_state: whether it reads the state.
    """
    if checkpoint is None or not (Path(checkpoint) / "bundle.json").is_file():
        return
    meta = read_meta(checkpoint)
    if meta["provenance"].get("datasets"):
        return
    with said_by(Path(checkpoint) / "bundle.json", remedy="copy the checkpoint again"):
        trained = Embodiment.from_json(meta["embodiment"])
    for one in (member.source for member in data.members):
        if _is_other_rate(trained, one.embodiment):
            LOGGER.warning(
                "%s: learned at %g Hz, and %s is recorded at %g Hz: its steps have another length",
                checkpoint,
                trained.rate_hz,
                one.name,
                one.embodiment.rate_hz,
            )
        for what, learned, here in _other_names(trained, one.embodiment, reads_state=reads_state):
            LOGGER.warning(
                "%s: the dimensions of the %s that it learned are %s, and those of %s are %s: it will apply what it "
                "learned of the former to the latter",
                checkpoint,
                what,
                list(learned),
                one.name,
                list(here),
            )


def _is_other_rate(trained: Embodiment, body: Embodiment) -> bool:
    return abs(body.rate_hz - trained.rate_hz) > SAME_RATE * trained.rate_hz


def _other_names(
    trained: Embodiment, body: Embodiment, *, reads_state: bool
) -> Iterator[tuple[str, tuple[str, ...], tuple[str, ...]]]:
    """Of the state and the action, the names that were learned and those that are here, where both are and differ."""
    pairs = [("action", trained.action_names, body.action_names)]
    if reads_state:
        pairs.append(("state", trained.state_names, body.state_names))
    for what, learned, here in pairs:
        if learned and here and tuple(learned) != tuple(here):
            yield what, tuple(learned), tuple(here)


@contextmanager
def remedied_by_another_dataset(where: str) -> Iterator[None]:
    """Give errors about a dataset the remedy that is left once a policy is trained, in place of training's settings.

    Raises:
        ValueError: with the same complaint.
    """
    try:
        yield
    except ValueError as problem:
        complaint, _, remedy = str(problem).rpartition("; ")
        if not re.search(r"(^|[ -])(data|model|transform|training)\.\w|--depth-unit", remedy):
            raise
        raise ValueError(f"{complaint}; give a dataset like the one that {where} was trained on") from problem
