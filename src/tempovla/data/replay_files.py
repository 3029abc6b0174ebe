"""Files of a replay: `replay.json` says what it holds, and each episode is a safetensors file of its own.

Every file is written whole, so that a kill at any moment leaves complete episodes only.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from tempovla.data.errors import DatasetError
from tempovla.data.writer_checks import check_arrays, check_depth, check_texts, numbers_given
from tempovla.storage.json_files import parse_json, plain_json, read_json, shown, to_json_text, write_json
from tempovla.storage.paths import regular_file
from tempovla.storage.tensors import disk_errors
from tempovla.storage.whole import new_file
from tempovla.timeline.config import config_from_json, config_to_json
from tempovla.timeline.source import StreamInfo, StreamKind
from tempovla.timeline.task import Embodiment

DESCRIPTION = "replay.json"
FORMAT = 1
_HEADER, _CHECKSUM = "replay", "crc32"
_REMEDY = (
    "restore it from a copy, or remove it and all later episodes; a run then goes on only from a checkpoint that was "
    "saved before them"
)
"""What helps where the file of an episode is of no use, in a run and in a replay that is read alone."""
_EPISODE = re.compile(r"episode_(\d{8,12})\.safetensors")
_NUMBERS = ("bool", "uint8", "int8", "int16", "int32", "int64", "float32", "float64")
_MOST_VALUES = 1 << 28
"""More numbers than one value of any stream has."""

Words = str | tuple[str, ...]
"""The instruction of an episode, or one for each step."""


@dataclass(frozen=True)
class Description:
    """What a replay holds.

    Attributes:
        streams: by key; all of them run at the control rate.
        embodiment: the body that acts.
        facts: how episodes come about, such as the simulator and the task, as plain JSON values.
    """

    streams: Mapping[str, StreamInfo]
    embodiment: Embodiment
    facts: Mapping[str, Any]

    def check(self, where: str) -> None:
        """Refuse streams that cannot be kept.

        Raises:
            DatasetError: naming the stream and what is wrong with it.
        """
        if not self.streams:
            raise DatasetError(f"{where}: there are no streams; give at least one")
        for key, stream in self.streams.items():
            if stream.kind not in get_args(StreamKind) or stream.dtype not in _NUMBERS:
                raise DatasetError(
                    f"{where}: stream {key!r} is of kind {shown(stream.kind)} and type {shown(stream.dtype)}; give one "
                    f"of {', '.join(get_args(StreamKind))}, and one of {', '.join(_NUMBERS)}"
                )
            if any(size < 1 for size in stream.shape) or np.prod(stream.shape, dtype=float) > _MOST_VALUES:
                raise DatasetError(f"{where}: stream {key!r} has shape {list(stream.shape)}; give positive sizes")
            if stream.rate_hz != self.embodiment.rate_hz:
                raise DatasetError(
                    f"{where}: stream {key!r} runs at {stream.rate_hz:g} Hz, but control at "
                    f"{self.embodiment.rate_hz:g} Hz; give one value for each control step"
                )
        if not 0 < self.embodiment.rate_hz < float("inf"):
            raise DatasetError(f"{where}: rate_hz is {self.embodiment.rate_hz!r}; it must be a positive number")

    @property
    def row_bytes(self) -> int:
        """Memory of one step of all streams."""
        return sum(int(np.prod(s.shape)) * np.dtype(s.dtype).itemsize for s in self.streams.values())


def write_description(folder: Path, description: Description) -> None:
    """Write `replay.json`.

    Raises:
        NotWrittenError: if the disk does not take it.
    """
    data = {
        "format": FORMAT,
        "streams": {key: config_to_json(stream) for key, stream in description.streams.items()},
        "embodiment": description.embodiment.to_json(),
        "facts": plain_json(dict(description.facts)),
    }
    write_json(folder / DESCRIPTION, data)


def read_description(folder: Path) -> Description:
    """Read what `write_description` wrote.

    Raises:
        DatasetError: if there is none, it is damaged, or it is of another version.
    """
    path, remedy = folder / DESCRIPTION, "restore the file, or begin in another folder"
    data = read_json(path, remedy=remedy, error=DatasetError, allow_nan=False)
    if data.get("format") != FORMAT:
        raise DatasetError(f"{path}: has format {shown(data.get('format'))}, and {FORMAT} is read; {remedy}")
    try:
        facts = data["facts"]
        if not isinstance(facts, dict) or not isinstance(data["streams"], dict):
            raise ValueError("streams and facts must be objects")
        streams = {key: config_from_json(StreamInfo, entry, key) for key, entry in data["streams"].items()}
        found = Description(streams, Embodiment.from_json(data["embodiment"]), facts)
    except KeyError as error:
        raise DatasetError(f"{path}: {error.args[0]!r} is missing; {remedy}") from None
    except (ValueError, TypeError) as error:
        raise DatasetError(f"{path}: {str(error).partition('; ')[0]}; {remedy}") from None
    found.check(str(path))
    return found


def episode_path(folder: Path, episode: int) -> Path:
    """Return the file of one episode."""
    return folder / f"episode_{episode:08d}.safetensors"


def count_episodes(folder: Path) -> int:
    """Return the number of episodes, which are counted from 0 without a gap.

    Raises:
        DatasetError: naming the file that is missing.
    """
    matches = (_EPISODE.fullmatch(path.name) for path in folder.iterdir())
    numbers = sorted(int(match[1]) for match in matches if match)
    for expected, number in enumerate(numbers):
        if number != expected:
            path = episode_path(folder, expected)
            raise DatasetError(f"{path}: is missing, and later episodes are there; {_REMEDY}")
    return len(numbers)


def write_episode(path: Path, arrays: Mapping[str, NDArray[Any]], length: int, words: Words) -> None:
    """Write the file of one episode, with a checksum of what it holds.

    Raises:
        NotWrittenError: if the disk does not take it.
    """
    stored = {key: np.ascontiguousarray(values) for key, values in arrays.items()}
    header = {"length": length, "instructions": words, _CHECKSUM: _checksum(stored, words)}
    with new_file(path) as staged, disk_errors():
        save_file(stored, staged, {_HEADER: to_json_text(header)})


def read_header(path: Path, streams: Mapping[str, StreamInfo]) -> tuple[int, Words]:
    """Return the length and the words of an episode, once the shapes and types of its arrays were compared.

    Raises:
        DatasetError: if the file is damaged, or does not hold these streams.
    """
    with _opened(path) as file:
        length, words, _ = _header(path, file, streams)
        return length, words


def read_arrays(path: Path, streams: Mapping[str, StreamInfo]) -> dict[str, NDArray[Any]]:
    """Return the arrays (T, *shape) of an episode.

    Raises:
        DatasetError: if the file is damaged, does not hold these streams, holds a number that is not finite, or does
            not hold what was written, which episodes of earlier versions cannot tell.
    """
    with _opened(path) as file:
        _, words, checksum = _header(path, file, streams)
        arrays = {key: file.get_tensor(key) for key in streams}
    for key, values in arrays.items():
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            step = int(np.argwhere(~np.isfinite(values))[0][0])
            raise DatasetError(f"{path}: {key!r} is not finite at step {step}; {_REMEDY}")
    if checksum is not None and checksum != _checksum(arrays, words):
        raise DatasetError(f"{path}: damaged, as its contents do not have the checksum in its header; {_REMEDY}")
    return arrays


def _checksum(arrays: Mapping[str, NDArray[Any]], words: Words) -> int:
    """The CRC-32 of an episode's words and of the bytes of its arrays."""
    checksum = zlib.crc32(to_json_text(words).encode())
    for key in sorted(arrays):  # the file does not keep their order
        checksum = zlib.crc32(np.ascontiguousarray(arrays[key]).data, zlib.crc32(key.encode(), checksum))
    return checksum


