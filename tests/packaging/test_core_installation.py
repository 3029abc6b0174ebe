"""A wheel that is installed with its core dependencies alone trains and evaluates, and names what an extra adds."""

from __future__ import annotations

import json
import os
import subprocess
import zipfile
from pathlib import Path

import pytest
from tests import recordings
from tests.core_installation import ROOT, build_wheel, install, make_environment
from tests.tiny import statevla_arguments

pytestmark = pytest.mark.slow

IMPORT_AND_RUN_ALL = """
import importlib, json, pkgutil, sys
import tempovla
from tempovla.cli.main import commands, main
for info in pkgutil.walk_packages(tempovla.__path__, "tempovla."):
    if not info.name.endswith("__main__"):
        try:
            importlib.import_module(info.name)
        except ModuleNotFoundError as error:
            print("missing:", info.name, error.name, file=sys.stderr)
for name in commands():
    try:
        code = main([*name.split(), "--help"])
    except SystemExit as end:
        code = end.code
    assert not code, name
for line in json.loads(sys.stdin.read()):
    try:
        code = main(line.split())
    except SystemExit as end:
        code = end.code or 0
    print(f"\\ncode: {code}")
"""


CHECKPOINT = "run/phase2_flow_matching/checkpoint_latest"
TRAINING = [*statevla_arguments(Path("dataset")), "--training.train_steps", "2"]
CONTROL = "'dm-control<1.0.29,>=1.0.28; python_version < \"3.13\"'"
SIMULATOR = f"metaworld==3.1.1 mujoco==3.3.0 'gymnasium>=1.1' {CONTROL}"
ONNX = "'onnx>=1.18' 'onnxscript>=0.5' 'onnxruntime>=1.22'"
COMMANDS = {
    "train vla --config vla_metaworld --print_config": None,
    "data inspect dataset": None,
    "data sample dataset --episode 0 --frame 3 --window action=0:2 --out sample.npz": None,
    "data stats dataset": None,
    f"train statevla --out run {' '.join(TRAINING)}": None,
    f"eval offline --checkpoint {CHECKPOINT} --data dataset": None,
    f"diagnose memory --checkpoint {CHECKPOINT} --dataset dataset": None,
    f"export --checkpoint {CHECKPOINT} --format torchscript --out policy.pt": None,
    f"export --checkpoint {CHECKPOINT} --out policy.onnx": f"onnx {ONNX}",
    "collect metaworld --tasks reach-v3 --episodes 1 --out recorded": f"gymnasium {SIMULATOR}",
    f"eval metaworld --checkpoint {CHECKPOINT} --tasks reach-v3 --episodes 1": f"gymnasium {SIMULATOR}",
    f"eval dmc --checkpoint {CHECKPOINT} --tasks reacher-easy --episodes 1": f"gymnasium {SIMULATOR}",
    f"eval gym --checkpoint {CHECKPOINT} --tasks Pendulum-v1 --episodes 1": f"gymnasium {SIMULATOR}",
}
"""Command lines, and the package and the extra that some of them lack."""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    return build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def python(wheel, tmp_path_factory) -> Path:
    """Of an environment with the wheel and its core dependencies."""
    python = make_environment(tmp_path_factory.mktemp("environment"))
    install(python, wheel)
    return python


def run(python: Path, script: str, folder: Path, given: str = "") -> subprocess.CompletedProcess[str]:
    """Run a script in a folder, without what this process tells Python to find."""
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    command = [str(python), "-c", script]
    return subprocess.run(command, cwd=folder, env=environment, input=given, capture_output=True, text=True)


def test_the_wheel_holds_what_the_package_reads_beside_its_modules(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    expected = {"tempovla/py.typed", "tempovla/report/style.css", "tempovla/report/play.js"}
    configs = {f"tempovla/configs/{path.name}" for path in (ROOT / "configs").glob("*.yaml")}
    assert len(configs) > 10
    assert expected | configs <= names
    assert not [name for name in names if name.startswith("tests/")]


@pytest.fixture(scope="module")
def done(python, tmp_path_factory) -> subprocess.CompletedProcess[str]:
    """One process that imports all modules, shows all help, and then runs the commands."""
    folder = tmp_path_factory.mktemp("work")
    recordings.record(folder / "dataset")
    done = run(python, IMPORT_AND_RUN_ALL, folder, json.dumps(list(COMMANDS)))
    assert done.returncode == 0, done.stderr
    return done


def test_all_modules_but_those_of_simulators_can_be_imported_and_every_command_shows_its_help(done):
    missing = [line for line in done.stderr.splitlines() if line.startswith("missing:")]
    names = {line.split()[1].removeprefix("tempovla.") for line in missing}
    driving = {f"env.driving.{name}" for name in ("lidar", "radar", "rays", "senses", "spaces", "stage")}
    assert names == {"env.vector", *driving}
    assert {line.split()[2] for line in missing} == {"gymnasium", "mujoco"}
    assert done.stdout.count("usage: tempovla ") > 20


def test_it_trains_and_evaluates_and_names_what_needs_an_extra_in_one_line(done):
    errors = [line for line in done.stderr.splitlines() if line.startswith(("tempovla: error: ", "Traceback"))]
    assert errors == [
        f"tempovla: error: {missing[0]} is not installed; install it with `pip install {missing[2]}`"
        for missing in (need.partition(" ") for need in COMMANDS.values() if need)
    ]
    codes = [int(line.removeprefix("code: ")) for line in done.stdout.splitlines() if line.startswith("code: ")]
    assert codes == [2 if need else 0 for need in COMMANDS.values()]
