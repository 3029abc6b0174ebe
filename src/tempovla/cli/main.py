"""The command `tempovla`: finds the subcommand, runs it, and turns errors of users into one line.

Exit codes: 0 done, 1 a failure that is not the user's, 2 a user's error, 3 training that diverged, 130 stopped by
Ctrl-C.
"""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import importlib
import os
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tempovla import __version__
from tempovla.cli.config_files import config_files, config_to_blame, with_packaged_configs
from tempovla.storage.extras import install_command
from tempovla.storage.json_files import read_text, to_json_text
from tempovla.train.interrupt import TrainingInterrupted

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

COMMANDS: dict[str, tuple[str, str]] = {
    "demo": ("tempovla.cli.demo", "collect, train, evaluate beside baselines and report, on Meta-World"),
    "collect metaworld": ("tempovla.cli.collect_metaworld", "record demonstrations of Meta-World's scripted experts"),
    "collect libero": ("tempovla.cli.collect_libero", "record demonstrations of LIBERO-Object's scripted expert"),
    "collect memory": (
        "tempovla.cli.collect_memory",
        "record demonstrations of tasks that no single frame solves",
    ),
    "data inspect": ("tempovla.cli.data_inspect", "say what a dataset holds, LeRobot's or LIBERO's"),
    "data sample": ("tempovla.cli.data_sample", "write windows around one frame of a dataset to a .npz file"),
    "data stats": ("tempovla.cli.data_stats", "show what a dataset is normalised by, check it, or compute it anew"),
    "data convert": ("tempovla.cli.data_convert", "make a LeRobot v3.0 dataset of v2.1, LIBERO's files or rollouts"),
    "convert weights": ("tempovla.cli.convert_weights", "make safetensors of a model's pytorch_model.bin"),
    "convert openvla": ("tempovla.cli.convert_openvla", "make a policy to evaluate of a published OpenVLA checkpoint"),
    "train align": ("tempovla.cli.train_align", "train a vision-language model's projector on pictures and captions"),
    "train instruct": (
        "tempovla.cli.train_instruct",
        "train a vision-language model to answer about pictures, before a policy is built on it",
    ),
    "train openvla": ("tempovla.cli.train_openvla", "fine-tune OpenVLA, with adapters (LoRA) or as a whole"),
    "train smolvla": (
        "tempovla.cli.train_smolvla",
        "train SmolVLA: a SmolVLM, and an action expert that reads its layers",
    ),
    "train statevla": ("tempovla.cli.train_statevla", "train StateVLA: temporal JEPA, then flow matching"),
    "train vla": (
        "tempovla.cli.train_vla",
        "train a VLA: vision encoder, language model and action head of your choice",
    ),
    "diagnose memory": (
        "tempovla.cli.diagnose_memory",
        "say whether a policy uses its past: demonstrations with the past cut, shuffled, or another's",
    ),
    "eval compare": (
        "tempovla.cli.eval_compare",
        "compare two evaluations, and say whether the difference means anything",
    ),
    "eval libero": ("tempovla.cli.eval_libero", "run a trained policy on a LIBERO suite, and count successes"),
    "eval memory": ("tempovla.cli.eval_memory", "run a trained policy on the memory benchmark, and count successes"),
    "eval metaworld": ("tempovla.cli.eval_metaworld", "run a trained policy in Meta-World, and count successes"),
    "eval offline": ("tempovla.cli.eval_offline", "compare a trained policy's actions with held-out demonstrations"),
    "export": ("tempovla.cli.export", "write a trained policy to an ONNX, TorchScript or torch.export file"),
    "report": ("tempovla.cli.report", "write the HTML report of a run"),
}
"""Subcommand to its module, which has `build()` and `run(args)`, and to its summary."""

