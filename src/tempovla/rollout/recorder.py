"""Recorded rollouts as a dataset."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tempovla.data.errors import DatasetError
from tempovla.data.layout import Feature
from tempovla.data.lerobot_meta import load_meta
from tempovla.data.outcomes import outcomes_lacking, without
from tempovla.data.writer import DatasetWriter, held_dataset, infer_features, is_unwritten
from tempovla.rollout.runner import EpisodeResult
from tempovla.timeline import Embodiment
from tempovla.timeline.arguments import with_noun
from tempovla.timeline.keys import ACTION_KEY, POINTS_KEY_PREFIX, STATE_KEY

LOGGER = logging.getLogger(__name__)


class RolloutRecorder:
    """Writes episodes to a LeRobot v3.0 dataset as they end; each is on the disk when `add` returns.

    Streams of points, such as those of a LiDAR, are left out: that format has no sets of varying number.

    Args:
        root: folder of the dataset.
        embodiment: the body that acts.
        recording: how the pictures are made, see `EpisodeSource.recording`.
        earlier: episodes of a call that was interrupted, in the order in which they ended. If the folder holds the
            first ones of these, recording goes on behind them, and `recorded` says how many it holds.

    Raises:
        DatasetError: if the folder holds anything else, or another process writes there.
    """

    def __init__(
        self,
        root: str | Path,
        embodiment: Embodiment,
        recording: Mapping[str, Any] = MappingProxyType({}),
        earlier: Sequence[EpisodeResult] = (),
    ) -> None:
        self.root = Path(root)
        self._lock = held_dataset(self.root)
        try:  # known before hours of rollouts, not after the first
            self.recorded = 0 if is_unwritten(self.root) else self._recorded(earlier)
        except ValueError:
            self._lock.release()
            raise
        self._goes_on = bool(earlier)
        self._lacking = outcomes_lacking(self.root) if self.recorded else frozenset()
        self.embodiment = embodiment
        self.recording = recording
        self._writer: DatasetWriter | None = None

    def _recorded(self, earlier: Sequence[EpisodeResult]) -> int:
        """Return how many of the earlier episodes are in the dataset, which must hold no others."""
        if not earlier:
            raise DatasetError(f"{self.root}: not empty, and nothing is overwritten; give another folder")
        lengths = [record.length for record in load_meta(self.root).episodes]
        if lengths != [result.steps for result in earlier[: len(lengths)]]:
            held = with_noun(len(lengths), "episode")
            raise DatasetError(
                f"{self.root}: not empty, and holds {held}, not those of the interrupted evaluation; give "
                "another folder"
            )
        return len(lengths)

    def add(self, result: EpisodeResult) -> None:
        """Write an episode that was run with `record=True`.

        Raises:
            DatasetError: if the disk is full; the episodes written before are safe.
        """
        assert result.recording is not None, "the episode was not recorded"
        points = frozenset(key for key in result.recording if key.startswith(POINTS_KEY_PREFIX))
        if points and self._writer is None:
            LOGGER.warning(
                "%s: recordings hold no sets of points; %s are left out", self.root, ", ".join(sorted(points))
            )
        steps = without(result.recording, self._lacking | points)
        if self._writer is None:
            names = {STATE_KEY: self.embodiment.state_names, ACTION_KEY: self.embodiment.action_names}
            self._writer = self._opened(infer_features(steps, names))
        self._writer.calibrate(self.embodiment.with_cameras(result.cameras).cameras)
        self._writer.add_episode(steps, result.instructions or result.instruction)

    def _opened(self, features: Mapping[str, Feature]) -> DatasetWriter:
        return DatasetWriter(
            self.root,
            features,
            self.embodiment.rate_hz,
            robot_type=self.embodiment.name,
            recording=self.recording,
            resume=self._goes_on,
            held=self._lock,
        )

    def close(self) -> None:
        """Finish the dataset, and release its folder for others.

        Raises:
            DatasetError: if the disk does not take it; all episodes are safe.
        """
        try:
            if self._writer is None and self.recorded:  # nothing was left to record, but perhaps to finish
                self._writer = self._opened(load_meta(self.root).features)
            if self._writer is not None:
                self._writer.close()
        finally:
            self._lock.release()

    def __enter__(self) -> RolloutRecorder:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.close()
        elif self._writer is not None and not len(self._writer):
            self._writer.discard()  # a dataset without episodes would block the next call
        self._lock.release()
