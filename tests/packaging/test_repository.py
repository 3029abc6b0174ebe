"""What the repository says of itself agrees with the package."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import yaml

import tempovla

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
HOOKS = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"][0]["hooks"]


def test_the_citation_names_this_version_and_licence():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == tempovla.__version__ == PROJECT["version"]
    assert citation["license"] == PROJECT["license"]


def test_the_page_on_installing_explains_every_extra():
    page = (ROOT / "docs" / "how-to" / "install.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)) == set(PROJECT["optional-dependencies"])


def test_hooks_run_the_ruff_that_lint_runs():
    pinned = set((ROOT / "constraints.txt").read_text(encoding="utf-8").split())
    wanted = {package for hook in HOOKS for package in hook["additional_dependencies"] if package.startswith("ruff")}
    assert len(wanted) == 1
    assert wanted <= pinned


def test_the_interpreters_that_are_named_are_those_that_the_workflow_tests():
    named = {text.rpartition(" ")[2] for text in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", text)}
    workflow = yaml.safe_load((ROOT / ".github/workflows/test.yml").read_text(encoding="utf-8"))
    assert named == set(workflow["jobs"]["test"]["strategy"]["matrix"]["python"])
    assert PROJECT["requires-python"] == f">={min(named)}"


@pytest.mark.parametrize("path", sorted((ROOT / ".github").rglob("*.yml")), ids=lambda path: path.name)
def test_forms_and_workflows_can_be_read(path):
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert content
    for field in content.get("body", []):
        assert field["attributes"]["label"]
