"""Every value of every JSON file of an example, replaced by values of other kinds one after another.

Random damage finds a field that nobody checks after hours; this finds it in minutes, as there are not so many fields.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

from tests.fuzz.examples import EXAMPLES
from tests.fuzz.runner import Verdict, damaged_files, run_damaged
from tests.fuzz.variants import variants


def sweep(example: str, examples: Path, folder: Path) -> Iterator[Verdict]:
    """Run the commands in turn, one for each changed value of the files that are JSON."""
    commands = EXAMPLES[example].commands
    count = 0
    for file in damaged_files(examples / example, example):
        if file.suffix != ".json":
            continue
        for told, changed in variants(json.loads(file.read_text(encoding="utf-8"))):
            text = json.dumps(changed)
            count += 1
            yield run_damaged(
                example,
                count % len(commands),
                file.relative_to(examples / example),
                lambda path, told=told, text=text: (path.write_text(text, encoding="utf-8"), told)[1],
                examples,
                folder,
            )
    shutil.rmtree(folder, ignore_errors=True)
