"""Rooms import only rooms below them, and a package's own import is light."""

from __future__ import annotations

import json
import pkgutil
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import tempovla
from tempovla import timeline
from tempovla.recipe.systems.registry import SYSTEM_REGISTRY

ROOT = Path(__file__).resolve().parents[2]
SOURCE = Path(tempovla.__file__).parent
PACKAGES = [info.name for info in pkgutil.walk_packages([str(SOURCE)], "tempovla.") if info.ispkg]
MADE_OF_TENSORS = ("tempovla.timeline.laws",)


def test_the_import_contracts_hold():
    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout


def test_no_package_imports_anything_heavy_by_itself():
    names = ", ".join(package for package in PACKAGES if package not in MADE_OF_TENSORS)
    script = f"import sys, {names}; print(*{{'torch', 'numpy', 'mujoco', 'av', 'transformers'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_simulator_workers_load_no_torch():
    pytest.importorskip("metaworld")
    script = "import sys, tempovla.env.vector, tempovla.env.collect; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


HELP = "from tempovla.cli.main import main\ntry: main({arguments!r})\nexcept SystemExit: pass"
SEVERAL = "import tempovla.cli.train, tempovla.recipe.systems.vla, tempovla.recipe.systems.vlm"
ALL_TRAININGS = """from tempovla.recipe.systems.registry import SYSTEM_REGISTRY, find_system
from tempovla.timeline.lazy import loaded
import tempovla.cli.train
for name in SYSTEM_REGISTRY: loaded(find_system(name).train)"""
ONE_TRAINING = "import tempovla.cli.train, tempovla.recipe.systems.statevla_phases"
IN_FORKS = """
import json, os, sys, {first}
for script in json.loads(sys.stdin.read()):
    sys.stdout.flush()
    child = os.fork()
    if child:
        assert os.waitpid(child, 0)[1] == 0
        continue
    exec(script, {{}})
    print("loaded", *(name for name in sys.modules if name.partition(".")[0] in ("tempovla", "torch")), flush=True)
    os._exit(0)
"""


def loaded_by(scripts: list[str], first: str) -> list[set[str]]:
    """The modules of TempoVLA and of torch that are loaded after each script, beginning with the import of `first`."""
    command = [sys.executable, "-c", IN_FORKS.format(first=first)]
    given = json.dumps(scripts)
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=True)
    return [set(line.split()[1:]) for line in done.stdout.splitlines() if line.startswith("loaded")]


@pytest.fixture(scope="module")
def loaded_by_trainings() -> dict[str, set[str]]:
    scripts = [SEVERAL, ALL_TRAININGS, ONE_TRAINING]
    return dict(zip(scripts, loaded_by(scripts, "torch"), strict=True))


def test_what_only_several_processes_need_is_not_loaded_for_one(loaded_by_trainings):
    assert loaded_by_trainings[SEVERAL].isdisjoint({"torch.distributed.tensor", "torch.distributed.fsdp"})


def test_the_help_of_a_training_loads_neither_torch_nor_a_simulator():
    scripts = [HELP.format(arguments=["train", system, "--help"]) for system in SYSTEM_REGISTRY]
    for names in loaded_by(scripts, "tempovla"):
        assert "tempovla.cli.train" in names
        assert "torch" not in names
        assert rooms_of(names).isdisjoint({"env", "rollout", "report", "export", "control"})
        assert len(names) < 120


def test_trainings_load_no_simulator_and_nothing_that_evaluates_or_deploys(loaded_by_trainings):
    found = rooms_of(loaded_by_trainings[ALL_TRAININGS])
    assert "recipe" in found
    assert found.isdisjoint({"env", "rollout", "report", "export", "control"})


def test_the_training_of_one_system_loads_few_modules(loaded_by_trainings):
    names = loaded_by_trainings[ONE_TRAINING]
    own = {name for name in names if name.startswith("tempovla.")}
    assert rooms_of(own).isdisjoint({"env", "rollout", "report", "export", "control"})
    assert len(own) < 200


def rooms_of(names: set[str]) -> set[str]:
    return {name.split(".")[1] for name in names if name.startswith("tempovla.")}


def test_the_contract_gives_each_of_its_types_when_asked_and_says_what_it_lacks():
    for name in set(timeline.__all__) - {"LossTerms", "Statistics", "Tracks"}:  # these are names of mappings
        assert getattr(timeline, name).__name__ == name
    assert timeline.Tracks is import_module("tempovla.timeline.track").Tracks
    with pytest.raises(AttributeError, match=r"module 'tempovla\.timeline' has no attribute 'Windows'"):
        _ = timeline.Windows


@pytest.mark.parametrize("name", [name for name in PACKAGES if hasattr(import_module(name), "_MODULES")])
def test_a_package_gives_each_name_that_it_offers_when_asked(name):
    package = import_module(name)
    homes = {offered: module for module, names in package._MODULES.items() for offered in names}
    assert sorted(homes) == sorted(package.__all__)
    for offered, module in homes.items():
        assert getattr(package, offered) is getattr(import_module(f"{name}.{module}"), offered)


def test_keys_of_streams_are_spelled_in_one_place():
    spelled = re.compile(r'^(STATE|ACTION|LANGUAGE|IMAGE)_KEY\w* =|"observation\.(state|images)', re.M)
    homes = [path.relative_to(SOURCE).as_posix() for path in SOURCE.rglob("*.py") if spelled.search(path.read_text())]
    assert homes == ["timeline/keys.py"]


@pytest.mark.parametrize("package", PACKAGES)
def test_no_package_is_empty(package):
    inside = [info for info in pkgutil.iter_modules(import_module(package).__path__) if info.name != "__main__"]
    assert inside, f"{package} has no module; a room appears when something lives in it"


def test_every_module_has_a_docstring_that_says_what_it_is():
    for path in SOURCE.rglob("*.py"):
        assert path.read_text().startswith('"""'), f"{path} has no docstring"


def test_json_is_written_by_the_storage_room_which_knows_no_infinity():
    writing = re.compile(r"(write_\w+|\.write|attrs\[.*)\(.*json\.dumps|json\.dump\(")
    assert [str(path) for path in SOURCE.rglob("*.py") if writing.search(path.read_text())] == []


def test_files_stay_small():
    lengths = {path: len(path.read_text().splitlines()) for path in SOURCE.rglob("*.py")}
    assert {str(path): length for path, length in lengths.items() if length > 400} == {}
