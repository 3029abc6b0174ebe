"""A plugin reaches the command only by its user: on the command line, or by the shell that starts it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests import recordings
from tests.extension.pages import Page

SIZES = ["--model.state_dim", 3, "--model.action_dim", 2]
"""Of what `recordings` records."""


def tempovla_alone(folder: Path, *words: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own, in which Python finds the module."""
    paths = [str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
    return subprocess.run(
        [sys.executable, "-P", "-m", "tempovla.cli", *map(str, words)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)} | environment,
        cwd=folder,
        capture_output=True,
        text=True,
    )


@pytest.mark.slow
def test_a_policy_of_a_plugin_trains_and_its_checkpoint_is_evaluated_where_the_plugin_is_trusted(folder, tempovla):
    Page("add-a-policy").write(folder)
    recordings.record(folder / "dataset")
    train = ["train", "reflex", "--dataset", "dataset", "--out", "run", *SIZES, "--train_steps", 2, "--batch_size", 4]
    train += ["--data.train_split", 0.7, "--validation_batches", 1, "--json", "run.json"]
    answer = tempovla("--plugin", "my_reflex", *train)
    assert answer.code == 0, answer.err
    figures = json.loads((folder / "run.json").read_text())
    bundle = json.loads((folder / figures["checkpoint"] / "bundle.json").read_text())
    assert bundle["provenance"]["plugins"] == ["my_reflex"]
    evaluate = ["eval", "offline", "--checkpoint", "run/checkpoint_latest", "--json", "offline.json"]
    evaluated = tempovla_alone(folder, *evaluate, TEMPOVLA_PLUGINS="my_reflex")
    assert evaluated.returncode == 0, evaluated.stderr
    assert json.loads((folder / "offline.json").read_text())["episodes"] == 1


def test_a_config_remembers_the_plugins_that_it_was_printed_with(folder, tempovla, fails, forget):
    Page("add-a-policy").write(folder)
    printed = tempovla("--plugin", "my_reflex", "train", "reflex", "--batch_size", "2", "--print_config").out
    assert "plugins:\n- my_reflex\n" in printed
    (folder / "reflex.yaml").write_text(printed)
    forget("my_reflex")
    message = fails("train", "vla", "--config", "reflex.yaml")
    assert message.startswith("reflex.yaml: needs the plugin 'my_reflex', whose code runs when it is imported")
