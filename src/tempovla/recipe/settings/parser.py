"""The parser of all settings: options in either spelling, values that import nothing, and errors that are raised."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import jsonargparse
from jsonargparse import DefaultHelpFormatter, Namespace

from tempovla.recipe.settings.config_files import with_packaged_configs
from tempovla.recipe.settings.config_values import check_values, explain_values, kinds_first
from tempovla.recipe.settings.values_only import imports_refused, take_values_only


class HelpFormatter(DefaultHelpFormatter):
    """Help that leaves the examples at its end as they are."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return "".join(indent + line for line in text.splitlines(keepends=True))


class ArgumentParser(jsonargparse.ArgumentParser):
    """A parser that accepts every option with dashes and with underscores; help shows one spelling.

    Attributes:
        other_names: keys of a config file by other names that they may have there, such as those of earlier versions.
        last_check: what the settings must pass once their configs are built; None asks for nothing more.
    """

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.other_names: dict[str, str] = {}
        self.last_check: Callable[[Namespace], object] | None = None

    def add_own_options(self) -> None:
        """Add what a class of parser has beside the options of a command; parsers of parts of a recipe lack it."""

    def parse_args(self, args: Sequence[str] | None = None, *more: Any, **settings: Any) -> Namespace:  # type: ignore[override]
        """Parse as jsonargparse does, in either spelling; no value imports anything."""
        take_values_only(self)
        explain_values(self)
        with imports_refused():
            return self._parse_spelled(args, *more, **settings)

    def instantiate(self, cfg: Namespace, *more: Any, **settings: Any) -> Namespace:  # type: ignore[override]
        """Build configs as jsonargparse does; errors within a nested config have one line."""
        check_values(self, cfg)
        built = super().instantiate(cfg, *more, **settings)
        if self.last_check is not None:
            self.last_check(built)
        return built

    def _parse_spelled(self, args: Sequence[str] | None, *more: Any, **settings: Any) -> Namespace:
        given = list(sys.argv[1:] if args is None else args)
        end = given.index("--") if "--" in given else len(given)  # what follows is no option
        options = with_packaged_configs(kinds_first([*map(self.known_spelling, given[:end])]))
        return super().parse_args([*options, *given[end:]], *more, **settings)

    def _apply_actions(self, cfg: Any, parent_key: str = "", *more: Any, **settings: Any) -> Namespace:
        if isinstance(cfg, dict) and not parent_key:  # a config file's keys, as they are written there
            cfg = {self.other_names.get(key, key): value for key, value in cfg.items()}
        return super()._apply_actions(cfg, parent_key, *more, **settings)

    def known_spelling(self, argument: str) -> str:
        """Return an argument such as `--image-size=64` with its option spelled as the parser knows it, and the value as
        it is.

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
    """Return a subcommand's parser, without arguments yet; it raises `argparse.ArgumentError` instead of exiting.

    Args:
        name: of the subcommand, e.g. `data inspect`.
        summary: what it does, in a line.
        usage: its arguments, as the first line of the help shows them.
        examples: command lines that work, one a line.
        kind: class of the parser.
    """
    listed = "".join(f"  {line}\n" for line in examples.strip().splitlines())
    parser = kind(
        prog=f"tempovla {name}",
        usage=f"tempovla {name} {usage}",
        description=summary,
        epilog=f"examples:\n{listed}",
        formatter_class=HelpFormatter,
        exit_on_error=False,
        allow_abbrev=False,
    )
    parser.add_own_options()
    return parser


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
    """Give an option another name, which the help shows beside its own."""
    action = parser._option_string_actions[option]
    parser._option_string_actions[name] = action
    action.option_strings = [*action.option_strings, name]
