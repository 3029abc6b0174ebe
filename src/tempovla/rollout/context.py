"""Moved to `tempovla.control.context_builder`; scripts that import the class from here go on working."""

from tempovla.control.context_builder import ContextBuilder

__all__ = ["ContextBuilder"]
