"""Short flags of temporal training, which fill in `model.context` on top of what a config file says."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any

from jsonargparse import Namespace

from tempovla.cli.command import ArgumentParser
from tempovla.model.temporal.context_config import MEMORY_OPTIONS
from tempovla.model.temporal.temporal_config import ENCODER_TYPES
from tempovla.recipe.systems.temporal_config import MEMORY_SIZE_OPTIONS

FLAGS: dict[str, tuple[str, dict[str, Any]]] = {
    "--use-temporal-encoder": ("temporal", {"action": "store_true", "help": "remember by a temporal encoder"}),
    "--temporal-encoder-type": ("temporal", {"choices": ENCODER_TYPES, "help": "its kind (default: transformer)"}),
    "--num-temporal-layers": ("temporal", {"type": int, "metavar": "N", "help": "its layers (default: 4)"}),
    "--use-history-encoder": (
        "history",
        {"action": "store_true", "help": "remember by a history encoder of features and actions"},
    ),
    "--history-length": ("history", {"type": int, "metavar": "N", "help": "frames that it looks back (default: 16)"}),
    "--use-memory": ("memory", {"action": "store_true", "help": "remember by a memory"}),
    "--memory-kind": ("memory", {"choices": tuple(MEMORY_OPTIONS), "help": "which one (default: buffer)"}),
    "--memory-size": ("memory", {"type": int, "metavar": "N", "help": "its slots"}),
    "--sequence-length": ("", {"type": int, "metavar": "N", "help": "frames of a training window (default: 32)"}),
}
"""By flag, the part that it is about, and what argparse knows of it."""

PARTS = {"temporal": "--use-temporal-encoder", "history": "--use-history-encoder", "memory": "--use-memory"}


class TemporalParser(ArgumentParser):
    """A parser of a recipe whose model may have a context, with short flags for it.

    What `add_temporal_flags` lists is written out as `--model.context...` before anything is parsed, so that a printed
    config shows what the flags mean, and has no keys of their own.
    """

    def parse_args(self, args: Sequence[str] | None = None, *more: Any, **settings: Any) -> Namespace:  # type: ignore[override]
        """As jsonargparse does, with the flags written out.

        Raises:
            ArgumentError: if a flag does not go with the others.
        """
        given = list(sys.argv[1:] if args is None else args)
        flags, rest = split_flags([self.known_spelling(argument) for argument in given])
        if flags:
            quiet = [argument for argument in rest if argument.partition("=")[0] != "--print_config"]
            rest += written_out(flags, super().parse_args(quiet, *more, **settings).model.context)
        parsed = super().parse_args(rest, *more, **settings)
        for flag in FLAGS:
            if flag.lstrip("-").replace("-", "_") in parsed:
                raise argparse.ArgumentError(
                    None, f"{flag} is for the command line; set model.context in a config file"
                )
        return parsed


def add_temporal_flags(parser: ArgumentParser) -> None:
    """List the flags in the help."""
    group = parser.add_argument_group(
        "temporal training", "a shorter way to fill in model.context; see also --model.lambda_temporal"
    )
    for flag, (_, options) in FLAGS.items():
        group.add_argument(flag, **{**options, "default": argparse.SUPPRESS})


def split_flags(arguments: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """The flags that are given, by name, and the other arguments in their order."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    for flag, (_, options) in FLAGS.items():
        parser.add_argument(flag, dest=flag, **{**options, "default": argparse.SUPPRESS})
    known, rest = parser.parse_known_args(arguments)
    return vars(known), rest


def written_out(flags: dict[str, Any], context: Namespace | None) -> list[str]:
    """The arguments that the flags stand for.

    Args:
        flags: as of `split_flags`.
        context: `model.context` without them.

    Raises:
        ArgumentError: if a flag is about a part that is not there.
    """
    before: dict[str, Any] = {part: None if context is None else context[part] for part in PARTS}
    chosen = {part for part, flag in PARTS.items() if flag in flags or before[part] is not None}
    for flag in flags:
        part = FLAGS[flag][0]
        if part and part not in chosen:
            raise argparse.ArgumentError(None, f"{flag} is of no use without {PARTS[part]}; give both, or none")
    if not chosen:
        raise argparse.ArgumentError(
            None, f"{next(iter(flags))} is of no use without {', '.join(PARTS.values())}; give at least one of these"
        )
    options: dict[str, dict[str, Any]] = {part: dict(before[part] or {}) for part in chosen}
    for flag, part, option in (
        ("--temporal-encoder-type", "temporal", "encoder_type"),
        ("--num-temporal-layers", "temporal", "num_layers"),
        ("--history-length", "history", "history_length"),
    ):
        if flag in flags:
            options[part][option] = flags[flag]
    if "memory" in options:
        memory = options["memory"]
        memory["kind"] = flags.get("--memory-kind", memory.get("kind", "buffer"))
        if "--memory-size" in flags and memory["kind"] in MEMORY_SIZE_OPTIONS:
            memory[MEMORY_SIZE_OPTIONS[memory["kind"]]] = flags["--memory-size"]
    written = [f"--model.context.{part}={json.dumps(options[part])}" for part in PARTS if part in options]
    if "--sequence-length" in flags:
        written.append(f"--model.context.sequence_length={flags['--sequence-length']}")
    return written
