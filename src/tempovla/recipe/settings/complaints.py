"""Parsing of settings, with errors of one line that name the config file, the key and a suggestion."""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import importlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import Namespace

from tempovla.recipe.settings.config_files import config_files, config_to_blame, with_packaged_configs
from tempovla.recipe.settings.parser import ArgumentParser
from tempovla.recipe.settings.suggestions import known_options, missing_position, suggest
from tempovla.recipe.settings.values_only import load_yaml
from tempovla.storage.json_files import read_text
from tempovla.timeline.arguments import brief
from tempovla.timeline.config import LARGEST, typed_from_json
from tempovla.timeline.plugins import require_plugins

MOST_CONFIG_BYTES = 16 << 20
PLUGINS, SYSTEM = "plugins", "system"
"""Keys of a config file for the plugins that it needs, and for what it trains."""
OF_AN_ENTRY = re.compile(
    r"Problem with given class_path '(?P<path>tempovla[\w.]*)':\s*(?:Option '(?P<key>[^']*)' is not accepted\.?)?"
)
"""A parser's complaint about an entry of a list such as `data.mixture`, which names a class."""

OF_NO_ENTRY = re.compile(r"Not a valid subclass of \w+\. Got value: (.*?)\s+Subclass types expect .*", re.DOTALL)
"""A parser's complaint about an entry of a list or mapping of configs that is none."""
OF_ONE_VALUE = re.compile(r"\"([\w.]+)\":\s+expected [\w ]+, got value: NestedArg\(key=('[^']*'), val=.*\)", re.DOTALL)
"""A parser's complaint about an option such as `--dataset.repo_id`, whose first part is no group."""
OF_KEYS = re.compile(r"([\w.]+)=|([\w.]+) is |keys \['(\w+)'\]")
"""Keys that the complaint of a config names."""


def parse(parser: ArgumentParser, arguments: list[str], name: str, see: str | None = None) -> Namespace:
    """Return the settings of a command line and of the config files that it names, with configs built.

    Args:
        parser: of the command.
        arguments: the command line after the command's name.
        name: of the command, e.g. `train vla`, for messages.
        see: to what a message points; None is the help of the command.

    Raises:
        ValueError: in one line, if something is misspelled, missing or of another type, or a config refuses a value.
    """
    arguments = with_packaged_configs(arguments)
    for config in config_files(arguments):
        text = read_text(config, remedy="give a YAML file", most_bytes=MOST_CONFIG_BYTES)
        settings = _settings_of(text, str(config))
        check_groups(parser, settings, str(config))
        require_plugins(_plugins_of(settings), str(config))
        check_system(settings, name, str(config))

    def parsed(given: list[str]) -> Namespace:
        _check_single_values(parser, given)
        found = parser.parse_args(given)
        check_sizes(found.as_dict())
        check_nulls(parser, found)
        return parser.instantiate(found)

    def complaint_of(fewer: list[str]) -> str | None:
        try:
            parsed(fewer)
        except (argparse.ArgumentError, TypeError, yaml.YAMLError, ValueError) as other:
            return str(other)
        return None

    try:
        return parsed(arguments)
    except argparse.ArgumentError as error:
        blamed = config_to_blame(arguments, str(error), complaint_of)
        complaint = " ".join(explain(str(error), parser, arguments, blamed).split())
        raise ValueError(f"{complaint}; see {see or f'`tempovla {name} --help`'}") from error
    except (TypeError, yaml.YAMLError) as error:  # of the parser, at a value of which it expects that it is an object
        blamed = config_to_blame(arguments, str(error), complaint_of)
        if blamed is None:
            raise
        reason = " ".join(str(error).split()).rpartition(" argument after ** ")[2]
        raise ValueError(
            f"{blamed}: a value of another kind than its key has ({reason}); compare it with `tempovla {name} "
            "--print_config`"
        ) from error
    except ValueError as error:
        keys = [key for found in OF_KEYS.findall(str(error)) for key in found if key]
        blamed = config_to_blame(arguments, str(error), complaint_of)
        if blamed is None or str(blamed) in str(error) or is_on_command_line(keys, arguments):
            raise
        raise ValueError(f"{blamed}: {error}") from error


