"""LIBERO is imported without a question and without traces, and what is missing is named with its remedy."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("robosuite")

from tempovla.env import libero_setup
from tempovla.env.libero_setup import LiberoUnavailableError, locate_assets

PLAY = (
    "import sys; from tempovla.env.libero import LiberoConfig, LiberoEnv; "
    "env = LiberoEnv(LiberoConfig(render=False)); env.reset(seed=0); assert 'torch' not in sys.modules"
)
IMPORT = (
    "from tempovla.env.libero_setup import import_environments, locate_assets; import_environments(locate_assets())"
)


def run(code: str, home: Path, assets: Path, **environment: str) -> subprocess.CompletedProcess:
    inherited = {key: value for key, value in os.environ.items() if key not in ("LIBERO_CONFIG_PATH", "XDG_CACHE_HOME")}
    inherited |= {"HOME": str(home), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    inherited |= {"TEMPOVLA_LIBERO_ASSETS": str(assets)}
    return subprocess.run(
        [sys.executable, "-c", code],
        env=inherited | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.sim
def test_first_import_asks_nothing_says_nothing_and_leaves_home_alone(tmp_path: Path, libero_assets: Path) -> None:
    result = run(PLAY, tmp_path, libero_assets)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert not (tmp_path / ".libero").exists()
    assert (tmp_path / ".cache/tempovla/libero/config.yaml").is_file()


@pytest.mark.sim
def test_a_users_config_is_used_and_left_as_it_is(tmp_path: Path, libero_assets: Path) -> None:
    config = tmp_path / ".libero/config.yaml"
    config.parent.mkdir()
    config.write_text("datasets: /my/data\n")
    code = IMPORT + "; from libero.libero import get_libero_path; print(get_libero_path('datasets'))"
    assert run(code, tmp_path, libero_assets).stdout == "/my/data\n"
    assert config.read_text() == "datasets: /my/data\n"
    assert not (tmp_path / ".cache/tempovla").exists()


@pytest.mark.sim
def test_a_home_that_cannot_be_written_is_no_obstacle(tmp_path: Path, libero_assets: Path) -> None:
    result = run(IMPORT, tmp_path, libero_assets, XDG_CACHE_HOME="/dev/null", TMPDIR=str(tmp_path))
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.sim
def test_without_any_opengl_library_there_is_simulation_without_pictures(tmp_path: Path, libero_assets: Path) -> None:
    no_opengl = (
        "import ctypes; real = ctypes.CDLL.__init__\n"
        "def load(self, name=None, *args, **kwargs):\n"
        "    if any(part in str(name) for part in ('EGL', 'OSMesa', 'libGL')): raise OSError(name)\n"
        "    real(self, name, *args, **kwargs)\n"
        "ctypes.CDLL.__init__ = load\n"
    )
    result = run(no_opengl + PLAY + "; LiberoEnv(LiberoConfig())", tmp_path, libero_assets, MUJOCO_GL="")
    assert "RenderingUnavailableError: cannot render offscreen" in result.stderr.splitlines()[-1]


def test_missing_packages_are_named_with_the_command_that_installs_them(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in ("bddl", "cv2") else found(name))
    with pytest.raises(LiberoUnavailableError, match=r"needs bddl, cv2, .*pip install -e .*\[libero\]'? && "):
        libero_setup.package_root.__wrapped__()


def test_missing_assets_are_named_with_their_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(LiberoUnavailableError, match=rf"assets={tmp_path} has no folder scenes"):
        locate_assets(tmp_path)
    monkeypatch.setenv("TEMPOVLA_LIBERO_ASSETS", str(tmp_path))
    with pytest.raises(LiberoUnavailableError, match=rf"TEMPOVLA_LIBERO_ASSETS={tmp_path} has no folder scenes"):
        locate_assets()
    monkeypatch.delenv("TEMPOVLA_LIBERO_ASSETS")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(libero_setup, "package_root", lambda: tmp_path)
    with pytest.raises(LiberoUnavailableError, match="set TEMPOVLA_LIBERO_ASSETS to their folder, or: hf download"):
        locate_assets()


def test_assets_are_looked_for_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed, variable, setting = (tmp_path / name for name in ("assets", "variable", "setting"))
    for folder in (installed, variable, setting):
        (folder / "scenes").mkdir(parents=True)
    monkeypatch.setattr(libero_setup, "package_root", lambda: tmp_path)
    monkeypatch.delenv("TEMPOVLA_LIBERO_ASSETS", raising=False)
    assert locate_assets() == installed
    monkeypatch.setenv("TEMPOVLA_LIBERO_ASSETS", str(variable))
    assert locate_assets() == variable
    assert locate_assets(setting) == setting
    monkeypatch.setenv("HOME", str(tmp_path))
    assert locate_assets("~/setting") == setting


def test_the_command_that_errors_name_is_what_the_script_and_the_constraints_say() -> None:
    root = Path(__file__).resolve().parents[3]
    pins = libero_setup.INSTALL_COMMAND.partition("--no-deps ")[2]
    assert f"--no-deps {pins}\n" in (root / "scripts/install_libero.sh").read_text()
    assert set(pins.split()) <= set((root / "constraints.txt").read_text().splitlines())


@pytest.mark.sim
def test_a_single_missing_asset_is_named(tmp_path: Path, libero_assets: Path) -> None:
    from tempovla.env.libero import LiberoConfig, LiberoEnv

    shutil.copytree(libero_assets, tmp_path / "assets", ignore=lambda folder, names: {"textured_vis.msh"} & {*names})
    config = LiberoConfig(render=False, assets=str(tmp_path / "assets"))
    with pytest.raises(
        LiberoUnavailableError, match=r"libero_object needs .*textured_vis.msh, which is missing; set TEMPO"
    ):
        LiberoEnv(config)
    (tmp_path / "assets/scenes/libero_floor_base_style.xml").unlink(missing_ok=True)
    with pytest.raises(LiberoUnavailableError, match=r"needs .*libero_floor_base_style.xml, which is missing"):
        LiberoEnv(config)
