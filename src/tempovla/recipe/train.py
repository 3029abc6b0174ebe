"""Train any registered system, from Python as from the command line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from tempovla.recipe.settings.config_files import OPTION, with_packaged_configs
from tempovla.recipe.settings.recipe_parser import read_recipe
from tempovla.recipe.settings.values_only import load_yaml
from tempovla.recipe.systems.registry import SYSTEM_REGISTRY, find_system, name_of
from tempovla.storage.json_files import read_text
from tempovla.storage.writable import expanded, holder_of
from tempovla.timeline.arguments import brief, path_argument, text_argument
from tempovla.timeline.config import config_from_json, config_to_json
from tempovla.timeline.device import on_device
from tempovla.timeline.lazy import loaded
from tempovla.training.result import FitResult


def train(
    recipe: Any,
    out: str | Path | None = None,
    *,
    system: str | None = None,
    dataset: str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
    resume: str | Path | None = None,
    device: str | None = None,
    **options: Any,
) -> FitResult | Mapping[str, FitResult]:
    """Train a system.

    Args:
        recipe: what the run is made of: a recipe such as a `VLARecipe`, a YAML file, or the name of a config that comes
            with the package, such as `vla_metaworld`.
        out: folder of the run; None takes the system's own.
        system: name in `SYSTEM_REGISTRY`; None finds it by the recipe's type, or by the file's key `system`, or by
            its name where that begins with a system's.
        dataset: root of the dataset, instead of the recipe's.
        settings: keys of the recipe with other values, e.g. `{"training.batch_size": 8}`; for a YAML file alone.
        resume: checkpoint of this run to go on from.
        device: `cpu` or `cuda`; None takes CUDA where there is one.
        options: options of the system beside its recipe, such as `base_checkpoint` of a VLA; None and False mean that
            an option is left out.

    Returns:
        How the run ended; for a system of several phases, by their names.

    Raises:
        ValueError: for an unknown system, option or key, for CUDA where there is none, and as the system's own training
            does.
    """
    _check_arguments(out, system, dataset, settings, resume)
    if isinstance(recipe, str | Path):
        path_argument("recipe", recipe, "a YAML file")
        given = dict(settings or {})
        if dataset is not None:
            given["dataset"] = str(dataset)
        with _without_option():
            name = system or _system_of(Path(recipe))
            found = find_system(name)
            recipe = read_recipe(name, found, recipe, given)
    elif settings or dataset is not None:
        raise ValueError("settings and dataset are for a YAML file; change the recipe itself with dataclasses.replace")
    else:
        name = system or name_of(recipe)
        found = find_system(name)
    if not isinstance(recipe, found.recipe):
        raise ValueError(f"{name} is trained from a {found.recipe.__name__}, not from a {type(recipe).__name__}")
    recipe = config_from_json(found.recipe, config_to_json(recipe), "recipe", upgrade=False)
    known = [option.name for option in found.options]
    unknown = [option for option in options if option not in known]
    if unknown:
        remedy = "; to go on from a checkpoint, give resume=CHECKPOINT" if unknown[0] == "checkpoint" else ""
        raise ValueError(f"{name} has no option {unknown[0]!r}; it has {', '.join(known) or 'none'}{remedy}")
    chosen = {option: value for option, value in options.items() if value is not None and value is not False}
    for option in found.options:
        if option.type is str and not isinstance(chosen.get(option.name, ""), str | Path):
            raise ValueError(
                f"{option.name}={brief(chosen[option.name])} is no path; give a folder, or a name on the hub"
            )
    with on_device(device):
        return loaded(found.train)(recipe, found.out if out is None else expanded(out), resume=resume, **chosen)


@contextmanager
def _without_option() -> Iterator[None]:
    """Leave out the option of the command line with which messages about a config's name begin."""
    try:
        yield
    except ValueError as problem:
        if not str(problem).startswith(f"{OPTION} "):
            raise
        raise ValueError(str(problem).removeprefix(f"{OPTION} ")) from None


def _check_arguments(out: Any, system: Any, dataset: Any, settings: Any, resume: Any) -> None:
    """Refuse arguments of other types than `train` takes.

    Raises:
        ValueError: in one line that names the argument.
    """
    for name, value, what in (
        ("out", out, "the folder of the run"),
        ("dataset", dataset, "the dataset"),
        ("resume", resume, "a checkpoint of the run"),
    ):
        if value is not None:
            path_argument(name, value, what)
    if out is not None:
        found = holder_of(expanded(out))
        if found is not None:
            kind, folder = found
            place = f"is a {kind}" if folder == expanded(out) else f"lies in the {kind} {folder}"
            raise ValueError(f"{out}: {place}, in which no run can be kept; choose another folder for out")
    if system is not None:
        text_argument("system", system, "vla")
    if settings is not None and not (isinstance(settings, Mapping) and all(isinstance(key, str) for key in settings)):
        raise ValueError(f"settings={brief(settings)}: give keys and values, such as {{'training.batch_size': 8}}")


def _system_of(config: Path) -> str:
    """Return the system that a config says it trains, or else the one whose name its own begins with.

    Raises:
        ValueError: if there is none.
    """
    if not config.exists():
        config = Path(with_packaged_configs([OPTION, str(config)])[1])
    said = _said_system(config) if config.is_file() else None
    first = config.stem.partition("_")[0]
    if said is not None or first in SYSTEM_REGISTRY:
        return first if said is None else said
    if config.is_dir():
        remedy = (
            "; to go on from a checkpoint, give resume=CHECKPOINT beside it"
            if (config / "bundle.json").is_file()
            else ""
        )
        raise ValueError(
            f"{config}: a folder, not a config; give a YAML file, or the name of a packaged config{remedy}"
        )
    if not config.exists():
        raise ValueError(f"{config}: no such file; give a YAML file, or the name of a packaged config")
    known = ", ".join(sorted(SYSTEM_REGISTRY))
    raise ValueError(f"{config}: does not say what it trains; write `system:` into it, or give system, one of {known}")


def _said_system(config: Path) -> str | None:
    """Return what a file has under `system`; None where it is no sound file, of which the parser will complain."""
    try:
        settings = load_yaml(read_text(config, remedy="give a YAML file"))
    except yaml.YAMLError:
        return None
    system = settings.get("system") if isinstance(settings, dict) else None
    return system if isinstance(system, str) else None