def _check_single_values(parser: ArgumentParser, arguments: Sequence[str]) -> None:
    """Refuse an option such as `--out.x`, whose first part is an option of one text, as which it would be taken.

    Raises:
        argparse.ArgumentError: as the parser does for options of other types.
    """
    end = arguments.index("--") if "--" in arguments else len(arguments)
    for word in arguments[:end]:
        option = parser.known_spelling(word).partition("=")[0]
        if not option.startswith("--") or option in parser._option_string_actions:
            continue
        parts = option.split(".")
        for length in range(len(parts) - 1, 0, -1):
            action = parser._option_string_actions.get(".".join(parts[:length]))
            if isinstance(action, argparse._StoreAction):
                key = ".".join(parts[length:])
                raise argparse.ArgumentError(
                    None, f"\"{action.dest}\": is one value and has no key '{key}'; give the value itself"
                )


def check_sizes(values: Mapping[str, Any], group: str = "") -> None:
    """Refuse whole numbers that neither tensors nor files hold.

    Raises:
        ValueError: naming the key.
    """
    for name, value in values.items():
        key = f"{group}{name}"
        if isinstance(value, Mapping):
            check_sizes(value, f"{key}.")
        elif isinstance(value, int) and abs(value) >= LARGEST:
            raise ValueError(f"{key}={value} is too large; give a number of less than 2**63")


def check_nulls(parser: ArgumentParser, found: Namespace) -> None:
    """Refuse null for keys that have a default and cannot be null, which the parser lets pass in a config file.

    Raises:
        ValueError: naming the key, and what it must be.
    """
    for action in parser._actions:
        hint = getattr(action, "_typehint", None)
        if hint not in (None, Any) and action.default is not None and found.get(action.dest, "") is None:
            typed_from_json(hint, None, action.dest)


def _settings_of(text: str, where: str) -> Mapping[str, Any]:
    """Return what a config file says; nothing where it is no sound file, of which the parser will complain.

    Raises:
        ValueError: if it holds something else than keys and values, or names another file.
    """
    try:
        settings = load_yaml(text)
    except yaml.YAMLError:
        return {}
    if not isinstance(settings, dict):
        held = "is empty" if settings is None else f"holds {brief(settings)}"
        raise ValueError(
            f"{where}: {held}, where a config holds keys and values, such as `training: {{batch_size: 8}}`"
        )
    if "config" in settings:
        raise ValueError(f"{where}: has a key 'config', but reads no other config; give --config once for each of them")
    return settings


def check_groups(parser: ArgumentParser, settings: Mapping[str, Any], where: str) -> None:
    """Refuse a config in which a group of keys, such as `model`, has a value of its own, which would be passed over.

    Raises:
        ValueError: naming the config, the group and its value.
    """
    dests = [action.dest.split(".") for action in parser._actions if not action.dest.endswith(".help")]
    for path in dict.fromkeys(tuple(dest[:length]) for dest in dests for length in range(1, len(dest))):
        value: Any = settings
        for name in path:
            value = value.get(name, {}) if isinstance(value, Mapping) else {}
        if not isinstance(value, Mapping | str):
            group, shown = ".".join(path), "nothing" if value is None else brief(value)
            raise ValueError(f"{where}: {group} is {shown}; give it keys and values, or leave it out")


def _plugins_of(settings: Mapping[str, Any]) -> list[str]:
    """Return the plugins that a config file names."""
    named = settings.get(PLUGINS)
    return [name for name in named if isinstance(name, str)] if isinstance(named, list) else []


def check_system(settings: Mapping[str, Any], command: str, where: str) -> None:
    """Refuse a config that says that it trains another system than the command does.

    Raises:
        ValueError: naming the command that takes it.
    """
    system = settings.get(SYSTEM)
    if system is not None and not isinstance(system, str):
        raise ValueError(f"{where}: system is {brief(system)}; give the name of one system, such as vla")
    if command.startswith("train ") and system is not None and f"train {system}" != command:
        raise ValueError(f"{where}: is for `tempovla train {system}`, not for `tempovla {command}`")


def is_on_command_line(keys: Sequence[str], arguments: Sequence[str]) -> bool:
    """Return whether one of these keys is on the command line, so that the complaint is not about the config."""
    options = {_underscored(word).partition("=")[0].lstrip("_") for word in arguments if word.startswith("--")}
    given = {option.rsplit(".", 1)[-1] for option in options}
    return any(_underscored(key).rsplit(".", 1)[-1] in given for key in keys)


