"""Finding LIBERO (Liu et al., 2023) and its assets, and importing it without a question, a warning or a stray file.

By itself LIBERO's first import asks on standard input where its data sets go, and robosuite's opens a log file under
/tmp, which fails where another user's lies there.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import logging
import os
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from tempovla.env.rendering import RenderingUnavailableError, select_backend
from tempovla.storage.extras import install_command
from tempovla.storage.whole import write_text

ASSETS_VARIABLE = "TEMPOVLA_LIBERO_ASSETS"
INSTALL_COMMAND = "pip install --no-deps hf-libero==0.1.4 robosuite==1.4.0 bddl==1.0.1"
"""Follows the command that installs the extra `libero`."""
DOWNLOAD_COMMAND = "hf download lerobot/libero-assets --repo-type dataset --local-dir ~/.cache/libero/assets"

_PACKAGES = (
    *("libero", "robosuite", "bddl", "mujoco", "gymnasium", "numba", "scipy", "cv2", "PIL", "yaml"),
    *("easydict", "termcolor", "matplotlib", "future", "cloudpickle", "networkx"),
)
_CONFIG_VARIABLE = "LIBERO_CONFIG_PATH"


def _install_all() -> str:
    return f"{install_command('libero')} && {INSTALL_COMMAND}"


class LiberoUnavailableError(ValueError):
    """LIBERO's packages or assets are not on this machine."""


@cache
def package_root() -> Path:
    """Return the installed package's folder with `bddl_files` and `init_files`, found without importing it.

    Raises:
        LiberoUnavailableError: if LIBERO or something that it imports is not installed.
    """
    missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise LiberoUnavailableError(f"LIBERO needs {', '.join(missing)}, not installed here; {_install_all()}")
    spec = importlib.util.find_spec("libero")
    root = Path(next(iter(spec.submodule_search_locations or ())), "libero") if spec else Path()
    if not (root / "bddl_files").is_dir():
        raise LiberoUnavailableError(f"the installed package libero has no {root / 'bddl_files'}; {_install_all()}")
    return root


def locate_assets(folder: str | os.PathLike | None = None) -> Path:
    """Return the folder with LIBERO's scenes, objects and textures.

    Args:
        folder: looked at alone where it is given; otherwise the environment variable TEMPOVLA_LIBERO_ASSETS, then the
            installed package, then the place where LIBERO keeps what it downloads.

    Raises:
        LiberoUnavailableError: if there is none.
    """
    named = [("assets", folder), (ASSETS_VARIABLE, os.environ.get(ASSETS_VARIABLE))]
    for source, path in named:
        if path:
            assets = Path(path).expanduser()
            if not (assets / "scenes").is_dir():
                raise LiberoUnavailableError(f"{source}={path} has no folder scenes; name LIBERO's asset folder")
            return assets.resolve()
    for path in (package_root() / "assets", Path("~/.cache/libero/assets").expanduser()):
        if (path / "scenes").is_dir():
            return path
    raise LiberoUnavailableError(
        f"LIBERO's assets are not on this machine; set {ASSETS_VARIABLE} to their folder, or: {DOWNLOAD_COMMAND}"
    )


def import_environments(assets: Path) -> Any:
    """Return the module `libero.libero.envs`. In the whole process it uses `assets` from now on."""
    package_root()
    module = _import_environments()
    vars(importlib.import_module("libero.libero"))["_assets_path_cache"] = str(assets)
    return module


@cache
def _import_environments() -> Any:
    try:
        backend = select_backend()
    except RenderingUnavailableError:
        backend = "glx"  # what robosuite can import without any OpenGL library; nothing is drawn with it
    with _environment_variable("MUJOCO_GL", backend), _libero_config(), _silent_robosuite():
        return importlib.import_module("libero.libero.envs")


@contextlib.contextmanager
def _environment_variable(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        del os.environ[name]
        if before is not None:
            os.environ[name] = before


@contextlib.contextmanager
def _libero_config() -> Iterator[None]:
    """LIBERO_CONFIG_PATH names a folder with a config.yaml: the user's if there is one, else one of ours."""
    chosen = Path(os.environ.get(_CONFIG_VARIABLE, "~/.libero")).expanduser()
    if not (chosen / "config.yaml").is_file():
        chosen = _own_config_folder()
    with _environment_variable(_CONFIG_VARIABLE, str(chosen)):
        yield


def _own_config_folder() -> Path:
    """A folder with a config.yaml that names the installed package's own folders, as LIBERO's defaults do."""
    root = package_root()
    entries = {"benchmark_root": root, "bddl_files": root / "bddl_files", "init_states": root / "init_files"}
    entries |= {"datasets": root.parent / "datasets", "assets": root / "assets"}
    text = "".join(f"{key}: {str(path)!r}\n" for key, path in entries.items())
    cache_folder = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "tempovla" / "libero"
    try:
        cache_folder.mkdir(parents=True, exist_ok=True)
        folder = cache_folder
        _write_atomically(folder / "config.yaml", text)
    except OSError:  # a read-only home
        folder = Path(tempfile.mkdtemp(prefix="tempovla-libero-"))
        _write_atomically(folder / "config.yaml", text)
    return folder


def _write_atomically(path: Path, text: str) -> None:
    if path.is_file() and path.read_text(encoding="utf-8") == text:
        return
    write_text(path, text)


@contextlib.contextmanager
def _silent_robosuite() -> Iterator[None]:
    """No warnings about a missing macro file, and no log file under /tmp while robosuite is imported."""
    logging.getLogger("robosuite_logs").setLevel(logging.ERROR)
    file_handler = logging.FileHandler
    vars(logging)["FileHandler"] = _NoFileHandler
    try:
        yield
    finally:
        vars(logging)["FileHandler"] = file_handler


class _NoFileHandler(logging.NullHandler):
    def __init__(self, filename: str) -> None:
        super().__init__()
