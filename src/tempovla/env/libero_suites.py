"""LIBERO's five suites: their tasks in words, their fixed initial states and their step limits. Torch-free."""

from __future__ import annotations

import difflib
import importlib.util
import io
import pickle
import re
import zipfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType

import numpy as np

from tempovla.env.libero_setup import package_root

STEP_LIMITS: Mapping[str, int] = MappingProxyType(
    {"libero_object": 280, "libero_spatial": 220, "libero_goal": 300, "libero_10": 520, "libero_90": 400}
)
"""Control steps after which an evaluation gives up, those that OpenVLA's used: above the longest demonstration's."""

_PICKLED_ARRAY = frozenset(
    {
        ("numpy.core.multiarray", "_reconstruct"),
        ("numpy._core.multiarray", "_reconstruct"),
        ("numpy", "ndarray"),
        ("numpy", "dtype"),
        ("_codecs", "encode"),
    }
)

_UNPICKLING_ERRORS = (pickle.UnpicklingError, AttributeError, EOFError, ImportError, IndexError, ValueError)
"""Errors of the pickle module, as it documents them."""


def check_suite(suite: str) -> None:
    """Raise a ValueError that names the nearest suite unless this is one of the five."""
    if suite not in STEP_LIMITS:
        raise ValueError(f"suite: no LIBERO suite {suite!r}; {_hint(suite, tuple(STEP_LIMITS))}")


def check_task(suite: str, task: str) -> None:
    """Raise a ValueError that names the nearest tasks of the suite unless this is one of them."""
    if task not in task_names(suite):
        raise ValueError(f"task: no task {task!r} in {suite}; {_hint(task, task_names(suite))}")


def task_names(suite: str) -> tuple[str, ...]:
    """Return the suite's tasks in the benchmark's order."""
    check_suite(suite)
    return _task_map()[suite]


def instruction(suite: str, task: str) -> str:
    """The task in words as LIBERO's benchmark says them: its name, without the scene where it starts with one."""
    check_task(suite, task)
    words = task.split("_")
    scene = next((index for index, word in enumerate(words) if word.startswith("SCENE")), -1)
    return " ".join(words[scene + 1 :])


def problem_words(suite: str, task: str) -> str:
    """Return the task in the words of its BDDL file, which LIBERO's demonstrations carry: often not the benchmark's."""
    words = re.search(r"\(:language\s+([^()]*)\)", problem_file(suite, task).read_text(encoding="utf-8"))
    return words[1].strip() if words else instruction(suite, task)


def problem_file(suite: str, task: str) -> Path:
    """Return the BDDL file that describes the task's objects, where they start and the goal."""
    check_task(suite, task)
    return package_root() / "bddl_files" / suite / f"{task}.bddl"


@cache
def initial_states(suite: str, task: str) -> np.ndarray:
    """Return the benchmark's fixed initial states, (count, 1 + nq + nv) float64: time [s], positions, velocities.
    Read-only.

    The file holds a pickled array inside a zip; nothing but that array is read, so that a file cannot run code.

    Raises:
        ValueError: if the file holds anything else.
    """
    check_task(suite, task)
    path = package_root() / "init_files" / suite / f"{task}.pruned_init"
    try:
        with zipfile.ZipFile(path) as archive:
            member = next(name for name in archive.namelist() if name.endswith("data.pkl"))
            states = _ArrayUnpickler(io.BytesIO(archive.read(member))).load()
    except (OSError, zipfile.BadZipFile, StopIteration, *_UNPICKLING_ERRORS) as error:
        raise ValueError(f"{path}: no initial states can be read ({error}); install hf-libero again") from error
    if not isinstance(states, np.ndarray) or states.ndim != 2 or states.dtype != np.float64:
        raise ValueError(f"{path}: initial states must be a 2-d array of float64; install hf-libero again")
    states.setflags(write=False)
    return states


class _ArrayUnpickler(pickle.Unpickler):
    """Finds nothing but what an array is made of."""

    def find_class(self, module: str, name: str) -> object:
        if (module, name) not in _PICKLED_ARRAY:
            raise pickle.UnpicklingError(f"it names {module}.{name}")
        return super().find_class(module, name)


@cache
def _task_map() -> dict[str, tuple[str, ...]]:
    """The benchmark's own table, loaded by its path because its package imports torch."""
    path = package_root() / "benchmark" / "libero_suite_task_map.py"
    spec = importlib.util.spec_from_file_location("libero_suite_task_map", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return {suite: tuple(tasks) for suite, tasks in module.libero_task_map.items()}


def _hint(name: str, known: tuple[str, ...]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
    return f"did you mean {near[0]}?" if near else f"choose from {', '.join(known)}"
