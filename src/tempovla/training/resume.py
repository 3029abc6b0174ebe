"""The identity of a run, the comparison of a checkpoint with the run that goes on from it, and what is refused."""

from __future__ import annotations

import dataclasses
import logging
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

from tempovla.storage.json_files import plain_json
from tempovla.timeline import Bundle
from tempovla.timeline.config import config_from_json, config_to_json
from tempovla.training.checkpoint import Checkpoint
from tempovla.training.config import RESUMABLE_CHANGES, TrainConfig
from tempovla.training.data_history import FOLLOWS_DATA, DataHistory, without_data
from tempovla.training.extension import LENGTH, is_extended, without_entries, without_length

LOGGER = logging.getLogger(__name__)
_ABSENT = "absent"
STATISTIC = re.compile(r"transform\.(.*\.)?(offset|scale)(\.|$)")
"""Entries of an identity that normalisation takes from the statistics of the data."""


def run_identity(config: TrainConfig, bundle: Bundle, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return all that must be equal for a resumed run to repeat the uninterrupted one, as plain JSON values.

    Args:
        config: the training settings, of which `RESUMABLE_CHANGES` do not count.
        bundle: the policy's name, config, windows, embodiment and transform (with the dataset's statistics).
        facts: further facts, such as the size of an epoch.
    """
    training = {name: value for name, value in asdict(config).items() if name not in RESUMABLE_CHANGES}
    for name in ("parameter_groups", "loss_weights"):  # which runs of earlier versions know nothing of
        if not training[name]:
            del training[name]
    identity = {
        **facts,
        "training": training,
        "policy": bundle.policy,
        "model": bundle.config,
        "windows": [window.to_json() for window in bundle.windows],
        "embodiment": bundle.embodiment.to_json(),
        "transform": bundle.transform,
    }
    plain: dict[str, Any] = plain_json(identity)
    return plain


def as_written_now(saved: Mapping[str, Any], config: Any) -> dict[str, Any]:
    """Return a saved identity whose model's config has the keys that this version writes.

    Args:
        saved: identity of the run that wrote a checkpoint, by this version or an earlier one.
        config: the model's config now, whose class can read earlier versions; None if there is none.

    Returns:
        The identity; as it was saved if its config is none of that class.
    """
    if dataclasses.is_dataclass(config):
        try:
            model = config_to_json(config_from_json(type(config), saved["model"], "model"))
        except (KeyError, ValueError):  # the comparison of both configs names what is wrong
            return dict(saved)
        return {**saved, "model": plain_json(model)}
    return dict(saved)


def check_resumable(
    where: str,
    saved: Mapping[str, Any],
    current: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    live: Mapping[str, Tensor],
) -> None:
    """Refuse a checkpoint of another run.

    Args:
        where: the checkpoint, for the message.
        saved: identity of the run that wrote it.
        current: identity of the run that wants to go on from it.
        tensors: the saved training weights.
        live: the policy's weights.

    Raises:
        ValueError: naming the first difference.
    """
    before, now = dict(_flatten(_without_changes(saved))), dict(_flatten(current))
    for key in sorted([*now, *before], key=_rank):
        if before.get(key, _ABSENT) != now.get(key, _ABSENT):
            raise ValueError(
                f"{where}: {key} was {before.get(key, _ABSENT)!r}, and is {now.get(key, _ABSENT)!r} now; "
                f"resume with the same settings and data, or start a new run{_remedy(key)}"
            )
    shapes_before = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    shapes_now = {name: tuple(tensor.shape) for name, tensor in live.items()}
    for name in [*shapes_now, *shapes_before]:
        if shapes_before.get(name, _ABSENT) != shapes_now.get(name, _ABSENT):
            raise ValueError(
                f"{where}: weight {name!r} was {shapes_before.get(name, _ABSENT)}, and is "
                f"{shapes_now.get(name, _ABSENT)} now; resume with the same model, or start a new run"
            )


def only_statistics_differ(saved: Mapping[str, Any], current: Mapping[str, Any]) -> bool:
    """Return whether two identities differ, and in nothing but statistics of the data and what follows from them."""
    before, now = ({**dict(_flatten(_without_changes(identity)))} for identity in (saved, current))
    keys = [key for key in {**before, **now} if before.get(key, _ABSENT) != now.get(key, _ABSENT)]
    return any(map(STATISTIC.match, keys)) and all(STATISTIC.match(key) or key in FOLLOWS_DATA for key in keys)


def learning_rates(where: str, record: Mapping[str, Any], now: float) -> list[dict[str, float]]:
    """Return the peak learning rate that a run has from each train step on.

    Args:
        where: the checkpoint, for the log.
        record: of the checkpoint.
        now: peak learning rate of the run that goes on from it.
    """
    first = {"train_step": 0, "learning_rate": record["identity"]["training"].get("learning_rate", now)}
    rates = [dict(entry) for entry in record.get("learning_rates", [first])]
    if rates[-1]["learning_rate"] != now:
        train_step, before = record["train_step"], rates[-1]["learning_rate"]
        LOGGER.warning("%s: training.learning_rate was %g, and is %g from step %d on", where, before, now, train_step)
        rates.append({"train_step": train_step, "learning_rate": now})
    return rates


def _without_changes(identity: Mapping[str, Any]) -> dict[str, Any]:
    """An identity without the settings that may differ; a version that allowed less has saved them."""
    return without_entries(identity, [f"training.{name}" for name in RESUMABLE_CHANGES])


def _rank(key: str) -> int:
    """Which differences to name before others: what a user sets before what follows from it, and statistics last."""
    if key in ("phase", "processes") or key.startswith("training."):
        return 0
    return 2 if STATISTIC.match(key) else 1


def _remedy(key: str) -> str:
    """What else may be done about a difference."""
    if STATISTIC.match(key):
        return "; or go on with the statistics that the data have now by training.accept_changed_data=true"
    if key not in LENGTH:
        return ""
    return (
        "; for another length, set training.extend=continue, with which the learning rate follows the longer run's "
        "cosine, or training.extend=restart, with which it warms up again"
    )


def _flatten(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Leaves of nested mappings and lists, by dotted key."""
    if isinstance(value, Mapping):
        entries = value.items()
    elif isinstance(value, list):
        entries = dict(enumerate(value)).items()
    else:
        yield key, value
        return
    for name, entry in entries:
        yield from _flatten(entry, f"{key}.{name}" if key else str(name))


