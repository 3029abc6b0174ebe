"""A how-to page done to the word: its files are written, its test is run, and its commands are executed in order."""

from __future__ import annotations

import importlib
import inspect
import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from tests.command_line import Answer

DOCS = Path(__file__).resolve().parents[2] / "docs" / "how-to"
FENCE = re.compile(r"^```(?P<kind>python|bash)[^\n]*\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"`(\w+\.py)`:\s*$")
BRIEFLY = ["--train_steps", "2", "--batch_size", "2", "--validation_batches", "1"]
"""Options of a training that is not to take long."""
LONGEST_BLOCK = 60
"""Lines of a block on a page."""


class Page:
    """One page.

    A python block whose lead-in ends in "`name.py`:" begins a file; unmarked blocks below it, up to the next heading,
    belong to it as well.

    Args:
        name: of the page, without `.md`.
    """

    def __init__(self, name: str) -> None:
        self.text = (DOCS / f"{name}.md").read_text(encoding="utf-8")
        self.files: dict[str, str] = {}
        current, heading = "", -1
        for fence in FENCE.finditer(self.text):
            if fence["kind"] != "python":
                continue
            assert fence["code"].count("\n") <= LONGEST_BLOCK, f"{name}.md: a block is too long to take in at once"
            before = self.text[: fence.start()]
            named, section = FILE.search(before), before.rfind("\n## ")
            if named:
                current, heading = named[1], section
                self.files[current] = ""
            elif section != heading or "notest" in fence[0].split("\n")[0]:
                current = ""
            if current:
                self.files[current] += ("\n\n" if self.files[current] else "") + fence["code"]

    @property
    def usage(self) -> str:
        """The block that loads what was trained."""
        blocks = [fence["code"] for fence in FENCE.finditer(self.text) if fence["kind"] == "python"]
        (found,) = [code for code in blocks if "tempovla.load(" in code]
        return found

    @property
    def commands(self) -> list[list[str]]:
        """Words of every command line, without `tempovla`."""
        blocks = "".join(fence["code"] for fence in FENCE.finditer(self.text) if fence["kind"] == "bash")
        lines = blocks.replace("\\\n", " ").splitlines()
        return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("tempovla --plugin ")]

    def write(self, folder: Path, **changes: str) -> None:
        """Write the files.

        Args:
            folder: where to.
            changes: by file without `.py`, its text instead of the page's.
        """
        for name, code in self.files.items():
            (folder / name).write_text(changes.get(name.removesuffix(".py"), code), encoding="utf-8")

    def run_tests(self, folder: Path) -> int:
        """Call every test of the page's test file; how many there were."""
        (name,) = [file.removesuffix(".py") for file in self.files if file.startswith("test_")]
        module = importlib.import_module(name)
        try:
            tests = [value for key, value in vars(module).items() if key.startswith("test_")]
            for number, test in enumerate(tests):
                assert inspect.isfunction(test)
                folders = [folder / f"{name}_{number}"] if "tmp_path" in inspect.signature(test).parameters else []
                for each in folders:
                    each.mkdir()
                test(*folders)
            return len(tests)
        finally:
            sys.modules.pop(name, None)

    def run_commands(self, tempovla: Callable[..., Answer], **shorter: list[str]) -> list[Answer]:
        """Run the command lines in order; all of them must succeed.

        Args:
            tempovla: runs a command line in this process.
            shorter: by the first word of a command, options that are put behind it, so that it takes less time.
        """
        answers = []
        for words in self.commands:
            answer = tempovla(*words, *shorter.get(words[2], []))
            assert answer.code == 0, f"{' '.join(words)}: {answer.err}"
            answers.append(answer)
        return answers


def imported(name: str) -> ModuleType:
    """A module of a page, imported anew."""
    sys.modules.pop(name, None)
    return importlib.import_module(name)
