"""`import tempovla` offers its verbs, and loads them when they are asked for."""

from __future__ import annotations

import subprocess
import sys

import pytest
from tests.recordings import record

import tempovla
from tempovla.control.load import load
from tempovla.data.open import open_source


def test_the_verbs_are_listed_and_lead_to_what_does_the_work():
    assert {"load", "open_dataset", "__version__"} <= set(dir(tempovla))
    assert set(tempovla.__all__) <= set(dir(tempovla))
    assert all(callable(getattr(tempovla, name)) for name in tempovla.__all__)
    assert tempovla.load is load
    assert tempovla.open_dataset is open_source
    with pytest.raises(AttributeError, match="module 'tempovla' has no attribute 'lode'"):
        _ = tempovla.lode


def test_importing_the_package_loads_nothing_else():
    script = "import sys, tempovla; print(*[name for name in sys.modules if name.startswith('tempovla')])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["tempovla"]


def test_a_dataset_opens_by_its_folder(tmp_path):
    record(tmp_path / "data", [5, 7])
    assert len(tempovla.open_dataset(tmp_path / "data")) == 2
