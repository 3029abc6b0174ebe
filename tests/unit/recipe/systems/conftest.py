"""Some of what systems offer is seen through the command line."""

from tests.command_line import fails, logging_as_before, tempovla

__all__ = ["fails", "logging_as_before", "tempovla"]