EXTRA_OF_MODULE = {
    "peft": "lora",
    "diffusers": "diffusion",
    "metaworld": "sim",
    "mujoco": "sim",
    "gymnasium": "sim",
    "rerun": "viz",
    "onnx": "export",
    "onnxscript": "export",
    "onnxruntime": "export",
}
HELP_FLAGS = ("-h", "--help")
INTERRUPTED = 130
MOST_CONFIG_BYTES = 16 << 20
OF_AN_ENTRY = re.compile(
    r"Problem with given class_path '(?P<path>tempovla[\w.]*)':\s*(?:Option '(?P<key>[^']*)' is not accepted\.?)?"
)
"""What a parser says of an entry of a list such as `data.mixture`: the class of its keys, which nobody gave."""
SETTING_TO_GIVE = re.compile(r"\b(set|or|and|with|by) (?=(?:data|transform|model|training)\.[\w.]+=)")
LONGEST_LINE = 1_500
"""Characters of an error: a file may say a megabyte where a name belongs."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments or os.environ.get("TEMPOVLA_DEBUG", "0") != "0"
    try:
        arguments = without_plugins([argument for argument in arguments if argument != "--debug"])
        return dispatch(arguments, debug)
    except TrainingInterrupted as stop:
        return tell_interrupted(f"go on with --checkpoint {stop.checkpoint}")
    except KeyboardInterrupt as stop:
        return tell_interrupted(str(stop))
    except (ValueError, OSError) as error:
        if debug:
            raise
        code = getattr(error, "exit_code", 2)  # a `DivergedError` has one of its own
        return complain(as_options(one_line(error)), code)
    except ModuleNotFoundError as error:
        if debug or error.name not in EXTRA_OF_MODULE:
            raise
        extra = EXTRA_OF_MODULE[error.name]
        return complain(f"{error.name} is not installed; install it with `{install_command(extra)}`", 2)


def without_plugins(arguments: list[str]) -> list[str]:
    """Import the modules that `--plugin MODULE` names; the other arguments.

    Raises:
        ValueError: if one is not named, or cannot be imported.
    """
    others, waiting = [], iter(arguments)
    for argument in waiting:
        option, equals, name = argument.partition("=")
        if option != "--plugin":
            others.append(argument)
            continue
        name = name if equals else next(waiting, "")
        if not all(part.isidentifier() for part in name.split(".")):
            raise ValueError(f"--plugin {name!r} is no name of a module; give one such as my_robot.policies")
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise ValueError(
                f"--plugin {name}: {one_line(error)}; install it, or name its folder in PYTHONPATH"
            ) from error
    return others


def dispatch(arguments: list[str], debug: bool) -> int:
    """Run the subcommand that the arguments begin with, or show help."""
    if arguments[:1] == ["--version"]:
        write(f"tempovla {__version__}")
        return 0
    words = 0
    while words < len(arguments) and any(is_prefix(arguments[: words + 1], name) for name in COMMANDS):
        words += 1
    name, rest = " ".join(arguments[:words]), arguments[words:]
    if name in COMMANDS:
        return run_command(name, rest, debug)
    if rest and rest[0] not in HELP_FLAGS:
        raise ValueError(unknown_command(name, rest[0]))
    write(help_text(name))
    return 0


def is_prefix(words: Sequence[str], name: str) -> bool:
    """Whether these are the first words of a subcommand's name."""
    return name.split()[: len(words)] == list(words)


def run_command(name: str, arguments: list[str], debug: bool) -> int:
    """Parse a subcommand's arguments, run it, and write its outcome."""
    import yaml

    from tempovla.cli.logs import set_up_logging

    arguments = with_packaged_configs(arguments)
    module = importlib.import_module(COMMANDS[name][0])
    parser = module.build(name, COMMANDS[name][1])
    for config in config_files(arguments):
        read_text(config, remedy="give a YAML file", most_bytes=MOST_CONFIG_BYTES)

    def complaint_of(fewer: list[str]) -> str | None:
        try:
            parser.instantiate(parser.parse_args(fewer))
        except (argparse.ArgumentError, TypeError, yaml.YAMLError, ValueError) as other:
            return str(other)
        return None

    try:
        args = parser.parse_args(arguments)
        given = parser.instantiate(args)
    except argparse.ArgumentError as error:
        blamed = config_to_blame(arguments, str(error), complaint_of)
        raise ValueError(f"{explain(str(error), parser, arguments, blamed)}; see `tempovla {name} --help`") from error
    except (TypeError, yaml.YAMLError) as error:  # of the parser, at a value of which it expects that it is an object
        blamed = config_to_blame(arguments, str(error), complaint_of)
        if blamed is None:
            raise
        reason = one_line(error).rpartition(" argument after ** ")[2]
        raise ValueError(
            f"{blamed}: a value of another kind than its key has ({reason}); compare it with `tempovla {name} "
            "--print_config`"
        ) from error
    except ValueError as error:
        keys = re.findall(r"([\w.]+)=", str(error))
        blamed = config_to_blame(arguments, str(error), complaint_of)
        if blamed is None or str(blamed) in str(error) or is_on_command_line(keys, arguments):
            raise
        raise ValueError(f"{blamed}: {error}") from error
    is_main = os.environ.get("RANK", "0") == "0"  # of the processes that torchrun started, one speaks
    set_up_logging(debug, quiet=not is_main)
    outcome = module.run(given)
    as_json = getattr(args, "json", False) is True
    if is_main:
        write(to_json_text(outcome.data, indent=2) if as_json else outcome.text)
    return 0


def is_on_command_line(keys: Sequence[str], arguments: Sequence[str]) -> bool:
    """Whether one of these keys is given there, so that a complaint about it is not about the config."""
    options = {_underscored(word).partition("=")[0].lstrip("_") for word in arguments if word.startswith("--")}
    given = {option.rsplit(".", 1)[-1] for option in options}
    return any(_underscored(key).rsplit(".", 1)[-1] in given for key in keys)


