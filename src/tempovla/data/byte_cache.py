"""A cache of arrays that never holds more than a given number of bytes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Any, Protocol, Self, runtime_checkable

DEFAULT_CACHE_BYTES = 512 << 20


class Sized(Protocol):
    """A NumPy or Arrow array."""

    @property
    def nbytes(self) -> int:
        """Memory that its values take."""


class ByteCache:
    """A cache that drops the least recently used arrays first.

    Args:
        max_bytes: budget of the whole cache [bytes]; an array larger than it is not kept.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.used_bytes = 0
        self._arrays: OrderedDict[Hashable, Sized] = OrderedDict()

    def __len__(self) -> int:
        return len(self._arrays)

    def get(self, key: Hashable) -> Any:
        """Return the array kept under `key`, or None."""
        array = self._arrays.get(key)
        if array is not None:
            self._arrays.move_to_end(key)
        return array

    def put(self, key: Hashable, array: Sized) -> None:
        """Keep an array that owns its memory; make room by dropping the ones unused for longest."""
        assert key not in self._arrays
        if array.nbytes > self.max_bytes:
            return
        self._arrays[key] = array
        self.used_bytes += array.nbytes
        while self.used_bytes > self.max_bytes:
            _, dropped = self._arrays.popitem(last=False)
            self.used_bytes -= dropped.nbytes


@runtime_checkable
class Caching(Protocol):
    """A source that caches decoded values and keeps files open."""

    cache: ByteCache

    def with_cache(self, cache: ByteCache) -> Self:
        """Return the same source with another cache and its own open files, e.g. for another process."""
