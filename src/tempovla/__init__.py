"""TempoVLA: train, evaluate and deploy robot policies that remember the past and predict the future.

The names below are loaded at first use, so that importing the package costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tempovla.control.load import load
    from tempovla.data.open import open_source as open_dataset
    from tempovla.recipe.evaluation.simulators import evaluate
    from tempovla.recipe.train import train

__version__ = "0.1.0"

__all__ = ["evaluate", "load", "open_dataset", "train"]

_HOMES = {
    "evaluate": ("tempovla.recipe.evaluation.simulators", "evaluate"),
    "load": ("tempovla.control.load", "load"),
    "open_dataset": ("tempovla.data.open", "open_source"),
    "train": ("tempovla.recipe.train", "train"),
}
"""Name to the module that it is in, and what it is called there."""


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, there = _HOMES[name]
    return getattr(import_module(module), there)


def __dir__() -> list[str]:
    return sorted({*(name for name in globals() if name.startswith("__")), *_HOMES})
