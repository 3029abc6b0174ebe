"""Where messages go: pretty on a terminal, plain lines elsewhere, always to stderr."""

from __future__ import annotations

import logging
import sys


def set_up_logging(debug: bool, quiet: bool = False) -> None:
    """Show the messages of tempovla from INFO on (`debug`: DEBUG, `quiet`: WARNING), and warnings of all others."""
    handler: logging.Handler
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.logging import RichHandler

        handler = RichHandler(console=Console(stderr=True), show_path=False, show_level=False, log_time_format="%X")
    else:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("tempovla").setLevel(logging.DEBUG if debug else logging.WARNING if quiet else logging.INFO)
