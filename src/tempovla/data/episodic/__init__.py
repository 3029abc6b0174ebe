"""A store of whole episodes that finds those which are most like a query: numpy, threads and files, no weights.

Each name is loaded at first use.
"""

from typing import TYPE_CHECKING

from tempovla.timeline.lazy import lazy_names

if TYPE_CHECKING:
    from tempovla.data.episodic.episode import Episode
    from tempovla.data.episodic.episodic_memory import EpisodicMemory, Retrieved

__all__ = ["Episode", "EpisodicMemory", "Retrieved"]

_MODULES = {"episode": ("Episode",), "episodic_memory": ("EpisodicMemory", "Retrieved")}

if not TYPE_CHECKING:
    __getattr__ = lazy_names(__name__, _MODULES)
