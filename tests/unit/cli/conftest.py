"""The command line as a user meets it, in this process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests import recordings
from tests.command_line import logging_as_before  # noqa: F401  a fixture of all tests here
from tests.tiny import statevla_arguments

from tempovla.cli.main import main


@dataclass(frozen=True)
class Answer:
    """What a command line came to."""

    code: int
    out: str
    err: str


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


@pytest.fixture
def dataset(tmp_path) -> Path:
    """Three short made-up episodes."""
    recordings.record(tmp_path / "dataset")
    return tmp_path / "dataset"


@pytest.fixture
def small_statevla(dataset) -> list[str]:
    """Arguments of `train statevla` that train on them within a second."""
    return statevla_arguments(dataset)