@dataclass(frozen=True)
class RunNow:
    """The run that goes on from a checkpoint.

    Attributes:
        identity: everything that must be equal in both, see `run_identity`.
        weights: the policy's own, by name.
        model: the config of the policy; None if it has none.
        config: the settings of the training.
        total_steps: length of the run.
        follows_length: entries of the identity that are computed from the length.
        data: the datasets that are read.
    """

    identity: Mapping[str, Any]
    weights: Mapping[str, Tensor]
    model: Any
    config: TrainConfig
    total_steps: int
    follows_length: Collection[str]
    data: DataHistory


@dataclass(frozen=True)
class Changes:
    """The permitted differences between a checkpoint's run and the run that goes on from it.

    Attributes:
        is_extended: the run is longer than it was planned to be.
        has_other_data: the datasets have changed.
        has_other_losses: the datasets or their statistics have changed, so that losses are not comparable.
    """

    is_extended: bool
    has_other_data: bool
    has_other_losses: bool


def compare_runs(where: str, checkpoint: Checkpoint, now: RunNow) -> Changes:
    """Return how the runs differ, and note changed data in `now.data`.

    Args:
        where: the checkpoint's folder, for messages.
        checkpoint: what was saved.
        now: the run that goes on from it.

    Raises:
        ValueError: if the runs differ in anything that the settings do not permit.
    """
    record, weights, config = checkpoint.record, checkpoint.part("weights"), now.config
    saved, current = as_written_now(record["identity"], now.model), now.identity
    extended = is_extended(where, record, config, now.total_steps)
    if extended:
        saved, current = (without_length(identity, now.follows_length) for identity in (saved, current))
    if not now.data.reads_the_same(record):  # such as other cameras, which a setting names
        check_resumable(where, saved, current, weights, now.weights)
    is_changed = now.data.take_up(where, record, config.accept_changed_data)
    is_other = is_changed
    if not is_changed and config.accept_changed_data and only_statistics_differ(saved, current):
        is_other = True
        now.data.take_statistics(where, record["train_step"])
    if is_other:
        saved, current = (without_data(identity, now.follows_length) for identity in (saved, current))
    check_resumable(where, saved, current, weights, now.weights)
    return Changes(extended, is_changed, is_other)
