"""The command line as a user meets it, in this process: fixtures that a `conftest.py` imports."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from tempovla.cli.main import main


@dataclass(frozen=True)
class Answer:
    """What a command line came to."""

    code: int
    out: str
    err: str


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """Commands send messages to this test's stderr: take that back."""
    package = logging.getLogger("tempovla")
    handlers, levels = logging.root.handlers[:], (logging.root.level, package.level)
    yield
    logging.root.handlers[:] = handlers
    logging.root.setLevel(levels[0])
    package.setLevel(levels[1])


@pytest.fixture
def tempovla(capsys) -> Callable[..., Answer]:
    """Run `tempovla ...`; help exits by itself."""

    def run(*arguments: object) -> Answer:
        capsys.readouterr()
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as end:
            code = int(end.code or 0)
        captured = capsys.readouterr()
        return Answer(code, captured.out, captured.err)

    return run


@pytest.fixture
def fails(tempovla) -> Callable[..., str]:
    """Run a command line that is the user's mistake; its one line on stderr."""

    def run(*arguments: object) -> str:
        answer = tempovla(*arguments)
        assert answer.code == 2
        assert answer.out == ""
        lines = [line for line in answer.err.splitlines() if line.startswith("tempovla: error: ")]
        assert len(lines) == 1
        assert "Traceback" not in answer.err
        return lines[0].removeprefix("tempovla: error: ")

    return run
