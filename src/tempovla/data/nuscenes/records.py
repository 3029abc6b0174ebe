"""Records of nuScenes' tables that a scene consists of."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

Record = dict[str, Any]
SceneRecords = dict[str, list[Record]]
"""Records of one scene by table."""


def token(*names: object) -> str:
    """Return the token of a record, 32 hexadecimal digits: the same names have the same one."""
    return hashlib.sha256("/".join(map(str, names)).encode()).hexdigest()[:32]


def chain(records: Sequence[Record]) -> None:
    """Have each record name the one before and the one after it."""
    for record, before, after in zip(records, [None, *records], [*records[1:], None], strict=False):
        record["prev"] = before["token"] if before else ""
        record["next"] = after["token"] if after else ""
