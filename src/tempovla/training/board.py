"""Scalars for TensorBoard, written as they come.

TensorBoard's own writer hands them to a thread, which prints a traceback where the disk is full. Here the caller
gets the error.
"""

from __future__ import annotations

import itertools
import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

_count = itertools.count()


class ScalarBoard:
    """A new file of events.

    Args:
        folder: the folder for `tensorboard --logdir`; it is made if it is missing.
        purge_step: TensorBoard ignores scalars of this and later steps in older files of the folder.

    Raises:
        OSError: if the disk does not take it.
    """

    def __init__(self, folder: Path, purge_step: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        name = f"events.out.tfevents.{int(time.time()):010d}.{socket.gethostname()}.{os.getpid()}.{next(_count)}"
        self._file = (folder / name).open("xb")
        self._records = RecordWriter(self._file)
        self._write(Event(step=purge_step, file_version="brain.Event:2"))
        self._write(Event(step=purge_step, session_log=SessionLog(status=SessionLog.START)))
        self._file.flush()

    def add(self, scalars: Mapping[str, float], step: int) -> None:
        """Write scalars of one step; they are in the file when this returns.

        Raises:
            OSError: if the disk does not take them.
        """
        values = [Summary.Value(tag=tag, simple_value=value) for tag, value in scalars.items()]
        self._write(Event(step=step, summary=Summary(value=values)))
        self._file.flush()

    def close(self) -> None:
        """Close the file.

        Raises:
            OSError: if the disk still refuses scalars of an earlier `add`.
        """
        self._file.close()

    def _write(self, event: Event) -> None:
        event.wall_time = time.time()
        self._records.write(event.SerializeToString())
