"""A policy in a user's own module is trained and evaluated by the command line, and named where it is missing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests import recordings
from tests.extension.pages import Page


@pytest.fixture
def folder(tmp_path) -> Path:
    """A folder with the module, and a dataset in another."""
    (tmp_path / "mine").mkdir()
    Page("add-a-policy").write(tmp_path / "mine")
    recordings.record(tmp_path / "dataset")
    return tmp_path


def tempovla(folder: Path, *words: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own, in which Python finds the module."""
    paths = [str(folder / "mine"), *filter(None, [os.environ.get("PYTHONPATH")])]
    return subprocess.run(
        [sys.executable, "-P", "-m", "tempovla.cli", *map(str, words)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)} | environment,
        cwd=folder,
        capture_output=True,
        text=True,
    )


@pytest.mark.slow
def test_a_policy_of_a_plugin_trains_goes_on_and_is_evaluated(folder):
    train = ["train", "reflex", "--dataset", folder / "dataset", "--out", "run", "--save_interval_steps", 2]
    train += ["--model.state_dim", 3, "--model.action_dim", 2, "--train_steps", 4, "--batch_size", 4, "--data.train_split", 0.7, "--validation_batches", 1]
    done = tempovla(folder, "--plugin", "my_reflex", *train, "--json", "run.json")
    assert done.returncode == 0, done.stderr
    figures = json.loads((folder / "run.json").read_text())
    assert figures["train_step"] == 4
    bundle = json.loads((folder / figures["checkpoint"] / "bundle.json").read_text())
    assert bundle["provenance"]["plugins"] == ["my_reflex"]
    evaluate = ["eval", "offline", "--checkpoint", "run/checkpoint_latest", "--json", "offline.json"]
    alone = tempovla(folder, *evaluate)
    assert alone.returncode == 2
    assert "bundle.json: needs the plugin 'my_reflex', whose code runs when it is imported" in alone.stderr
    assert tempovla(folder, *evaluate, TEMPOVLA_PLUGINS="my_reflex").returncode == 0
    assert json.loads((folder / "offline.json").read_text())["episodes"] == 1


@pytest.mark.slow
def test_a_config_remembers_the_plugins_that_it_was_printed_with(folder):
    printed = tempovla(folder, "--plugin", "my_reflex", "train", "reflex", "--batch_size", 2, "--print_config")
    assert "plugins:\n- my_reflex\n" in printed.stdout
    (folder / "reflex.yaml").write_text(printed.stdout)
    train = ["train", "vla", "--config", "reflex.yaml"]
    refused = tempovla(folder, *train)
    assert refused.stderr.startswith("tempovla: error: reflex.yaml: needs the plugin 'my_reflex'")
    assert "train reflex" in tempovla(folder, "--plugin", "my_reflex").stdout
