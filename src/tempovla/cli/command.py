"""What every subcommand shares: its parser, the types of its arguments, what it gives back."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeVar, get_args

import jsonargparse
from jsonargparse import DefaultHelpFormatter, Namespace

from tempovla.cli.config_files import with_packaged_configs
from tempovla.cli.config_values import check_values, explain_values
from tempovla.cli.values_only import imports_refused, take_values_only
from tempovla.data.libero_layout import LiberoImages
from tempovla.data.stream_keys import StreamKeys

C = TypeVar("C")


@dataclass(frozen=True)
class Outcome:
    """What a subcommand found or did: in words for people, as plain JSON values with `--json`."""

    text: str
    data: Mapping[str, Any]


class HelpFormatter(DefaultHelpFormatter):
    """Help that leaves the examples at its end as they are."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return "".join(indent + line for line in text.splitlines(keepends=True))


class ArgumentParser(jsonargparse.ArgumentParser):
    """A parser that knows every option with dashes and with underscores; help shows one spelling."""

    def parse_args(self, args: Sequence[str] | None = None, *more: Any, **settings: Any) -> Namespace:  # type: ignore[override]
        """As jsonargparse does, for either spelling; values are values, and import nothing."""
        take_values_only(self)
        explain_values(self)
        with imports_refused():
            return self._parse_spelled(args, *more, **settings)

    def instantiate(self, cfg: Namespace, *more: Any, **settings: Any) -> Namespace:  # type: ignore[override]
        """As jsonargparse does; what does not go together in a value that is a config is said in one line."""
        check_values(self, cfg)
        return super().instantiate(cfg, *more, **settings)

    def _parse_spelled(self, args: Sequence[str] | None, *more: Any, **settings: Any) -> Namespace:
        given = list(sys.argv[1:] if args is None else args)
        end = given.index("--") if "--" in given else len(given)  # what follows is no option
        options = with_packaged_configs([*map(self.known_spelling, given[:end])])
        return super().parse_args([*options, *given[end:]], *more, **settings)

    def known_spelling(self, argument: str) -> str:
        """An argument such as `--image-size=64` with its option spelled as the parser knows it, and the value as it is.

        Of `--options.some-key` it may know `--options` alone: the rest is the user's own key, and stays.
        """
        option, equals, value = argument.partition("=")
        known = self._option_string_actions
        if not option.startswith("--") or option in known:
            return argument
        spellings = {_underscored(name): name for name in known}
        parts = option.split(".")
        for length in range(len(parts), 0, -1):
            name = spellings.get(_underscored(".".join(parts[:length])))
            if name is not None:
                return ".".join([name, *parts[length:]]) + equals + value
        return argument


def _underscored(option: str) -> str:
    return option.replace("-", "_")


def build_parser(
    name: str, summary: str, usage: str, examples: str, kind: type[ArgumentParser] = ArgumentParser
) -> ArgumentParser:
    """A subcommand's parser, without arguments yet; it raises `argparse.ArgumentError` instead of exiting.

    Args:
        name: of the subcommand, e.g. `data inspect`.
        summary: what it does, in a line.
        usage: its arguments, as the first line of the help shows them.
        examples: command lines that work, one a line.
        kind: class of the parser.
    """
    listed = "".join(f"  {line}\n" for line in examples.strip().splitlines())
    return kind(
        prog=f"tempovla {name}",
        usage=f"tempovla {name} {usage}",
        description=summary,
        epilog=f"examples:\n{listed}",
        formatter_class=HelpFormatter,
        exit_on_error=False,
        allow_abbrev=False,
    )


def add_short_names(parser: ArgumentParser) -> None:
    """Let an option such as `--training.batch_size` be given as `--batch_size` where no other ends in that name."""
    options = [option for action in parser._actions for option in action.option_strings if option[:2] == "--"]
    names = Counter(option.rsplit(".", 1)[-1].lstrip("-") for option in options)
    for option in options:
        name = option.rsplit(".", 1)[-1].lstrip("-")
        if "." in option and names[name] == 1:
            parser._option_string_actions[f"--{name}"] = parser._option_string_actions[option]
    short = (
        "an option may be given by the end of its name where no other ends so: --batch_size for --training.batch_size"
    )
    parser.description = f"{parser.description}\n{short}"


def add_other_name(parser: ArgumentParser, name: str, option: str) -> None:
    """Let an option be given by another name, too, which the help shows beside its own."""
    action = parser._option_string_actions[option]
    parser._option_string_actions[name] = action
    action.option_strings = [*action.option_strings, name]


def comma_separated(text: str) -> list[str]:
    """`a,b` as ["a", "b"], each of them once."""
    items = list(dict.fromkeys(item.strip() for item in text.split(",") if item.strip()))
    if not items:
        raise ValueError(f"{text!r} names nothing; write names with commas between them")
    return items


def add_key_flags(parser: jsonargparse.ArgumentParser) -> None:
    """Let a user say what a dataset calls its state and its action, as `data.state_key` does in training."""
    for option, what in (("--state_key", "state"), ("--action_key", "action")):
        parser.add_argument(
            option,
            metavar="KEY",
            help=f"what the dataset calls the {what}: a key, a slice such as KEY[0:7], or several with commas between",
        )


def stream_keys(args: Namespace) -> StreamKeys:
    """What `add_key_flags` was given."""
    return StreamKeys.parse(args.state_key, args.action_key, "--")


def add_json_flag(parser: ArgumentParser) -> None:
    """Let a subcommand print its outcome as JSON."""
    parser.add_argument("--json", action="store_true", help="print the outcome as JSON, for programs")


def add_libero_images(parser: ArgumentParser) -> None:
    """Let a subcommand be told how pictures lie in LIBERO's files, as `data.libero_images` does in training."""
    parser.add_argument(
        "--libero-images",
        dest="libero_images",
        choices=get_args(LiberoImages),
        default="auto",
        help="how pictures lie in LIBERO's files; auto asks the files",
    )


def add_depth_unit(parser: ArgumentParser) -> None:
    """Let a subcommand be told in which unit depth pictures are, where the dataset does not say so."""
    parser.add_argument(
        "--depth-unit",
        dest="depth_unit",
        metavar="UNIT",
        help="unit of depth pictures of which the dataset does not tell it: m, cm, mm or the metres of one unit",
    )


def config_from_args(config_class: type[C], args: Namespace, **given: Any) -> C:
    """A config whose fields are arguments of their own, or `given`."""
    own = {field.name: args[field.name] for field in fields(config_class) if field.name not in given}  # type: ignore[arg-type]
    return config_class(**own | given)


def success_table(results: Mapping[str, Any]) -> list[str]:
    """Success of every task, with its 95% interval, and of the baselines where there are."""
    rows = {**results["tasks"], "mean": results["mean"]}
    width = max(map(len, rows))
    lines = []
    for name, block in rows.items():
        low, high = block["ci95"]
        line = f"{name:<{width}}  {block['success']:>4.0%}  [{low:.0%}, {high:.0%}] of {block['episodes']}"
        others = [f"{key.replace('_', ' ')} {block[key]:.0%}" for key in ("blind", "wrong_instruction") if key in block]
        lines.append(", ".join([line, *others]))
    return lines
