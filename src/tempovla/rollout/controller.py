"""Moved to `tempovla.control.controller`; scripts that import the class from here go on working."""

from tempovla.control.controller import Controller

__all__ = ["Controller"]
