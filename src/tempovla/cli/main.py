"""The command `tempovla`: finds the subcommand, runs it, and turns errors of users into one line.

Exit codes: 0 done, 1 a failure that is not the user's, or a check that fails, 2 a user's error, 3 training that
diverged, 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import difflib
import importlib
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from tempovla import __version__
from tempovla.storage.extras import install_command
from tempovla.storage.json_files import to_json_text, write_json
from tempovla.timeline.plugins import use_plugin
from tempovla.training.interrupt import TrainingInterrupted

COMMANDS: dict[str, tuple[str, str]] = {
    "demo": ("tempovla.cli.demo", "collect, train, evaluate beside baselines and report, on Meta-World"),
    "init": ("tempovla.cli.init", "write a training config for your own dataset"),
    "data inspect": (
        "tempovla.cli.data_inspect",
        "show the contents of a dataset of LeRobot's, LIBERO's or nuScenes' format",
    ),
    "data sample": ("tempovla.cli.data_sample", "write windows around one frame of a dataset to a .npz file"),
    "data stats": ("tempovla.cli.data_stats", "show, check or recompute the normalisation statistics of a dataset"),
    "data convert": (
        "tempovla.cli.data_convert",
        "convert LeRobot v2.1, LIBERO's files or rollouts to a LeRobot v3.0 dataset",
    ),
    "check temporal": (
        "tempovla.cli.check_temporal",
        "check that a config and a mixture hold targets k steps later, and that samples are right",
    ),
    "convert weights": ("tempovla.cli.convert_weights", "convert a model's pytorch_model.bin to safetensors"),
    "convert openvla": (
        "tempovla.cli.convert_openvla",
        "convert a published OpenVLA checkpoint to a policy that can be evaluated",
    ),
    "diagnose memory": (
        "tempovla.cli.diagnose_memory",
        "measure whether a policy uses its past, by cutting, shuffling or exchanging it",
    ),
    "eval compare": (
        "tempovla.cli.eval_compare",
        "compare two evaluations, with a paired test of the difference",
    ),
    "eval offline": (
        "tempovla.cli.eval_offline",
        "compare a trained policy's actions, and what its world model predicts, with recorded episodes",
    ),
    "export": ("tempovla.cli.export", "write a trained policy to an ONNX, TorchScript or torch.export file"),
    "ask": ("tempovla.cli.ask", "ask a trained vision-language model about a picture"),
    "report": ("tempovla.cli.report", "write the HTML report of a run"),
}
"""Subcommand to its module, which has `build(name, summary)` and `run(name, args)`, and to its summary. `commands` adds
those that follow from the registries of systems and simulators."""

EXTRA_OF_MODULE = {
    "peft": "lora",
    "diffusers": "diffusion",
    "dm_control": "sim",
    "metaworld": "sim",
    "sumo": "driving",
    "sumolib": "driving",
    "libsumo": "driving",
    "mujoco": "sim",
    "gymnasium": "sim",
    "rerun": "viz",
    "onnx": "export",
    "onnxscript": "export",
    "onnxruntime": "export",
}
EXTENSIBLE = ("collect", "eval", "train")
"""Groups of subcommands to which plugins add."""
HELP_FLAGS = ("-h", "--help")
VERBS_OF_SIMULATORS = ("collect", "eval")
"""First words of the subcommands that every registered simulator has."""
NOT_POSSIBLE = "not possible"
"""How the summary of a subcommand begins that only says what to do instead."""
INTERRUPTED = 130
STDOUT = "-"
"""The value of `--json` without a file."""
SETTING_TO_GIVE = re.compile(r"\b(set|or|and|with|by) (?=(?:data|transform|model|training)\.[\w.]+=)")
ARGUMENT_TO_GIVE = re.compile(r"\b(with|use|leave out) (dataset_name|data|split|horizon)=(?:'([^']*)'|([\w./-]+))")
OPTIONS_OF_ARGUMENTS = {
    "dataset_name": "--dataset-name",
    "data": "--dataset",
    "split": "--split",
    "horizon": "--horizon",
}
"""Arguments of functions that messages advise about, and the options of commands that stand for them."""
LONGEST_LINE = 1_500
"""Characters of an error: a damaged file may hold a megabyte in the place of a name."""


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
        if option == "--plugin":
            try:
                use_plugin(name if equals else next(waiting, ""))
            except ValueError as error:
                raise ValueError(f"--{error}") from error
        else:
            others.append(argument)
    return others


def commands(verb: str = "") -> dict[str, tuple[str, str]]:
    """Return all subcommands in the order of the help, those of registered systems and simulators included.

    Args:
        verb: the first word of a subcommand. Registries that add no subcommand with this word are left out, and not
            even imported; any other word leaves nothing out.
    """
    found = dict(COMMANDS)
    if verb not in VERBS_OF_SIMULATORS:
        from tempovla.recipe.systems.registry import SYSTEM_REGISTRY

        for name, (_, summary) in SYSTEM_REGISTRY.items():
            found[f"train {name}"] = ("tempovla.cli.train", summary)
    if verb != "train":
        from tempovla.env.registry import SIMULATOR_REGISTRY, WITHOUT_EXPERTS

        for name, (_, title) in SIMULATOR_REGISTRY.items():
            about = f"record demonstrations of the scripted experts of {title}"
            if name in WITHOUT_EXPERTS:
                about = f"{NOT_POSSIBLE}, as there are no experts; `tempovla eval {name} --record DIR` records a policy"
            found[f"collect {name}"] = ("tempovla.cli.collect", about)
            about = f"run a trained policy on {title}, and score its episodes"
            found[f"eval {name}"] = ("tempovla.cli.eval_simulator", about)
    order = (
        "demo",
        "init",
        "collect",
        "data",
        "convert",
        "check",
        "train",
        "diagnose",
        "eval",
        "ask",
        "export",
        "report",
    )
    places = {word: place for place, word in enumerate(order)}
    return dict(sorted(found.items(), key=lambda entry: places.get(entry[0].split()[0], len(order))))


def dispatch(arguments: list[str], debug: bool) -> int:
    """Run the subcommand that the arguments begin with, or show help."""
    if arguments[:1] == ["--version"]:
        write(f"tempovla {__version__}")
        return 0
    words = 0
    known = commands(arguments[0] if arguments else "")
    while words < len(arguments) and any(is_prefix(arguments[: words + 1], name) for name in known):
        words += 1
    name, rest = " ".join(arguments[:words]), arguments[words:]
    if name in known:
        return run_command(name, rest, debug)
    if rest and rest[0] not in HELP_FLAGS:
        raise ValueError(unknown_command(name, rest[0]))
    write(help_text(name))
    return 0


def is_prefix(words: Sequence[str], name: str) -> bool:
    """Return whether these are the first words of a subcommand's name."""
    return name.split()[: len(words)] == list(words)


