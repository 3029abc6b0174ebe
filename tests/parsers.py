"""Parsers of trainings that are kept between tests: to build one takes as long as a command line that is refused."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from tests.registries import TABLES

from tempovla.cli import train
from tempovla.model.temporal import context_config
from tempovla.recipe.settings import recipe_parser


@contextmanager
def parsers_kept() -> Iterator[None]:
    """Within it the parser of a training is built once, and again when something else is registered."""
    with pytest.MonkeyPatch.context() as patch:
        for module, name in ((train, "build"), (recipe_parser, "_parser_of")):
            patch.setattr(module, name, _kept(getattr(module, name)))
        yield


def _kept(build: Callable[..., Any]) -> Callable[..., Any]:
    made: dict[Any, tuple[Any, Any]] = {}

    @functools.wraps(build)
    def once(*given: Any) -> Any:
        registered = [dict(table) for table in TABLES], context_config.MemoryOptions
        if given not in made or made[given][0] != registered:
            made[given] = registered, build(*given)
        parser = made[given][1]
        vars(parser).pop("print_config", None)  # which a command line left there that was refused
        return parser

    return once