def explain(message: str, parser: ArgumentParser, arguments: Sequence[str], config: Path | None) -> str:
    """Return a parser's complaint with the name of the config file and a suggestion for a misspelled key."""
    message, of_entries = OF_AN_ENTRY.subn(_of_an_entry, message)
    message = re.sub("Expected a dot import path string: ", "an entry of it is not keys and values, but ", message)
    message = re.sub(r"typing\.Literal\[([^]]*)\]", lambda found: _either(found[1]), message)
    message = re.sub(
        r"Does not validate against any of the Union.*Given value: (.*)", _expected_union, message, flags=re.S
    )
    message = re.sub(r"Expected a (<class ')?([^']+?)('>)?\. Got", r"expected \2, got", message)
    message = OF_NO_ENTRY.sub(r"an entry of it is not keys and values, but \1", message)
    message = re.sub(r"expected tuple( or null)?, got", r"expected a list\1, got", message)
    message = re.sub(r"(expected a list(?: or null)?, got value: (\w+))$", r"\1; write [\2]", message.rstrip("."))
    message = message.replace("expected collections.abc.Mapping, got", "expected keys and values, got")
    message = message.replace("Parser key ", "").rstrip(".")
    message = OF_ONE_VALUE.sub(r'"\1": is one value and has no key \2; give the value itself', message)
    message = re.sub(r"(?<=arguments are required: ).+", lambda found: _as_options(found[0], parser), message)
    named = _keys_in(message)
    in_config = config is not None and not is_on_command_line(named, arguments)
    if in_config and str(config) not in message:
        message = f"{config}: {message}"
    if of_entries:  # whose keys are no options
        return message
    if message.startswith("unrecognized arguments: "):
        return _with_hints(message, named, parser)
    known = known_options(parser, in_config=in_config)
    for place in reversed(range(len(named))):
        key = named[place]
        near = suggest(key, named[:-1], parser, in_config=in_config) if key not in known or key == "data" else []
        if near:
            return f"{message}; did you mean {' or '.join(near if in_config else [f'--{option}' for option in near])}?"
    return message


def _keys_in(message: str) -> list[str]:
    """The options and keys that a complaint names, with underscores."""
    said = message.partition(", got value: ")[0].partition('": is ')[0] + '"'
    keys = re.findall(r"--([\w.-]+)|'([\w.]+)'|\"([\w.]+)\"", said)
    return [_underscored(key) for groups in keys for key in groups if key]


def _with_hints(message: str, unknown: Sequence[str], parser: ArgumentParser) -> str:
    """A complaint about unknown options, with what each of them may have meant."""
    hints = {}
    for key in unknown:
        position = missing_position(key, parser)
        near = suggest(key, (), parser, in_config=False)
        if position is not None:
            hints[key] = f"give {position} without --{key}"
        elif near:
            hints[key] = f"did you mean {' or '.join(f'--{option}' for option in near)}"
    if len(hints) < 2:
        return "; ".join([message, *hints.values()]) + ("?" if "did you mean" in "".join(hints.values()) else "")
    return "; ".join([message, *(f"for --{key}, {hint}?" if "did" in hint else hint for key, hint in hints.items())])


def _as_options(names: str, parser: ArgumentParser) -> str:
    """`root, episode` as `ROOT, --episode`: what is missing, as it is given."""
    written = {action.dest: [*action.option_strings, action.metavar][0] for action in parser._actions}
    return ", ".join(str(written.get(name) or name) for name in names.split(", "))


def _expected_union(complaint: re.Match[str]) -> str:
    """A parser's complaint about a value that may be of several types, without its list of failures."""
    types = re.findall(r"Expected an? (<class ')?([^\n]+?)('>)?(?=\. Got value|\.?\s+- |\.?\s+Given)", complaint[0])
    names = ["null" if name == "NoneType" else name for _, name, _ in types]
    return f"expected {' or '.join(dict.fromkeys(names))}, got value: {complaint[1].rstrip('.')}"


def _of_an_entry(complaint: re.Match[str]) -> str:
    """A parser's complaint about an entry of a list of configs, with the keys that it may have."""
    module, _, name = complaint["path"].rpartition(".")
    known = [field.name for field in dataclasses.fields(getattr(importlib.import_module(module), name))]
    key = complaint["key"]
    if key is None:
        return "of an entry of it: "
    near = difflib.get_close_matches(key, known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"it may have {', '.join(known)}"
    return f"an entry of it has no key '{key}'; {hint}"


def _either(values: str) -> str:
    """`'a', 'b'` as `a or b`."""
    return " or ".join(value.strip(" '") for value in values.split(","))


def _underscored(option: str) -> str:
    return option.replace("-", "_")
