"""The record of the data that a run has learned from, and from which step on."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from tempovla.training.extension import without_entries
from tempovla.training.stream import BatchStream, KnowsItsData

LOGGER = logging.getLogger(__name__)

FOLLOWS_DATA = (
    "samples_per_epoch",
    "batches_per_epoch",
    "transform",
    "model.action_head_options.diffusion.clip_sample",
)
"""What follows, in the identity of a run, from its data: the size of an epoch, statistics, and how far actions reach.
"""
_SHOWN = 2
_LONGEST = 40


class DataHistory:
    """The datasets of a run as they are, and all that it has learned from so far.

    Args:
        batches: the stream of samples. Changes are found if it is a `KnowsItsData`, and overlooked otherwise.
    """

    def __init__(self, batches: BatchStream) -> None:
        self._datasets = batches.data_identity() if isinstance(batches, KnowsItsData) else []
        self._history = [{"train_step": 0, "fingerprint": fingerprint(self._datasets)}] if self._datasets else []

    def to_json(self) -> dict[str, Any]:
        """Return the entries of checkpoints: `data`, and `data_history`, its fingerprint from each train step on."""
        return {"data": self._datasets, "data_history": self._history} if self._datasets else {}

    def reads_the_same(self, record: Mapping[str, Any]) -> bool:
        """Whether the same streams of the same number of datasets are read as in a checkpoint's run; their contents may
        differ.
        """
        before, now = (
            [dataset["facts"].get("streams") for dataset in datasets]
            for datasets in (record.get("data", self._datasets), self._datasets)
        )
        return before == now

    def take_up(self, where: str, record: Mapping[str, Any], accept: bool) -> bool:
        """Compare the data with those of a checkpoint, and continue its history.

        Args:
            where: the checkpoint, for the message.
            record: its contents.
            accept: whether other data may be trained on.

        Returns:
            Whether the data have changed.

        Raises:
            ValueError: if they have, and `accept` is False.
        """
        train_step = record["train_step"]
        if not self._datasets:
            return False
        if "data" not in record:
            LOGGER.info("%s: does not record its training data; the present data are taken to be the same", where)
            self._history = [{"train_step": train_step, "fingerprint": fingerprint(self._datasets)}]
            return False
        changes = list(_changes(record["data"], self._datasets))
        self._history = [dict(entry) for entry in record["data_history"]]
        if not changes:
            return False
        name = changes[0][0]
        found = [change for dataset, change in changes if dataset == name][:_SHOWN]
        more = len(changes) - len(found)
        what = f"{name}: {', '.join(found)}" + (f", and {more} more" if more else "")
        if not accept:
            raise ValueError(
                f"{where}: the data are not those that the run has learned from; {what}; restore them, start a new "
                "run, or go on with them as they are by training.accept_changed_data=true"
            )
        LOGGER.warning("%s: going on from step %d with other data; %s", where, train_step, what)
        self._history.append({"train_step": train_step, "fingerprint": fingerprint(self._datasets)})
        return True

    def take_statistics(self, where: str, train_step: int) -> None:
        """Record that the same data have other statistics from a train step on."""
        LOGGER.warning("%s: going on from step %d with other statistics of the data", where, train_step)
        entry = {"train_step": train_step, "fingerprint": fingerprint(self._datasets), "statistics": "changed"}
        self._history.append(entry)


def without_data(identity: Mapping[str, Any], follows_length: Collection[str]) -> dict[str, Any]:
    """Return the identity of a run without what follows from its data, the number of steps of an epoch among it."""
    return without_entries(identity, (*FOLLOWS_DATA, *follows_length))


def fingerprint(datasets: list[dict[str, Any]]) -> str:
    """Return 64 hexadecimal digits of datasets, wherever they lie."""
    counted = [{key: value for key, value in dataset.items() if key != "name"} for dataset in datasets]
    return hashlib.sha256(json.dumps(counted, sort_keys=True).encode()).hexdigest()


def _changes(before: list[dict[str, Any]], now: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    """What differs: the dataset, and what is different of it."""
    if len(before) != len(now):
        yield now[0]["name"], f"{len(before)} datasets were trained on, and there are {len(now)} now"
        return
    for then, dataset in zip(before, now, strict=True):
        name, old, new = dataset["name"], then["files"], dataset["files"]
        yield from ((name, f"{file} has changed") for file in new if file in old and old[file] != new[file])
        yield from ((name, f"{file} is new") for file in new if file not in old)
        yield from ((name, f"{file} is gone") for file in old if file not in new)
        facts = dict.fromkeys([*dataset["facts"], *then["facts"]])
        pairs = {fact: (then["facts"].get(fact), dataset["facts"].get(fact)) for fact in facts}
        yield from ((name, _told(fact, *pair)) for fact, pair in pairs.items() if pair[0] != pair[1])


def _told(fact: str, before: Any, now: Any) -> str:
    texts = [json.dumps(value, ensure_ascii=False) for value in (before, now)]
    if max(map(len, texts)) > _LONGEST:
        return f"{fact} changed"
    return f"{fact} changed from {texts[0]} to {texts[1]}"
