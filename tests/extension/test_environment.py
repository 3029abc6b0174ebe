"""The environment of the how-to page: its expert is recorded, and a policy trained on that plays in it."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

pytest.importorskip("gymnasium")

from tests.extension.pages import BRIEFLY, Page
from tests.in_process import simulators_in_process

from tempovla.cli.main import help_text
from tempovla.data.lerobot import open_dataset

PAGE = Page("add-an-environment")


def test_the_environment_of_the_page_passes_its_test(folder):
    PAGE.write(folder)
    assert PAGE.run_tests(folder) == 2


def test_the_command_line_collects_trains_and_evaluates(folder, tempovla):
    PAGE.write(folder)
    short = {"collect": ["--episodes", "2", "--workers", "1"], "train": BRIEFLY}
    short["eval"] = ["--episodes", "1", "--num_envs", "2", "--workers", "1", "--max_steps", "20"]
    with simulators_in_process():
        collected, *_, evaluated = PAGE.run_commands(tempovla, **short)
    assert collected.out.startswith("outputs/point: 4 episodes")
    source = open_dataset("outputs/point")
    assert (source.embodiment.name, source.rate_hz) == ("point", 10.0)
    assert source.embodiment.action_names == ("dx [dm]", "dy [dm]")
    results = json.loads((folder / "outputs" / "point.json").read_text())
    assert results["title"] == "vla on the point in the plane"
    assert list(results["tasks"]) == ["left", "right"]
    assert results["simulator"]["name"] == "point"
    assert [episode["steps"] for episode in results["episodes"]] == [20, 20]
    assert evaluated.out
    listed = help_text("")
    assert "collect point" in listed
    assert "run a trained policy on the point in the plane" in listed


@pytest.mark.slow
def test_processes_that_simulate_find_the_module_and_load_no_torch(folder, tempovla):
    PAGE.write(folder)
    paths = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    loaded = "import sys, my_point; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-P", "-c", loaded], env=os.environ | {"PYTHONPATH": paths}, check=True)
    answer = tempovla("--plugin", "my_point", "collect", "point", "--episodes", "3", "--dry-run", "--json")
    assert json.loads(answer.out)["mean"]["success"] == 1.0
