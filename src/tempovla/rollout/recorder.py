"""Recorded rollouts as a dataset."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tempovla.data.errors import DatasetError
from tempovla.data.writer import DatasetWriter, held_dataset, infer_features, is_unwritten
from tempovla.rollout.runner import EpisodeResult
from tempovla.timeline import Embodiment
from tempovla.timeline.keys import ACTION_KEY, STATE_KEY


class RolloutRecorder:
    """Writes episodes to a LeRobot v3.0 dataset as they end; each is on the disk when `add` returns.

    Args:
        root: folder of the dataset.
        embodiment: the body that acts.
        recording: how the pictures are made, see `EpisodeSource.recording`.

    Raises:
        DatasetError: if the folder is not empty, or another process writes there.
    """

    def __init__(
        self, root: str | Path, embodiment: Embodiment, recording: Mapping[str, Any] = MappingProxyType({})
    ) -> None:
        self.root = Path(root)
        self._lock = held_dataset(self.root)
        if not is_unwritten(self.root):  # known before hours of rollouts, not after the first
            self._lock.release()
            raise DatasetError(f"{self.root}: not empty, and nothing is overwritten; give another folder")
        self.embodiment = embodiment
        self.recording = recording
        self._writer: DatasetWriter | None = None

    def add(self, result: EpisodeResult) -> None:
        """Write an episode that was run with `record=True`.

        Raises:
            DatasetError: if the disk is full; the episodes written before are safe.
        """
        assert result.recording is not None, "the episode was not recorded"
        steps = dict(result.recording)
        if self._writer is None:
            body = self.embodiment
            names = {STATE_KEY: body.state_names, ACTION_KEY: body.action_names}
            features = infer_features(steps, names)
            self._writer = DatasetWriter(
                self.root,
                features,
                body.rate_hz,
                robot_type=body.name,
                recording=self.recording,
                held=self._lock,
            )
        self._writer.add_episode(steps, result.instruction)

    def close(self) -> None:
        """Finish the dataset, and let others write there.

        Raises:
            DatasetError: if the disk does not take it; all episodes are safe.
        """
        try:
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
