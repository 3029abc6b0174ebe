"""Ctrl-C and SIGTERM end a run at the next step, with a checkpoint."""

from __future__ import annotations

import signal
from pathlib import Path
from types import FrameType, TracebackType

EXIT_CODE = 130
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class TrainingInterrupted(SystemExit):
    """A run was stopped on request, and has saved a checkpoint; uncaught, it ends the process with code 130.

    Args:
        checkpoint: the checkpoint from which the run can go on.
    """

    def __init__(self, checkpoint: Path) -> None:
        super().__init__(EXIT_CODE)
        self.checkpoint = checkpoint


class StopRequest:
    """A block in which the first SIGINT or SIGTERM only sets `requested`; a second one quits at once.

    With `patient`, further signals change nothing: under torchrun, Ctrl-C reaches a process twice, from the terminal
    and from the launcher, which itself kills those that take too long.
    """

    def __init__(self, *, patient: bool = False) -> None:
        self.patient = patient
        self.requested = False

    def __enter__(self) -> StopRequest:
        self._previous = {number: signal.signal(number, self._on_signal) for number in _SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.requested and not self.patient:
            raise SystemExit(EXIT_CODE)
        self.requested = True