class _opened:
    """A file of safetensors, whose errors name it."""

    def __init__(self, path: Path) -> None:
        self._path = regular_file(path, remedy=_REMEDY, error=DatasetError)

    def __enter__(self) -> Any:
        try:
            self._file = safe_open(self._path, framework="numpy")
            return self._file.__enter__()
        except (SafetensorError, OSError) as error:
            raise self._damaged(error) from None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        self._file.__exit__(kind, error, trace)
        if isinstance(error, SafetensorError):
            raise self._damaged(error) from None

    def _damaged(self, error: Exception) -> DatasetError:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        return DatasetError(f"{self._path}: damaged or cut off ({reason}); {_REMEDY}")


def _header(path: Path, file: Any, streams: Mapping[str, StreamInfo]) -> tuple[int, Words, Any]:
    """The length and the words of an episode, and its checksum, which is None in files of earlier versions."""
    text = (file.metadata() or {}).get(_HEADER)
    parsed = parse_json(text, f"{path}: its header is", remedy=_REMEDY, error=DatasetError) if text else None
    header: dict[str, Any] = parsed if isinstance(parsed, dict) else {}
    length = header.get("length")
    if type(length) is not int or length < 1:
        raise DatasetError(f"{path}: is no episode of a replay with at least one step; {_REMEDY}")
    words: Any = header.get("instructions")
    if isinstance(words, list):
        if len(words) != length:
            raise DatasetError(f"{path}: has {len(words)} instructions for {length} steps; {_REMEDY}")
        words = tuple(words)
    check_texts(str(path), words if isinstance(words, tuple) else [words])
    there = set(file.keys())
    if odd := sorted(there ^ streams.keys()):
        raise DatasetError(f"{path}: {odd[0]!r} is in the file or in {DESCRIPTION}, but not in both; {_REMEDY}")
    for key, stream in streams.items():
        part = file.get_slice(key)
        wanted = [length, *stream.shape]
        if list(part.get_shape()) != wanted or part.get_dtype() != _stored_name(stream.dtype):
            raise DatasetError(
                f"{path}: {key!r} is {part.get_dtype()} {list(part.get_shape())}, not {_stored_name(stream.dtype)} "
                f"{wanted}; {_REMEDY}"
            )
    return length, words, header.get(_CHECKSUM)


