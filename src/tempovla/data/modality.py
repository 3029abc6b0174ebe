"""``meta/modality.json``, as GR00T's datasets have it: names for slices of state and action, and for cameras."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tempovla.data.joined import JoinedSource
from tempovla.data.numbers import whole_number
from tempovla.storage.json_files import read_json
from tempovla.timeline.keys import ACTION_KEY, STATE_KEY
from tempovla.timeline.parts import StreamPart
from tempovla.timeline.source import EpisodeSource, StreamInfo

MODALITY_PATH = "meta/modality.json"
_GROUPS = {"state": STATE_KEY, "action": ACTION_KEY, "video": None, "annotation": None}
"""What the file is divided into, and which stream a group's slices are of where they do not say it themselves."""

_KNOWN = ("start", "end", "original_key", "rotation_type", "absolute", "dtype", "range")
"""Keys of an entry of a state or an action; all but the first three change no value that is read."""


@dataclass
class Modality:
    """Contents of the file about a dataset's streams.

    Attributes:
        slices: by name, such as ``state.left_arm``, which dimensions of which stream it is.
        renamed: by name, such as ``video.ego_view``, which stream it is.
        left_out: by name, why an entry is of no use; by that of a group, such as ``state``, why none of it is.
    """

    slices: dict[str, tuple[StreamPart, ...]] = field(default_factory=dict)
    renamed: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)


def with_modality(source: EpisodeSource, root: Path) -> EpisodeSource:
    """Return the source with the streams that ``meta/modality.json`` names; the source itself where there is no such
    file.

    What the file describes wrongly is refused when it is read, as it need not matter to anybody.
    """
    path = root / MODALITY_PATH
    if not path.is_file():
        return source
    modality = read_modality(path, source.streams)
    return JoinedSource(source, modality.slices, modality.renamed, modality.left_out)


def read_modality(path: Path, streams: Mapping[str, StreamInfo]) -> Modality:
    """Read the file; entries that do not fit the streams are among `left_out`."""
    found = Modality()
    try:
        content = read_json(path, remedy="restore it, or remove it")
    except ValueError as error:
        found.left_out |= dict.fromkeys(_GROUPS, str(error))
        return found
    for group, default in _GROUPS.items():
        entries = {} if content.get(group) is None else content[group]
        if not isinstance(entries, Mapping):
            found.left_out[group] = f"{path}: {group!r} is {entries!r}, not an object; correct it, or remove the file"
            continue
        for name, entry in entries.items():
            _read_entry(found, f"{group}.{name}", entry, default, streams, path)
    return found


def _read_entry(
    found: Modality, key: str, entry: Any, default: str | None, streams: Mapping[str, StreamInfo], path: Path
) -> None:
    if key in streams:  # a column of its own, as annotations mostly are
        return
    remedy = "correct the entry, or remove it"
    if not isinstance(entry, Mapping):
        found.left_out[key] = f"{path}: {key!r} is {entry!r}, not an object; {remedy}"
        return
    own = entry.get("original_key") or default or key
    if not isinstance(own, str) or own not in streams:
        found.left_out[key] = f"{path}: {key!r} is of stream {own!r}, which the dataset does not have; {remedy}"
        return
    if default is None or ("start" not in entry and "end" not in entry):
        unknown = [name for name in entry if name not in _KNOWN] if default is not None else []
        if unknown:
            found.left_out[key] = (
                f"{path}: {key!r} has {unknown}, which is unknown, but neither 'start' nor 'end'; an entry may have "
                f"{list(_KNOWN)}; {remedy}"
            )
        else:
            found.renamed[key] = own
        return
    shape = streams[own].shape
    size = shape[0] if len(shape) == 1 else 1 if not shape else 0
    start, stop = whole_number(entry.get("start")), whole_number(entry.get("end"))
    if start is None or stop is None or not 0 <= start < stop <= size:
        found.left_out[key] = (
            f"{path}: {key!r} is from {entry.get('start')!r} to {entry.get('end')!r} of {own!r}, whose shape is "
            f"{list(shape)}; {remedy}"
        )
        return
    found.slices[key] = (StreamPart(own, size, start, stop),)
