"""Digests of files, in a time that does not grow with their size; unchanged files are not read again.

Small files are hashed whole. Of a large one its head, its tail and blocks spread evenly between them are, with its
size; of a large parquet file all columns of numbers besides, which are a small part of it where it holds pictures. So a
change of one action is always seen, and one of pictures wherever it moves anything, as every new encoding does.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import socket
import stat
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from tempovla.data.parquet import UNREADABLE
from tempovla.storage.cache import cache_folder
from tempovla.storage.json_files import read_json, to_json_text
from tempovla.storage.whole import write_text

LOGGER = logging.getLogger(__name__)

WHOLE_BYTES = 128 << 10
"""Up to this size a file is hashed whole [bytes]."""
WHOLE_OF_NUMBERS = {".parquet": 1 << 20, ".json": 64 << 20, ".jsonl": 64 << 20}
"""The same for files that hold numbers and words rather than pictures, by ending [bytes]."""
NUMBER_BYTES = 256 << 20
"""Up to this size the numbers of a large parquet file are hashed whole, else in blocks, too [bytes]."""
_END, _BLOCK, _BLOCKS = 16 << 10, 4 << 10, 14
_THREADS, _AT_ONCE = 16, 32
_READ = 8 << 20
_DIGITS = 32
ABSENT = "absent"
"""Stands for the digest of a file that is missing or unreadable."""
_KEPT_FROM = 64
"""From how many files on digests are kept; fewer are read as fast."""
_SETTLED_S = 2.0
"""A file that was changed less long ago may be changed again within the same tick of its clock [s]."""

Seen = list[int]
"""Size, time of modification, time of change, inode and device of a file: all equal, it is the same file."""


def file_digest(path: Path) -> str:
    """Return the size and 32 hexadecimal digits of a file, or `ABSENT`: a dataset may be there in part, as far as it is
    read.
    """
    try:
        return _digest(path)
    except OSError as error:
        LOGGER.debug("%s: not readable (%s)", path, error)
        return ABSENT


def _digest(path: Path) -> str:
    with open(path, "rb", buffering=0, opener=_without_waiting) as file:
        facts = os.fstat(file.fileno())
        if not stat.S_ISREG(facts.st_mode):
            raise OSError(errno.EINVAL, "not a file")
        size = facts.st_size
        digest = hashlib.sha256()
        if size <= WHOLE_OF_NUMBERS.get(path.suffix, WHOLE_BYTES):
            digest.update(file.read())
        else:
            spans = _spread(0, size)
            if path.suffix == ".parquet":
                spans += _numbers(path)
            for start, length in spans:
                for place in range(start, start + length, _READ):
                    digest.update(os.pread(file.fileno(), min(_READ, start + length - place), place))
    return f"{size}-{digest.hexdigest()[:_DIGITS]}"


def _without_waiting(path: str, flags: int) -> int:
    """Open a file; a pipe in its place is not waited for."""
    return os.open(path, flags | os.O_NONBLOCK)


def file_digests(root: Path, files: Mapping[str, Path]) -> dict[str, str]:
    """Return the digests of a dataset's files, by name.

    Where there are many they are kept in the cache, and a file is read again only if its size, times, inode or device
    have changed since.

    Args:
        root: the dataset's folder.
        files: path by name.
    """
    if len(files) < _KEPT_FROM:
        return {name: file_digest(path) for name, path in files.items()}
    place = hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:_DIGITS]
    table = cache_folder() / "digests" / f"{place}.json"
    kept = _load(table)
    seen = {name: facts for name, path in files.items() if (facts := _seen(path)) is not None}
    found = {name: str(kept[name][-1]) for name, facts in seen.items() if name in kept and kept[name][:-1] == facts}
    missing = [name for name in files if name not in found]
    shares = [missing[start : start + _AT_ONCE] for start in range(0, len(missing), _AT_ONCE)]

    def digest(names: Sequence[str]) -> dict[str, str]:
        return {name: file_digest(files[name]) for name in names}

    with ThreadPoolExecutor(_THREADS) as pool:  # hashing and waiting for a disk take no interpreter
        for share in pool.map(digest, shares):
            found |= share
    if missing:
        _keep(table, seen, found)
    return {name: found[name] for name in files}


def _spread(start: int, stop: int) -> list[tuple[int, int]]:
    """Starts and lengths of the ends of a part of a file, and of blocks between them."""
    inner = stop - start - 2 * _END
    if inner <= _BLOCK * _BLOCKS:
        return [(start, stop - start)]
    blocks = [(start + _END + (inner - _BLOCK) * i // (_BLOCKS - 1), _BLOCK) for i in range(_BLOCKS)]
    return [(start, _END), *blocks, (stop - _END, _END)]


def _numbers(path: Path) -> list[tuple[int, int]]:
    """Starts and lengths of the columns of numbers of a parquet file; none of one that is not readable as such."""
    try:
        meta = pq.read_metadata(path)
        groups = [meta.row_group(number) for number in range(meta.num_row_groups)]
        chunks = [group.column(place) for group in groups for place in range(meta.num_columns)]
        spans = [
            (min(filter(None, (chunk.dictionary_page_offset, chunk.data_page_offset))), chunk.total_compressed_size)
            for chunk in chunks
            if chunk.physical_type != "BYTE_ARRAY"
        ]
    except UNREADABLE:
        return []
    if sum(length for _, length in spans) > NUMBER_BYTES:
        return [block for start, length in spans for block in _spread(start, start + length)]
    return spans


def _seen(path: Path) -> Seen | None:
    try:
        facts = path.stat()
    except OSError:
        return None
    return [facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns, facts.st_ino, facts.st_dev]


def _load(table: Path) -> dict[str, list[Any]]:
    """What was seen of each file on this machine, and its digest."""
    try:
        content = read_json(table, remedy="it is made again")
    except ValueError as error:
        if table.exists():
            LOGGER.info("%s: not readable (%s), so that files are read again", table, error)
        return {}
    files = content.get("files") if content.get("machine") == _machine() else None
    if not isinstance(files, dict):
        return {}
    return {name: facts for name, facts in files.items() if isinstance(facts, list) and len(facts) == 6}


def _keep(table: Path, seen: Mapping[str, Seen], digests: Mapping[str, str]) -> None:
    latest_ns = time.time_ns() - int(_SETTLED_S * 1e9)
    files = {name: [*facts, digests[name]] for name, facts in seen.items() if max(facts[1:3]) < latest_ns}
    try:
        write_text(table, to_json_text({"machine": _machine(), "files": files}) + "\n")
    except OSError as error:
        LOGGER.debug("digests are not kept (%s)", error)


def _machine() -> str:
    return socket.gethostname()
