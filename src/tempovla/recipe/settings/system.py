"""The description of a trainable system, for the command line and for Python."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tempovla.timeline.lazy import Lazy


@dataclass(frozen=True)
class Option:
    """An option of a training beside its recipe.

    Attributes:
        name: of the argument that the training function takes, e.g. `base_checkpoint`; the command line spells it with
            dashes.
        help: its explanation, in a line.
        type: of its value; `bool` makes it a flag.
        metavar: name of the value in the help.
    """

    name: str
    help: str
    type: Any = str
    metavar: str | None = "DIR"


@dataclass(frozen=True)
class Link:
    """A key of a recipe that follows from another one, so that users set one setting in one place.

    Attributes:
        source: the key that users set.
        target: the key that follows.
        compute: how; None takes the value as it is.
    """

    source: str
    target: str
    compute: Callable[[Any], Any] | None = None


@dataclass(frozen=True)
class System:
    """A system that can be trained: one module in `recipe/systems` and one line in `SYSTEM_REGISTRY`.

    Attributes:
        recipe: frozen dataclass with `data`, `transform`, `model` and `training`.
        train: the training function, or `module:name` where it is found. It is called as
            `train(recipe, out_dir, resume=..., **options)` and returns a `FitResult`, or several by name.
        out: folder of the run where none is given.
        examples: command lines that work, one a line.
        options: options of the training beside its recipe.
        dataset: key of the recipe that `--dataset` stands for; "" for none beside the short name of a key.
        links: keys of the recipe that follow from others.
        parser: a parser with more short options, as a class or `module:name`; None for none.
        check: refuses a recipe whose model cannot be built, with a ValueError in one line, and makes and reads no
            weights; or `module:name` where it is found. None where nothing says it before the training does.
        usage: the main options, for the first line of the help.
    """

    recipe: type[Any]
    train: Lazy[Callable[..., Any]]
    out: str
    examples: str
    options: tuple[Option, ...] = ()
    dataset: str = "data.data_directory"
    links: tuple[Link, ...] = ()
    parser: Lazy[type[Any]] | None = None
    check: Lazy[Callable[[Any], None]] | None = None
    usage: str = "--config FILE --dataset ROOT --out DIR [--KEY VALUE ...]"
