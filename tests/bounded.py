"""What a call takes of memory and time, in a process of its own, so that nothing else counts."""

from __future__ import annotations

import json
import os
import resource
import signal
from collections.abc import Callable
from pathlib import Path

MOST_BYTES = 1 << 30
LONGEST_S = 20


def refusal(act: Callable[[], object]) -> str:
    """What a call says that is refused with a ValueError; it must take less than 1 GB and 20 s, or the test fails."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        _run(act, writing)
    os.close(writing)
    with os.fdopen(reading) as file:
        told = file.read()
    _, status = os.waitpid(child, 0)
    assert told, f"the process ended with status {status}"
    kind, message, peak = json.loads(told)
    assert kind == "refused", f"{kind}: {message}"
    assert peak < MOST_BYTES, f"{message} took {peak:,} bytes"
    assert len(message.splitlines()) == 1
    return message


def _run(act: Callable[[], object], writing: int) -> None:
    try:
        signal.alarm(LONGEST_S)
        limit = _memory("VmSize") + 6 * MOST_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        before = _memory("VmRSS")
        try:
            act()
            kind, message = "nothing refused", ""
        except ValueError as error:
            kind, message = "refused", str(error)
        except BaseException as error:  # noqa: BLE001 - it is told to the parent
            kind, message = type(error).__name__, str(error)
        os.write(writing, json.dumps([kind, message[:4000], _memory("VmHWM") - before]).encode())
    finally:
        os._exit(0)


def _memory(name: str) -> int:
    """A line of /proc/self/status [bytes]."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))