def _stored_name(dtype: str) -> str:
    """What safetensors calls a type of numpy."""
    if dtype == "bool":
        return "BOOL"
    number = np.dtype(dtype)
    return f"{number.kind.upper()}{8 * number.itemsize}"


def refuse_others(where: str, here: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    """Refuse facts that are not those of a replay.

    Raises:
        DatasetError: naming both.
    """
    asked = plain_json(dict(asked))
    for key in {**here, **asked}:
        if here.get(key) != asked.get(key):
            raise DatasetError(
                f"{where}: holds episodes of {key} {_told(here, key)}, not of {_told(asked, key)}; give another folder"
            )


def _told(facts: Mapping[str, Any], key: str) -> str:
    return shown(facts[key]) if key in facts else "unknown"


def refuse_other_streams(where: str, here: Mapping[str, StreamInfo], asked: Mapping[str, StreamInfo]) -> None:
    """Refuse streams that are not those of a replay.

    Raises:
        DatasetError: naming the first one that differs, and both of its forms.
    """

    def form(streams: Mapping[str, StreamInfo], key: str) -> str:
        return f"{streams[key].dtype} {json.dumps(list(streams[key].shape))}" if key in streams else "no stream"

    for key in [*here, *(key for key in asked if key not in here)]:
        if form(here, key) != form(asked, key):
            raise DatasetError(
                f"{where}: {key!r} is {form(here, key)} there, not {form(asked, key)}; give another folder"
            )


def words_given(where: str, instruction: str | Sequence[str], length: int) -> Words:
    """Return an instruction, or one for each step.

    Raises:
        DatasetError: if they are no texts, or not as many as there are steps.
    """
    words: Words = tuple(instruction) if isinstance(instruction, list | tuple) else instruction  # type: ignore[assignment]
    check_texts(where, words if isinstance(words, tuple) else [words])
    if isinstance(words, tuple) and len(words) != length:
        raise DatasetError(f"{where}: {len(words)} instructions for {length} steps; give one, or one for each step")
    return words


def frames_given(
    where: str, frames: Mapping[str, NDArray[Any]], streams: Mapping[str, StreamInfo]
) -> tuple[dict[str, NDArray[Any]], int]:
    """Return the arrays (T, *shape) of an episode as they are stored, and T.

    Raises:
        DatasetError: naming the stream and the step, if one is missing, has another shape or type, or is not finite.
    """
    if odd := sorted(frames.keys() ^ streams.keys()):
        raise DatasetError(f"{where}: {odd[0]!r} is in the episode or in the replay, but not in both")
    check_arrays(where, frames)
    length = next((len(values) for values in frames.values() if values.ndim), 0)
    if length == 0:
        raise DatasetError(f"{where}: has no step; give arrays of at least one")
    arrays: dict[str, NDArray[Any]] = {}
    for key, stream in streams.items():
        values, shape = frames[key], (length, *stream.shape)
        if values.shape != shape and not (stream.shape == (1,) and values.shape == (length,)):
            raise DatasetError(f"{where}: {key!r} has shape {list(values.shape)}, not {list(shape)}")
        if stream.kind == "image" and values.dtype != stream.dtype:
            raise DatasetError(f"{where}: {key!r} is {values.dtype}; give {stream.dtype}")
        if stream.kind == "depth":
            check_depth(where, key, values)
        arrays[key] = numbers_given(where, key, values.reshape(shape), stream.dtype)
    return arrays, length
