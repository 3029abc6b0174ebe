"""Damaged files of every kind are refused in one line that names them; `make fuzz` goes on for as long as is asked."""

from __future__ import annotations

import itertools
import time
from pathlib import Path

import pytest
from tests.fuzz.__main__ import cases
from tests.fuzz.examples import EXAMPLES
from tests.fuzz.runner import build_examples, preload, run_case, run_sound
from tests.fuzz.sweep import sweep

SEED, CASES, LONGEST_S = 20, 60, 60.0
SOUND = {name: len(example.commands) for name, example in EXAMPLES.items() if name != "config"}  # which names no data
SLOW = ("exported", "pretrained", "sentences", "statevla", "remembering", "mixture", "openvla")
"""Their examples take seconds to make: `make fuzz` damages them, and tests of their own rooms."""
QUICK = [name for name in EXAMPLES if name not in SLOW]


@pytest.fixture(scope="module")
def examples(tmp_path_factory, nursery) -> Path:
    folder = tmp_path_factory.mktemp("examples")
    nursery.run(1, f"{__name__}:make_examples", folder)
    return folder


def make_examples(folder: str) -> None:
    """Called in the nursery, as all here that forks: a fork of the tests' process costs five times as much."""
    preload()
    build_examples(Path(folder), tuple(QUICK))


def meet_sound_examples(examples: str, work: str) -> None:
    preload()
    for name in QUICK:
        for command in range(SOUND.get(name, 0)):
            verdict = run_sound(name, command, Path(examples), Path(work))
            assert not verdict.fault, f"{name} {command}: {verdict.fault}\n{verdict.output}"


def meet_damaged_examples(examples: str, work: str) -> None:
    preload()
    until = time.monotonic() + LONGEST_S
    faults = []
    for case in itertools.islice(cases(SEED, QUICK), CASES):
        if time.monotonic() > until:
            break
        verdict = run_case(case, Path(examples), Path(work))
        if verdict.fault:
            faults.append(f"{case.name}: {verdict.damaged}: {verdict.fault}")
    assert not faults, "play one again with: python -m tests.fuzz --replay CASE\n" + "\n".join(faults)


def sweep_an_index(examples: str, work: str) -> None:
    preload()
    verdicts = list(sweep("pickled", Path(examples), Path(work)))
    assert len(verdicts) > 40
    assert not [f"{verdict.damaged}: {verdict.fault}" for verdict in verdicts if verdict.fault]


@pytest.mark.slow
def test_every_value_of_a_file_may_be_of_another_kind(tmp_path, examples, nursery):
    nursery.run(1, f"{__name__}:sweep_an_index", examples, tmp_path / "case")


def test_every_command_takes_the_sound_examples(tmp_path, examples, nursery):
    nursery.run(1, f"{__name__}:meet_sound_examples", examples, tmp_path / "case")


@pytest.mark.slow
def test_damaged_files_are_refused_in_a_line_that_names_them(tmp_path, examples, nursery):
    nursery.run(1, f"{__name__}:meet_damaged_examples", examples, tmp_path / "case")
