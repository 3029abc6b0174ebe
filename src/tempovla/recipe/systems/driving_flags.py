"""Short flags of temporal training for driving, which fill in `model.temporal` on top of what a config file says."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jsonargparse import Namespace

from tempovla.model.temporal.core.registry import TEMPORAL_REGISTRY
from tempovla.model.vla.multi_sensor_config import BEVTemporalConfig
from tempovla.recipe.settings.parser import ArgumentParser

USE = "--use-temporal-encoder"
"""Chooses a temporal encoder over earlier frames."""


@dataclass(frozen=True)
class _Flag:
    """A flag for one field of `BEVTemporalConfig`."""

    option: str
    help: str
    choices: tuple[str, ...] | None = None

    def for_argparse(self) -> dict[str, Any]:
        shown = f"{self.help} (default: {getattr(BEVTemporalConfig(), self.option)})"
        return (
            {"help": shown, "choices": self.choices} if self.choices else {"help": shown, "type": int, "metavar": "N"}
        )


FLAGS = {
    "--temporal-encoder-type": _Flag("encoder_type", "kind of the temporal encoder", tuple(TEMPORAL_REGISTRY)),
    "--num-temporal-layers": _Flag("num_layers", "number of its layers"),
    "--sequence-length": _Flag("sequence_length", "number of frames in a training window"),
}
"""The flags beside `USE`, spelt as `tempovla train vla` has them."""


class DrivingParser(ArgumentParser):
    """A parser of the recipe with short flags for `model.temporal`, by which they are replaced before it parses."""

    def add_own_options(self) -> None:
        """Add the flags to the help."""
        group = self.add_argument_group("temporal training", "a shorter way to fill in model.temporal")
        _add_to(group)

    def parse_args(self, args: Sequence[str] | None = None, *more: Any, **settings: Any) -> Namespace:  # type: ignore[override]
        """Parse as jsonargparse does, with the flags replaced.

        Raises:
            ArgumentError: if a flag is given without a temporal encoder, or in a config file.
        """
        if USE not in self._option_string_actions:  # a parser of some part of the recipe
            return super().parse_args(args, *more, **settings)
        given = list(sys.argv[1:] if args is None else args)
        reader = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
        _add_to(reader)
        known, rest = reader.parse_known_args([self.known_spelling(argument) for argument in given])
        flags = vars(known)
        if flags:
            quiet = [argument for argument in rest if argument.partition("=")[0] != "--print_config"]
            before = super().parse_args(quiet, *more, **settings).model.temporal
            rest.append(f"--model.temporal={json.dumps(_options(flags, before))}")
        parsed = super().parse_args(rest, *more, **settings)
        for flag in (USE, *FLAGS):
            if _dest(flag) in parsed:
                raise argparse.ArgumentError(
                    None, f"{flag} is for the command line; set model.temporal in a config file"
                )
        return parsed


def _dest(flag: str) -> str:
    return flag.lstrip("-").replace("-", "_")


def _add_to(group: Any) -> None:
    group.add_argument(USE, action="store_true", default=argparse.SUPPRESS, help="read earlier frames, too")
    for name, flag in FLAGS.items():
        group.add_argument(name, default=argparse.SUPPRESS, **flag.for_argparse())


def _options(flags: dict[str, Any], before: Namespace | None) -> dict[str, Any]:
    """The options of the encoder, those of the config file first.

    Raises:
        ArgumentError: if there is none.
    """
    if before is None and _dest(USE) not in flags:
        given = next(flag for flag in FLAGS if _dest(flag) in flags)
        raise argparse.ArgumentError(None, f"{given} is of no use without {USE}; give both, or none")
    options = {} if before is None else before.as_dict()
    return options | {flag.option: flags[_dest(name)] for name, flag in FLAGS.items() if _dest(name) in flags}
