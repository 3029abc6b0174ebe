"""The protocols of a stream of batches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol, runtime_checkable

from tempovla.timeline import TimelineSample


class BatchStream(Protocol):
    """Batches without end, epoch after epoch, in an order that can be saved and taken up again.

    With several processes each has its own stream, which yields its share of every batch; all shares of an epoch have
    equally many batches. The state is a position in the order common to all processes, so that what one of them
    saves serves them all.
    """

    @property
    def samples_per_epoch(self) -> int:
        """Samples of one epoch, over all processes."""

    @property
    def batches_per_epoch(self) -> int:
        """Batches of one epoch, for each process."""

    def __iter__(self) -> Iterator[TimelineSample]:
        """Batches from the current position on."""

    def state_dict(self) -> Mapping[str, Any]:
        """Return the position as plain JSON values. If k batches were taken, a stream that loads it continues with
        batch k + 1.

        Batches that were prefetched but not yet taken do not count.
        """

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go to a saved position.

        Raises:
            ValueError: if it was saved over another dataset, order or batch size.
        """


@runtime_checkable
class KnowsItsData(Protocol):
    """A stream that can describe its data, so that a resumed run finds out whether they have changed."""

    def data_identity(self) -> list[dict[str, Any]]:
        """Return a dataset each, as plain JSON values: `name`, for messages, `facts`, and `files`, digest by name."""

    def take_up_changed(self, state: Mapping[str, Any]) -> None:
        """Go as near as possible to a position that was saved over other data.

        Raises:
            ValueError: if that cannot be.
        """


@runtime_checkable
class TellsFigures(Protocol):
    """A stream that has something to log, such as the returns of a policy that acts while it learns."""

    def take_figures(self) -> Mapping[str, float]:
        """Return figures by name of what happened since they were last taken; those without any are left out."""


def take_position(batches: BatchStream, state: Mapping[str, Any], is_changed: bool) -> None:
    """Go to a checkpoint's position in the data; for changed data, to the beginning of an epoch.

    Raises:
        ValueError: if there is no such place.
    """
    if is_changed and isinstance(batches, KnowsItsData):
        batches.take_up_changed(state)
    else:
        batches.load_state_dict(state)
