"""Simulators in this process, for tests whose subject is not the processes: starting one takes a second or more."""

from __future__ import annotations

import pickle
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tempovla.env import collect, vector


class InProcessWorker:
    """What `tempovla.env.worker.Worker` does, here: arguments and answers are copies, and errors come when awaited."""

    def __init__(self, factory: Callable[..., Any], *args: Any, file_descriptors: tuple[int, ...] = ()) -> None:
        self._answers: deque[Any] = deque()
        self._target: Any = None
        self._target = self._answer(factory, args)
        self._answers.append(self._target if isinstance(self._target, ValueError) else None)

    def send(self, method: str, *args: Any) -> None:
        """Do it now."""
        self._answers.append(_copied(self._answer(getattr(self._target, method), args)))

    def receive(self) -> Any:
        """The oldest answer."""
        answer = self._answers.popleft()
        if isinstance(answer, ValueError):
            raise answer
        return answer

    def close(self) -> None:
        """Let go of the object."""
        self._target = None

    def _answer(self, function: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        try:
            return function(*_copied(args))
        except ValueError as error:
            return error


def _copied(thing: Any) -> Any:
    return pickle.loads(pickle.dumps(thing))


@contextmanager
def simulators_in_process() -> Iterator[None]:
    """Vector environments and collections begun in here need no other process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vector, "Worker", InProcessWorker)
        patch.setattr(collect, "Worker", InProcessWorker)
        yield
