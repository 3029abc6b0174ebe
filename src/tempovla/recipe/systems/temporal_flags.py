"""Short flags of temporal training, which fill in `model.context` on top of what a config file says."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, get_type_hints

from jsonargparse import Namespace

from tempovla.model.temporal.context_config import ContextConfig
from tempovla.model.temporal.core.config import TemporalPartConfig
from tempovla.model.temporal.core.registry import TEMPORAL_REGISTRY
from tempovla.model.temporal.history.config import HistoryPartConfig
from tempovla.model.temporal.memory.registry import MEMORY_REGISTRY
from tempovla.recipe.settings.parser import ArgumentParser

PARTS = {"temporal": "--use-temporal-encoder", "history": "--use-history-encoder", "memory": "--use-memory"}
"""By part of a context, the flag that chooses it."""
DEFAULT_MEMORY = "buffer"


@dataclass(frozen=True)
class Flag:
    """A flag for one option of a context.

    Attributes:
        part: of the context, to which the option belongs; empty for the context itself.
        option: a field of the part's config class; `size` is the one that says how much a memory holds.
        help: its explanation in the help.
        registry: the names that it may have; None for a whole number.
    """

    part: str
    option: str
    help: str
    registry: Mapping[str, Any] | None = None

    def for_argparse(self) -> dict[str, Any]:
        """Return the settings of the flag for argparse, with the type and the default of the option."""
        config = {"temporal": TemporalPartConfig, "history": HistoryPartConfig, "": ContextConfig}.get(self.part)
        default: Any
        if config is None:
            default = DEFAULT_MEMORY if self.option == "kind" else None
            hint: Any = str if self.option == "kind" else int
        else:
            default = next(field.default for field in fields(config) if field.name == self.option)
            hint = get_type_hints(config)[self.option]
        shown = self.help if default is None else f"{self.help} (default: {default})"
        if self.registry is not None:
            return {"help": shown, "choices": tuple(self.registry)}
        return {"help": shown, "type": hint, "metavar": "N"}


FLAGS: dict[str, Flag] = {
    "--temporal-encoder-type": Flag("temporal", "encoder_type", "kind of the temporal encoder", TEMPORAL_REGISTRY),
    "--num-temporal-layers": Flag("temporal", "num_layers", "number of its layers"),
    "--history-length": Flag("history", "history_length", "number of frames that the history encoder reads"),
    "--memory-kind": Flag("memory", "kind", "kind of the memory", MEMORY_REGISTRY),
    "--memory-size": Flag("memory", "size", "number of the memory's slots"),
    "--sequence-length": Flag("", "sequence_length", "number of frames in a training window"),
}
"""The flags beside those of `PARTS`."""
HELP_OF_PARTS = {
    "temporal": "add a temporal encoder of the recent frames",
    "history": "add a history encoder of features and actions",
    "memory": "add a memory",
}


class TemporalParser(ArgumentParser):
    """A parser of a recipe whose model may have a context, with short flags for it.

    The flags of `add_temporal_flags` are replaced by `--model.context...` before anything is parsed. So a printed
    config shows what they mean, and has no keys for the flags themselves.
    """

    def add_own_options(self) -> None:
        """Add the flags."""
        add_temporal_flags(self)

    def parse_args(self, args: Sequence[str] | None = None, *more: Any, **settings: Any) -> Namespace:  # type: ignore[override]
        """Parse as jsonargparse does, with the flags replaced.

        Raises:
            ArgumentError: if a flag does not go with the others.
        """
        if next(iter(PARTS.values())) not in self._option_string_actions:  # a parser of some part of the recipe
            return super().parse_args(args, *more, **settings)
        given = list(sys.argv[1:] if args is None else args)
        flags, rest = split_flags([self.known_spelling(argument) for argument in given])
        if flags:
            quiet = [argument for argument in rest if argument.partition("=")[0] != "--print_config"]
            rest += written_out(flags, super().parse_args(quiet, *more, **settings).model.context)
        parsed = super().parse_args(rest, *more, **settings)
        for flag, _ in _options():
            if flag.lstrip("-").replace("-", "_") in parsed:
                raise argparse.ArgumentError(
                    None, f"{flag} is for the command line; set model.context in a config file"
                )
        return parsed


def add_temporal_flags(parser: ArgumentParser) -> None:
    """Add the flags to the help."""
    group = parser.add_argument_group(
        "temporal training", "a shorter way to fill in model.context; see also --model.lambda_temporal"
    )
    for flag, options in _options():
        group.add_argument(flag, default=argparse.SUPPRESS, **options)


def split_flags(arguments: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """Return the given flags by name, and the other arguments in their order."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    for flag, options in _options():
        parser.add_argument(flag, dest=flag, default=argparse.SUPPRESS, **options)
    known, rest = parser.parse_known_args(arguments)
    return vars(known), rest


def written_out(flags: dict[str, Any], context: Namespace | None) -> list[str]:
    """Return the arguments that the flags stand for.

    Args:
        flags: the flags that `split_flags` found.
        context: `model.context` without them.

    Raises:
        ArgumentError: if a flag is about a part that the context does not have.
    """
    before: dict[str, Any] = {part: None if context is None else context[part] for part in PARTS}
    chosen = [part for part, flag in PARTS.items() if flag in flags or before[part] is not None]
    for name, flag in FLAGS.items():
        if name in flags and flag.part and flag.part not in chosen:
            raise argparse.ArgumentError(None, f"{name} is of no use without {PARTS[flag.part]}; give both, or none")
    if not chosen:
        raise argparse.ArgumentError(
            None, f"{next(iter(flags))} is of no use without {', '.join(PARTS.values())}; give at least one of these"
        )
    written = []
    for part in chosen:
        options = {} if before[part] is None else before[part].as_dict()
        given = {flag.option: flags[name] for name, flag in FLAGS.items() if name in flags and flag.part == part}
        options = _memory_options(options, given) if part == "memory" else options | given
        written.append(f"--model.context.{part}={json.dumps(options)}")
    if "--sequence-length" in flags:
        written.append(f"--model.context.sequence_length={flags['--sequence-length']}")
    return written


def _options() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every flag as argparse takes it; the flags of a part come together."""
    for part, chooses in PARTS.items():
        yield chooses, {"action": "store_true", "help": HELP_OF_PARTS[part]}
        yield from ((name, flag.for_argparse()) for name, flag in FLAGS.items() if flag.part == part)
    yield from ((name, flag.for_argparse()) for name, flag in FLAGS.items() if not flag.part)


def _memory_options(before: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """Return the options of a memory; if its kind changes, only the options that both kinds have are kept."""
    kind = given.get("kind", before.get("kind", DEFAULT_MEMORY))
    config = MEMORY_REGISTRY[kind][0]
    known = {field.name for field in fields(config)}
    options = {name: value for name, value in before.items() if name in known} | {"kind": kind}
    return options | ({config.size_field: given["size"]} if "size" in given else {})