def run_command(name: str, arguments: list[str], debug: bool) -> int:
    """Parse a subcommand's arguments, run it, and write its outcome."""
    from tempovla.cli.logs import set_up_logging
    from tempovla.recipe.settings.complaints import parse
    from tempovla.recipe.settings.outputs import check_outputs

    module_name, summary = commands(name.split()[0])[name]
    module = importlib.import_module(module_name)
    parser = module.build(name, summary)
    given = parse(parser, arguments, name)
    check_outputs(parser, given)
    is_main = os.environ.get("RANK", "0") == "0"  # of the processes that torchrun started, one speaks
    set_up_logging(debug, quiet=not is_main)
    outcome = module.run(name, given)
    file = getattr(given, "json", None) or None
    if is_main and file in (STDOUT, True):
        write(to_json_text(outcome.data, indent=2))
    elif is_main:
        if file is not None and not outcome.is_written:
            Path(file).parent.mkdir(parents=True, exist_ok=True)
            write_json(Path(file), outcome.data)
        write(outcome.text)
    return outcome.exit_code


def help_text(group: str) -> str:
    """Return the subcommands, or those of one group."""
    listed = {name: summary for name, (_, summary) in commands().items() if is_prefix(group.split(), name)}
    width = max(map(len, listed))
    lines = [f"  {name:<{width}}  {summary}" for name, summary in listed.items()]
    usage = f"usage: tempovla {group} COMMAND ..." if group else "usage: tempovla COMMAND ..."
    about = "Train, evaluate and deploy robot policies that remember the past and predict the future."
    options = [
        "  --version  show the version",
        "  --debug    show the whole traceback of an error, as TEMPOVLA_DEBUG=1 does",
        "  --plugin MODULE  import a module of your own first, which adds to the registries; this runs its code",
    ]
    possible = [name for name, summary in listed.items() if not summary.startswith(NOT_POSSIBLE)]
    example = f"tempovla {(possible or list(listed))[0]} --help"
    return "\n".join([usage, "", about, "", "commands:", *lines, "", "options:", *options, "", f"try: {example}"])


def unknown_command(group: str, word: str) -> str:
    """Return the message about a subcommand that does not exist."""
    known = dict.fromkeys(name.split()[len(group.split())] for name in commands() if is_prefix(group.split(), name))
    near = difflib.get_close_matches(word, known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"choose from {', '.join(known)}"
    own = ", or name the module that adds it with --plugin" if group in EXTENSIBLE and not near else ""
    return f"no command {f'{group} {word}'.strip()!r}; {hint}{own}"


def one_line(error: BaseException) -> str:
    """Return an error's message on one line; of a very long one the middle is left out."""
    line = " ".join(str(error).split()) or type(error).__name__
    half = LONGEST_LINE // 2
    return line if len(line) <= LONGEST_LINE else f"{line[:half]} ... {line[-half:]}"


def as_options(line: str) -> str:
    """A message whose remedies, such as `set model.freeze_encoder=true` or `use split='all'`, read as options."""
    line = SETTING_TO_GIVE.sub(r"\1 --", line)
    return ARGUMENT_TO_GIVE.sub(lambda told: f"{told[1]} {OPTIONS_OF_ARGUMENTS[told[2]]} {told[3] or told[4]}", line)


def tell_interrupted(remedy: str) -> int:
    """Write to stderr that the user stopped the command, and how to continue it; return the exit code."""
    sys.stderr.write(f"tempovla: interrupted; {remedy}\n" if remedy else "tempovla: interrupted\n")
    return INTERRUPTED


def complain(message: str, code: int) -> int:
    """Write an error to stderr; the exit code."""
    sys.stderr.write(f"tempovla: error: {message}\n")
    return code


def write(text: str) -> None:
    """Write to stdout."""
    sys.stdout.write(f"{text}\n")
