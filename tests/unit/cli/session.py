"""The command line, for several processes."""

from __future__ import annotations

from tests.rounding import smooth_steps

from tempovla.cli import main as command_line


@smooth_steps()
def main(arguments: list[str]) -> int:
    """Its exit code."""
    return command_line.main(arguments)


def main_all(commands: list[list[str]]) -> int:
    """One after the other, until one fails; its exit code."""
    return next((code for code in map(main, commands) if code), 0)
