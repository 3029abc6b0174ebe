"""An object in a process of its own, whose methods are called by name.

Unlike `multiprocessing`'s, the child imports nothing but its object's module: no torch in simulator workers, and no
`__main__` guard in scripts. It ends when its parent ends, however that happens: the closed pipe tells it, and within a
request, which may take minutes, a look at who its parent is.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from multiprocessing.connection import Connection, Pipe
from typing import Any

_CHILD_COMMAND = "from tempovla.env.worker import serve; serve({connection}, {parent})"
_END_TIMEOUT_S = 5.0
_LOOK_EVERY_S = 1.0
PASSED_ON = (ValueError, ModuleNotFoundError)
"""Errors that a worker survives and that its parent raises instead."""


class WorkerDiedError(ChildProcessError):
    """A worker process ended before it answered a request."""


class Worker:
    """Makes `factory(*args)` in a child process and calls its methods there.

    Requests are answered in the order they were sent, the first of them being the object's making, answered by None;
    several may be under way.

    Args:
        factory: importable class or function; it and its arguments travel by pickle.
        args: for the factory.
        file_descriptors: kept open in the child under the same numbers.
    """

    def __init__(self, factory: Callable[..., Any], *args: Any, file_descriptors: tuple[int, ...] = ()) -> None:
        self._connection, child_end = Pipe()
        # Where this process finds its packages, the child finds them too. A session of its own keeps Ctrl-C from it:
        # the parent decides when it ends. With -P it does not look in the current folder, nor does, by the variable,
        # what it starts: glfw runs `python -c` when a simulator is made.
        places = search_path([factory, *map(type, args)])
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(places),
            "PYTHONSAFEPATH": "1",
            "OMP_NUM_THREADS": "1",
        }
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", _CHILD_COMMAND.format(connection=child_end.fileno(), parent=os.getpid())],
            pass_fds=(child_end.fileno(), *file_descriptors),
            env=environment,
            start_new_session=True,
        )
        child_end.close()
        self._send(factory, args)

    @property
    def connection(self) -> Connection:
        """The pipe's end, for `multiprocessing.connection.wait`."""
        return self._connection

    @property
    def process_id(self) -> int:
        """The child's id."""
        return self._process.pid

    def send(self, method: str, *args: Any) -> None:
        """Ask for `object.method(*args)`."""
        self._send(method, args)

    def _send(self, request: Any, args: tuple[Any, ...]) -> None:
        self._check_open()
        try:
            self._connection.send((request, args))
        except (BrokenPipeError, ConnectionResetError) as error:
            raise self._died() from error

    def receive(self) -> Any:
        """Wait for the oldest outstanding answer.

        Raises:
            ValueError: what the object raised about its arguments, or that this was closed.
            ModuleNotFoundError: if the process lacks a package.
            WorkerDiedError: if the process is gone; its own words are on stderr.
        """
        self._check_open()
        try:
            answer = self._connection.recv()
        except (EOFError, ConnectionResetError) as error:
            raise self._died() from error
        if isinstance(answer, PASSED_ON):
            raise answer
        return answer

    def close(self) -> None:
        """End the process, also in the middle of its work."""
        self._connection.close()
        self._process.terminate()
        try:
            self._process.wait(_END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _check_open(self) -> None:
        if self._connection.closed:
            raise ValueError("this environment is closed; make a new one")

    def _died(self) -> WorkerDiedError:
        code = self._process.wait()
        reason = (
            f"killed by {signal.Signals(-code).name}, perhaps for want of memory" if code < 0 else f"exit code {code}"
        )
        return WorkerDiedError(
            f"a simulator worker (process {self._process.pid}) died: {reason}; see its message above"
        )


def search_path(needed: Iterable[Any]) -> list[str]:
    """Return where a child looks for modules: where this process does, but not in the folder that both happen to run
    in.

    That folder is on the path of whatever `python -c` or `python -m` started, and may hold anybody's `metaworld.py`. It
    stays if PYTHONPATH names it, or if this package or one of the classes and functions that are `needed` lies in it.
    What is needed and was found in another way, as pytest finds test modules, is looked for after all else.
    """
    try:
        here = os.path.realpath(os.getcwd())
    except FileNotFoundError:
        here = ""
    named = [os.path.realpath(place) for place in os.environ.get("PYTHONPATH", "").split(os.pathsep) if place]
    modules = [sys.modules.get(getattr(thing, "__module__", "") or "") for thing in needed]
    found = [module for module in [*modules, sys.modules[__name__]] if getattr(module, "__file__", None)]
    roots = [_root(module) for module in found]
    stays = here in named or here in roots
    places = [place for place in sys.path if place and (stays or os.path.realpath(place) != here)]
    known = {os.path.realpath(place) for place in places}
    return places + [root for root in dict.fromkeys(roots) if root not in known]


def _root(module: Any) -> str:
    """The folder in which a module's outermost package lies."""
    file = os.path.realpath(module.__file__)
    levels = module.__name__.count(".") + 1 + (os.path.basename(file) == "__init__.py")
    return os.path.join(os.sep, *file.split(os.sep)[:-levels])


def serve(file_descriptor: int, parent: int) -> None:
    """The child's side: make the object, then answer requests until the pipe closes or the parent has gone."""
    threading.Thread(target=_end_after, args=(parent,), daemon=True).start()
    connection = Connection(file_descriptor)
    target: Any = None
    while True:
        try:
            request, args = connection.recv()
        except (EOFError, ConnectionResetError):
            return
        function = request if target is None else getattr(target, request)
        try:
            answer = function(*args)
        except PASSED_ON as error:  # the caller's to handle; anything else ends this process
            answer = error
        try:
            if target is None and not isinstance(answer, PASSED_ON):
                target, answer = answer, None
            connection.send(answer)
        except BrokenPipeError:
            return


def _end_after(parent: int) -> None:
    """End this process once its parent has ended: whoever works on a request does not hear that the pipe closed."""
    while os.getppid() == parent:
        time.sleep(_LOOK_EVERY_S)
    os._exit(1)
