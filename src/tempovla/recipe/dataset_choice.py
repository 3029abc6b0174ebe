"""Moved to `tempovla.control.body_selection`; scripts that import the function from here go on working."""

from tempovla.control.body_selection import load_bundle

__all__ = ["load_bundle"]
