"""Runs that the report reads."""

import json
from pathlib import Path

import pytest
from tests.report_runs import results, write_run


@pytest.fixture(scope="session")
def complete_run(tmp_path_factory) -> Path:
    """A run with every part; read it, do not change it."""
    return write_run(tmp_path_factory.mktemp("run") / "demo")


@pytest.fixture
def bare_run(tmp_path) -> Path:
    """A run with results.json alone; tests may change it."""
    (tmp_path / "results.json").write_text(json.dumps(results()))
    return tmp_path
