"""The keys of a dataset's state and action, where it renames or splits them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tempovla.data.errors import DatasetError, unknown_stream
from tempovla.data.joined import JoinedSource
from tempovla.data.layout import BOOKKEEPING
from tempovla.timeline.keys import ACTION_KEY, STATE_KEY
from tempovla.timeline.parts import StreamPart, WantedPart, parse_parts
from tempovla.timeline.source import EpisodeSource, StreamInfo, StreamTable

Keys = tuple[str, ...] | str | None
"""How a user names a stream: a key, a slice of one, or several to be joined in order; None is its usual name."""

OPTIONS = {STATE_KEY: "state_key", ACTION_KEY: "action_key"}
_LIKELY = {
    STATE_KEY: (f"{STATE_KEY}s", "state", "states", "observation.qpos", "qpos", "proprio", "observation.proprio"),
    ACTION_KEY: ("actions", "observation.action", "actions.joint", "control", "command", "target"),
}
_SPLIT = {
    STATE_KEY: (f"{STATE_KEY}.", f"{STATE_KEY}s.", "state.", "states."),
    ACTION_KEY: ("action.", "actions."),
}
"""What keys begin with where the state or the action lies in several streams."""


@dataclass(frozen=True)
class StreamKeys:
    """The keys of a dataset's state and action.

    Attributes:
        state: parts of the state; empty where it is called ``observation.state``.
        action: parts of the action; empty where it is called ``action``.
        prefix: what stands before `state_key` and `action_key` in messages, e.g. ``data.``.
    """

    state: tuple[WantedPart, ...] = ()
    action: tuple[WantedPart, ...] = ()
    prefix: str = ""

    @classmethod
    def parse(cls, state_key: Keys, action_key: Keys, prefix: str = "") -> StreamKeys:
        """Read the keys that a user wrote.

        Raises:
            ValueError: if it is not readable, or names nothing.
        """
        state = () if state_key is None else parse_parts(state_key, f"{prefix}state_key")
        action = () if action_key is None else parse_parts(action_key, f"{prefix}action_key")
        return cls(state, action, prefix)

    @property
    def wanted(self) -> dict[str, tuple[WantedPart, ...]]:
        """The parts of each joined stream, by its key; streams that keep their own name are left out."""
        both = {STATE_KEY: self.state, ACTION_KEY: self.action}
        return {key: parts for key, parts in both.items() if parts and parts != (WantedPart(key),)}


def with_keys(source: EpisodeSource, keys: StreamKeys) -> EpisodeSource:
    """Return the source with what `keys` names as its state and action; the source itself where they name nothing.

    Raises:
        DatasetError: if there is no such stream, it is no vector or too short, or dimensions are named twice.
    """
    wanted = keys.wanted
    if not wanted:
        return source
    joined = {
        key: tuple(_part(source, part, keys.prefix + OPTIONS[key]) for part in parts) for key, parts in wanted.items()
    }
    for key, parts in joined.items():
        _refuse_doubled(source.name, parts, keys.prefix + OPTIONS[key])
    return JoinedSource(source, joined)


def _part(source: EpisodeSource, wanted: WantedPart, option: str) -> StreamPart:
    if wanted.key not in source.streams:
        raise DatasetError(f"{option}={wanted}: {unknown_stream(wanted.key, source.streams, source.name)}")
    stream = source.streams[wanted.key]
    if stream.is_picture or len(stream.shape) > 1:
        what = "a camera" if stream.is_picture else f"of shape {list(stream.shape)}"
        raise DatasetError(
            f"{source.name}: {option}={wanted}: stream {wanted.key!r} is {what}, not a vector; choose from "
            f"{sorted(vectors(source.streams))}"
        )
    try:
        return wanted.of_size(stream.shape[0] if stream.shape else 1)
    except ValueError as error:
        raise DatasetError(f"{source.name}: {option}={wanted}: {error}") from None


def _refuse_doubled(name: str, parts: Sequence[StreamPart], option: str) -> None:
    for index, part in enumerate(parts):
        for other in parts[:index]:
            if other.key == part.key and other.start < part.stop and part.start < other.stop:
                raise DatasetError(
                    f"{name}: {option} takes dimension {max(part.start, other.start)} of {part.key!r} twice, by "
                    f"{other} and {part}; name each dimension once"
                )


def check_vectors(source: EpisodeSource, keys: Sequence[str]) -> None:
    """Refuse a state or an action of several axes, because the order of its values is not known.

    Raises:
        DatasetError: naming the stream, its shape and what to do.
    """
    for key in keys:
        stream = source.streams.get(key)
        if stream is not None and len(stream.shape) > 1:
            others = [name for name in vectors(source.streams) if name not in OPTIONS]
            told = f", or name a vector with {OPTIONS[key]}, of {others}" if others else ""
            raise DatasetError(
                f"{source.name}: stream {key!r} has shape {list(stream.shape)}, but a policy reads vectors; declare it "
                f"as [{math.prod(stream.shape)}] in meta/info.json to read it row by row{told}"
            )


def raw_state(source: EpisodeSource) -> EpisodeSource:
    """Return the source as control sees it: with the state under the dataset's own names, and the action as it was
    joined.
    """
    return source.without(STATE_KEY) if isinstance(source, JoinedSource) and STATE_KEY in source.joined else source


def vectors(streams: Mapping[str, StreamInfo]) -> list[str]:
    """Return keys of the streams of vectors that are not bookkeeping."""
    return [
        key
        for key, stream in streams.items()
        if not stream.is_picture and len(stream.shape) <= 1 and key not in BOOKKEEPING
    ]


def suggested(streams: Mapping[str, StreamInfo], key: str) -> list[str]:
    """Return what a dataset without a stream `key` seems to call it, or its parts in order; empty where nothing is like
    it.
    """
    known = vectors(streams)
    for likely in _LIKELY[key]:
        same = [name for name in known if name.lower() == likely]
        if same:
            return same[:1]
    for prefix in _SPLIT[key]:
        parts = [name for name in known if name.lower().startswith(prefix)]
        if parts:
            return parts
    return []


def missing_streams(source: EpisodeSource, keys: Sequence[str], *, in_mixture: bool = False) -> str:
    """Return the message about missing streams, and the options with which to name them.

    Args:
        source: the dataset.
        keys: the streams.
        in_mixture: whether the options are those of a dataset in `data.mixture`.
    """
    for key in keys:
        if isinstance(source.streams, StreamTable) and key in source.streams.left_out:
            return str(unknown_stream(key, source.streams, source.name))
    found = {key: suggested(source.streams, key) for key in keys}
    known = vectors(source.streams)
    if not known:
        remedy = f"it has only {sorted(source.streams)}; give a dataset that recorded what is missing"
    elif in_mixture:
        told = [f"{OPTIONS[key]}: {_quoted(names)}" for key, names in found.items() if names]
        remedy = f"set {', '.join(told or ['state_key or action_key'])} of it in data.mixture"
    else:
        told = [f"--data.{OPTIONS[key]} {_quoted(names)}" for key, names in found.items() if names]
        remedy = f"set {' '.join(told or [f'--data.{OPTIONS[key]}' for key in keys])}"
    if known and not all(found.values()):
        remedy += f" to its name in the dataset, one of {known}" if not any(found.values()) else f"; it has {known}"
    names = " and ".join(map(repr, keys))
    return f"{source.name}: has no stream {names}, which the model needs; {remedy}"


def hints(source: EpisodeSource) -> list[str]:
    """Return hints about a missing state or action, where another stream resembles it."""
    keys = [key for key in OPTIONS if key not in source.streams and suggested(source.streams, key)]
    return [missing_streams(source, keys)] if keys else []


def _quoted(names: Sequence[str]) -> str:
    """Keys as an option's value: one as it is, several as a list in the order in which they are joined."""
    return names[0] if len(names) == 1 else f"'[{', '.join(names)}]'"
