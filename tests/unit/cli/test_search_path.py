"""No module is found in the folder that a command happens to be started in."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import tempovla
from tempovla.cli.search_path import leave_out_current_folder

PACKAGE = Path(tempovla.__file__).resolve().parents[1]


def test_modules_in_the_current_folder_do_not_run(tmp_path):
    for name in ("json", "torch", "yaml", "argparse", "difflib", "jsonargparse"):
        (tmp_path / f"{name}.py").write_text(f"open('ran_{name}', 'w')\n")
    command = [sys.executable, "-m", "tempovla.cli", "data", "inspect", "absent"]
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert sorted(path.name for path in tmp_path.glob("ran_*")) == []
    assert done.stderr.startswith("tempovla: error: absent: ")


def test_only_the_first_place_goes_and_only_if_it_is_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONSAFEPATH", "")
    for first in (str(tmp_path), ""):
        monkeypatch.setattr(sys, "path", [first, "/elsewhere", str(tmp_path)])
        leave_out_current_folder()
        assert sys.path == ["/elsewhere", str(tmp_path)]
    leave_out_current_folder()
    assert sys.path == ["/elsewhere", str(tmp_path)]
    assert os.environ["PYTHONSAFEPATH"] == "1"  # for what is started from here


def test_the_folder_of_this_package_stays(monkeypatch):
    monkeypatch.chdir(PACKAGE)
    monkeypatch.setenv("PYTHONSAFEPATH", "")
    monkeypatch.setattr(sys, "path", [str(PACKAGE)])
    leave_out_current_folder()
    assert sys.path == [str(PACKAGE)]
    assert os.environ["PYTHONSAFEPATH"] == ""
