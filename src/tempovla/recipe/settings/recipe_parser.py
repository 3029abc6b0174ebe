"""The parser of a recipe: every key as an option, and YAML files of any of them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from jsonargparse import Namespace

from tempovla.recipe.settings.complaints import check_groups, check_system, parse
from tempovla.recipe.settings.parser import ArgumentParser, add_other_name, add_short_names, build_parser
from tempovla.recipe.settings.suggestions import suggest
from tempovla.recipe.settings.system import System
from tempovla.timeline.arguments import brief, plain
from tempovla.timeline.config import config_from_json, config_to_json
from tempovla.timeline.lazy import loaded
from tempovla.timeline.plugins import plugins_in_use, require_plugins

OF_THE_COMMAND = ("--config", "--help", "--print_config")
"""Options that are no settings."""


def parts_of(system: System) -> list[str]:
    """Return the fields of a system's recipe: data, transform, model and training, and others of its own."""
    return [field.name for field in fields(system.recipe)]


def start_recipe_parser(name: str, summary: str, usage: str, system: System) -> ArgumentParser:
    """Return a parser of `--config` and `--plugins`, to which further options may be added before `add_recipe`."""
    kind = ArgumentParser if system.parser is None else loaded(system.parser)
    parser = build_parser(name, summary, usage, system.examples, kind)
    about_config = "YAML file of any of the keys below, or the name of a packaged one"
    parser.add_argument("--config", action="config", metavar="FILE", help=about_config)
    parser.add_argument(
        "--system",
        default=name.split()[-1],
        metavar="NAME",
        help="system that a config file is for; the command itself names it",
    )
    parser.add_argument(
        "--plugins",
        type=list[str],
        default=list(plugins_in_use()),
        metavar="[MODULE,...]",
        help="plugins that a config file needs; they are imported if they are trusted, see --plugin",
    )
    return parser


def add_recipe(parser: ArgumentParser, system: System) -> ArgumentParser:
    """Add every key of the system's recipe, and its short names."""
    parser.add_class_arguments(system.recipe, None)
    for link in system.links:
        parser.link_arguments(link.source, link.target, compute_fn=link.compute)
    add_short_names(parser)
    if system.dataset:
        add_other_name(parser, "--dataset", f"--{system.dataset}")
    parser.last_check = lambda found: _check_recipe(system, found)
    return parser


def _check_recipe(system: System, arguments: Namespace) -> None:
    """Refuse settings that a recipe does not take, although the parser lets them pass.

    Such are null in the place of a text, and two settings that exclude each other.

    Raises:
        ValueError: naming the key.
    """
    for part in parts_of(system):
        config_from_json(type(arguments[part]), config_to_json(arguments[part]), part, upgrade=False)
    system.recipe(**{part: arguments[part] for part in parts_of(system)})


def recipe_of_arguments(name: str, system: System, arguments: Namespace) -> Any:
    """Return the recipe that parsed arguments describe."""
    require_plugins(arguments.plugins or (), "--plugins")
    check_system({"system": arguments.system}, f"train {name}", "--system")
    return system.recipe(**{part: arguments[part] for part in parts_of(system)})


def read_recipe(name: str, system: System, config: str | Path | None, settings: Mapping[str, Any]) -> Any:
    """Return a system's recipe from a YAML file, by its path or its name, and settings that go before it.

    Args:
        name: of the system.
        system: the system.
        config: a file, or the name of a config that comes with the package, such as `vla_metaworld`; None for none.
        settings: by key, e.g. `training.batch_size`, or by the end of a key where no other ends so.

    Raises:
        ValueError: in one line, for a file that is not there, and a key or a value that does not fit.
    """
    parser = _parser_of(name, system)
    written = [f"--{key}={_as_yaml(key, value)}" for key, value in settings.items()]
    check_groups(parser, settings, "settings")
    for key in settings:
        _check_setting(key, parser, name, system)
    arguments = [*([] if config is None else ["--config", str(config)]), *written]
    see = f"the fields of {system.recipe.__name__}"
    return recipe_of_arguments(name, system, parse(parser, arguments, f"train {name}", see))


def _parser_of(name: str, system: System) -> ArgumentParser:
    """Return a parser of a system's recipe, without the options of a command."""
    return add_recipe(start_recipe_parser(f"train {name}", "", "", system), system)


def _check_setting(key: str, parser: ArgumentParser, name: str, system: System) -> None:
    """Refuse a key that a system's recipe does not have.

    Raises:
        ValueError: naming it, and the key that was probably meant.
    """
    known, parts = parser._option_string_actions, parser.known_spelling(f"--{key}").split(".")
    option = ".".join(parts)
    heads = (".".join(parts[:length]) for length in range(len(parts) - 1, 0, -1))
    nearest = next((known[head] for head in heads if head in known), None)  # which may have keys of its own
    if option not in OF_THE_COMMAND and (option in known or type(nearest).__name__ == "ActionTypeHint"):
        return
    near = suggest(key.replace("-", "_"), (), parser, in_config=False)
    remedy = f"did you mean {' or '.join(map(repr, near))}?" if near else f"see the fields of {system.recipe.__name__}"
    raise ValueError(f"settings: {key!r} is no setting of {name}; {remedy}")


def _as_yaml(key: str, value: Any) -> str:
    """A value as it is written on a command line.

    Raises:
        ValueError: naming the key, if a config file cannot hold the value.
    """
    value = plain(value)
    if isinstance(value, float) and not math.isfinite(value):
        return ".nan" if math.isnan(value) else ".inf" if value > 0 else "-.inf"
    try:
        return value if isinstance(value, str) else json.dumps(value, default=_as_json)
    except (TypeError, ValueError):
        raise ValueError(
            f"settings: {key} is {brief(value)}; give a number, a text, True or False, None, or a list or dict of these"
        ) from None


def _as_json(value: Any) -> Any:
    """A part of a setting as JSON has it: numbers of numpy, arrays, paths and configs."""
    if is_dataclass(value) and not isinstance(value, type):
        return config_to_json(value)
    found = value.tolist() if hasattr(value, "tolist") else plain(value)
    if found is value:
        raise TypeError(type(value).__name__)
    return found
