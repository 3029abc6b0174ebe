"""Common parts of all subcommands: options, and the outcome."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args, get_type_hints

from jsonargparse import Namespace

from tempovla.cli.main import STDOUT
from tempovla.recipe.settings.parser import ArgumentParser, add_other_name

if TYPE_CHECKING:
    from tempovla.data.stream_keys import StreamKeys
    from tempovla.env.protocol import SimulatorConfig

C = TypeVar("C")
Device = Literal["cpu", "cuda"]


@dataclass(frozen=True)
class Outcome:
    """The result of a subcommand.

    Attributes:
        text: in words for people.
        data: as plain JSON values, for `--json`.
        is_written: whether the subcommand has written them to the file that `--json` names itself.
        exit_code: of the command; 0 unless its outcome is that something does not hold.
    """

    text: str
    data: Mapping[str, Any]
    is_written: bool = False
    exit_code: int = 0


def comma_separated(text: str) -> list[str]:
    """`a,b` as ["a", "b"], each of them once."""
    items = list(dict.fromkeys(item.strip() for item in text.split(",") if item.strip()))
    if not items:
        raise ValueError(f"{text!r} names nothing; write names with commas between them")
    return items


def add_json_option(parser: ArgumentParser) -> None:
    """Let a subcommand write its outcome as JSON, to a file or to stdout."""
    parser.add_argument(
        "--json",
        nargs="?",
        const=STDOUT,
        metavar="FILE",
        help="write the outcome as JSON for programs: to FILE, or to stdout where none is given",
    )


def add_out(parser: ArgumentParser, help: str, **settings: Any) -> None:
    """Add `--out`, also spelled `--output-dir`, the folder to write to."""
    parser.add_argument("--out", metavar="DIR", help=help, **settings)
    add_other_name(parser, "--output-dir", "--out")
    parser.other_names |= {"output_dir": "out"}


def add_device(parser: ArgumentParser) -> None:
    """Add `--device`, on which a policy learns or acts."""
    parser.add_argument(
        "--device", type=Device | None, default=None, help="cpu or cuda; without it, CUDA where there is a device"
    )


def add_dataset_name(parser: ArgumentParser) -> None:
    """Add `--dataset-name`, which chooses the body of a policy that learned from several datasets."""
    parser.add_argument(
        "--dataset-name",
        metavar="NAME",
        help="for a policy that learned from several datasets: the one whose body and statistics are used",
    )


def add_key_flags(parser: ArgumentParser) -> None:
    """Add `--state_key` and `--action_key`, as `data.state_key` and `data.action_key` in training."""
    for option, what in (("--state_key", "state"), ("--action_key", "action")):
        parser.add_argument(
            option,
            metavar="KEY",
            help=f"name of the {what} in the dataset: a key, a slice such as KEY[0:7], or several, separated by commas",
        )


def stream_keys(args: Namespace) -> StreamKeys:
    """Return the keys that were given to the options of `add_key_flags`."""
    from tempovla.data.stream_keys import StreamKeys

    return StreamKeys.parse(args.state_key, args.action_key, "--")


def add_libero_images(parser: ArgumentParser) -> None:
    """Add `--libero-images`, as `data.libero_images` in training."""
    from tempovla.data.libero_layout import LiberoImages

    parser.add_argument(
        "--libero-images",
        dest="libero_images",
        choices=get_args(LiberoImages),
        default="auto",
        help="orientation of the pictures in LIBERO's files; auto takes it from the files",
    )


def add_depth_unit(parser: ArgumentParser) -> None:
    """Add `--depth-unit`, for datasets that do not declare the unit of depth pictures."""
    parser.add_argument(
        "--depth-unit",
        dest="depth_unit",
        metavar="UNIT",
        help="unit of depth pictures, if the dataset does not declare it: m, cm, mm, or a number of metres",
    )


def add_simulator_fields(
    parser: ArgumentParser, config_class: type[SimulatorConfig], names: Sequence[str], otherwise: str
) -> None:
    """Add options for fields of a simulator's config; `otherwise` explains the value None."""
    hints, explained = get_type_hints(config_class), _explained(config_class)
    for name in names:
        help = f"{explained.get(name, name)}; {otherwise}"
        parser.add_argument(f"--{name}", type=hints[name] | None, default=None, help=help)


def _explained(config_class: type[Any]) -> dict[str, str]:
    """By field, what the docstring of the class says of it, or that of a class that it is made of."""
    texts = [inspect.cleandoc(base.__doc__ or "") for base in reversed(config_class.__mro__)]
    entries = re.findall(r"^    (\w+): (.*(?:\n        .*)*)", "\n".join(texts), re.MULTILINE)
    return {name: " ".join(words.split()).rstrip(".").replace("%", "%%") for name, words in entries}


def add_dataset_options(parser: ArgumentParser) -> None:
    """Let a subcommand be told all that the files of a dataset may leave open."""
    add_depth_unit(parser)
    add_libero_images(parser)
    add_key_flags(parser)
    parser.add_argument(
        "--default_instruction", default="", metavar="WORDS", help="instruction of steps that have none in the dataset"
    )


def config_from_args(config_class: type[C], args: Namespace, **given: Any) -> C:
    """Return a config whose fields are arguments of their own, or `given`."""
    own = {field.name: args[field.name] for field in fields(config_class) if field.name not in given}  # type: ignore[arg-type]
    return config_class(**own | given)
