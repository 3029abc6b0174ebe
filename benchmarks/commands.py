"""What benchmarks share: the command that they run, their options and errors, and files that several of them add to."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tempovla.storage.lock import Lock

LONGEST_WAIT_S = 60.0
"""For another writer of the same file, who needs milliseconds, and for a command that was interrupted."""
INTERRUPTED = (-signal.SIGINT, -signal.SIGTERM, 128 + signal.SIGINT, 128 + signal.SIGTERM)
"""Exit codes of a command that was interrupted."""
REMEDY = "remove it, or give another --json"
"""For a file of figures that cannot be read."""


def as_word(value: Any) -> str:
    """A setting as it stands on a command line."""
    return value if isinstance(value, str) else json.dumps(value)


def tempovla(*arguments: str, log: Path | None = None) -> str:
    """Run the command; what it wrote to stdout.

    Args:
        arguments: of the command, one word each.
        log: file to which all that it writes is added; None leaves its stderr where that of the benchmark is.

    Raises:
        ValueError: if it failed.
        KeyboardInterrupt: once the command has kept its work.
    """
    with ExitStack() as stack:
        errors = None if log is None else stack.enter_context(log.open("a"))
        process = subprocess.Popen(
            [sys.executable, "-m", "tempovla.cli", *arguments], stdout=subprocess.PIPE, stderr=errors, text=True
        )
        try:
            told, _ = process.communicate()
        except KeyboardInterrupt:  # which the command has had from the terminal, too
            try:
                process.communicate(timeout=LONGEST_WAIT_S)
            except subprocess.TimeoutExpired:
                process.terminate()
                process.communicate()
            raise
        if errors is not None:
            errors.write(told)
    if process.returncode in INTERRUPTED:
        raise KeyboardInterrupt
    if process.returncode:
        where = "" if log is None else f"; see {log}"
        raise ValueError(f"tempovla {' '.join(arguments)} failed with exit code {process.returncode}{where}")
    return told


def exit_code_of(main: Callable[[], None]) -> int:
    """Run a benchmark; what goes wrong is said in one line."""
    try:
        main()
    except KeyboardInterrupt:
        print("interrupted; the same call goes on", file=sys.stderr)
        return 130
    except (ValueError, OSError) as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 2
    return 0


def chosen_seeds(seeds: str) -> list[int]:
    """The seeds of the trainings.

    Raises:
        ValueError: if one is no whole number.
    """
    if not all(seed.strip().isdecimal() for seed in seeds.split(",")):
        raise ValueError(f"--seeds={seeds} must be whole numbers, separated by commas, such as 0,1,2")
    return [int(seed) for seed in seeds.split(",")]


class Busy(ValueError):
    """Somebody else holds a lock."""


@contextmanager
def alone_with(path: Path) -> Iterator[None]:
    """Hold a file, once whoever holds it now has let go."""
    lock, end = path.with_name(f".{path.name}.lock"), time.monotonic() + LONGEST_WAIT_S
    while True:
        try:
            held = Lock(lock, path, "adds to it", remedy="end it, or give another --json", error=Busy)
            break
        except Busy:
            if time.monotonic() > end:
                raise
            time.sleep(0.02)
    with held:
        yield