def explain(message: str, parser: ArgumentParser, arguments: Sequence[str], config: Path | None) -> str:
    """A parser's complaint with the config file that it is about, and what a misspelled key may have meant."""
    message, of_entries = OF_AN_ENTRY.subn(_of_an_entry, message)
    message = re.sub("Expected a dot import path string: ", "an entry of it is not keys and values, but ", message)
    message = re.sub(r"typing\.Literal\[([^]]*)\]", lambda found: _either(found[1]), message)
    message = re.sub(r"Expected a (<class ')?([^']+?)('>)?\. Got", r"expected \2, got", message)
    message = re.sub(
        r"Does not validate against any of the Union.*Given value: (.*)", _expected_union, message, flags=re.S
    )
    message = message.replace("Parser key ", "").rstrip(".")
    message = re.sub(r"(?<=arguments are required: ).+", lambda found: _as_options(found[0], parser), message)
    keys = re.findall(r"--([\w.-]+)|'([\w.]+)'|\"([\w.]+)\"", message.partition(", got value: ")[0])
    named = [_underscored(key) for groups in keys for key in groups if key]
    if "--json" in arguments[:-1] and message == f"unrecognized arguments: {(file := _after(arguments, '--json'))}":
        return f"{message}; --json takes no file here, but prints: write --json > {file}"
    if config and str(config) not in message and not is_on_command_line(named, arguments):
        message = f"{config}: {message}"
    if of_entries:  # whose keys are no options
        return message
    known = [option[2:] for option in parser._option_string_actions if option[:2] == "--"]
    options = {_underscored(option): option for option in known}
    for key in reversed(named):
        near = [option for option in options if option.endswith(f".{key}")]
        near = near or difflib.get_close_matches(".".join([*named[:-1], key]), options, n=1, cutoff=0.75)
        near = near or _longer_or_shorter(key, options)
        if key not in options and near:
            return f"{message}; did you mean {' or '.join(options[option] for option in near)}?"
    return message


def _after(arguments: Sequence[str], option: str) -> str:
    """The argument that follows an option."""
    return arguments[list(arguments).index(option) + 1]


def _longer_or_shorter(key: str, options: Iterable[str]) -> list[str]:
    """Options such as `output_dir` for `out`, or `data` for `dataset`; none of a group."""
    shared = [(option, *sorted((key, option), key=len)) for option in options if "." not in option]
    return [option for option, short, long in shared if len(short) > 2 and long.startswith(short)][:1]


def _as_options(names: str, parser: ArgumentParser) -> str:
    """`root, episode` as `ROOT, --episode`: what is missing, as it is given."""
    written = {action.dest: [*action.option_strings, action.metavar][0] for action in parser._actions}
    return ", ".join(str(written.get(name) or name) for name in names.split(", "))


def _expected_union(complaint: re.Match[str]) -> str:
    """A parser's complaint about a value that may be of several types, without its list of failures."""
    types = re.findall(r"Expected an? (<class ')?([^\n]+?)('>)?(?=\.?\s+- |\.?\s+Given)", complaint[0])
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


def help_text(group: str) -> str:
    """The subcommands, or those of one group."""
    listed = {name: summary for name, (_, summary) in COMMANDS.items() if is_prefix(group.split(), name)}
    width = max(map(len, listed))
    lines = [f"  {name:<{width}}  {summary}" for name, summary in listed.items()]
    usage = f"usage: tempovla {group} COMMAND ..." if group else "usage: tempovla COMMAND ..."
    about = "Train, evaluate and deploy robot policies that remember the past and predict the future."
    options = [
        "  --version  show the version",
        "  --debug    show the whole traceback of an error, as TEMPOVLA_DEBUG=1 does",
        "  --plugin MODULE  import a module of your own first, which adds to the registries; this runs its code",
    ]
    example = f"tempovla {next(iter(listed))} --help"
    return "\n".join([usage, "", about, "", "commands:", *lines, "", "options:", *options, "", f"try: {example}"])


def unknown_command(group: str, word: str) -> str:
    """What to say about a subcommand that does not exist."""
    known = dict.fromkeys(name.split()[len(group.split())] for name in COMMANDS if is_prefix(group.split(), name))
    near = difflib.get_close_matches(word, known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"choose from {', '.join(known)}"
    return f"no command {f'{group} {word}'.strip()!r}; {hint}"


def one_line(error: BaseException) -> str:
    """An error's message on one line; of a very long one the middle is left out."""
    line = " ".join(str(error).split()) or type(error).__name__
    half = LONGEST_LINE // 2
    return line if len(line) <= LONGEST_LINE else f"{line[:half]} ... {line[-half:]}"


def as_options(line: str) -> str:
    """A message whose remedies, such as `set model.freeze_encoder=true`, read as the options that they are here."""
    return SETTING_TO_GIVE.sub(r"\1 --", line)


def tell_interrupted(remedy: str) -> int:
    """Write to stderr that the user stopped the command, and how it goes on where that is known; the exit code."""
    sys.stderr.write(f"tempovla: interrupted; {remedy}\n" if remedy else "tempovla: interrupted\n")
    return INTERRUPTED


def complain(message: str, code: int) -> int:
    """Write an error to stderr; the exit code."""
    sys.stderr.write(f"tempovla: error: {message}\n")
    return code


def write(text: str) -> None:
    """Write to stdout."""
    sys.stdout.write(f"{text}\n")
