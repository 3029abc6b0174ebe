"""Episodes of an evaluation, kept on the disk as they end, so that an interrupted one goes on where it stopped."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

import numpy as np

from tempovla.rollout.runner import EpisodeResult, EpisodeSpec
from tempovla.storage.json_files import json_number, parse_json, to_json_text, whole_lines
from tempovla.storage.paths import written_in
from tempovla.storage.problems import problems_of
from tempovla.storage.said_by import said_by
from tempovla.storage.whole import remove_leftovers, write_text
from tempovla.timeline.arguments import with_noun
from tempovla.timeline.config import config_from_json

LOGGER = logging.getLogger(__name__)
LONGEST_VALUE = 40
_REMEDY = "remove the file"


@dataclass(frozen=True)
class _Figures:
    """What a line says of an episode beside its spec and its actions; see `EpisodeResult`."""

    instruction: str
    success: bool
    steps: int
    total_reward: float
    policy_calls: int
    policy_s: float
    report: Mapping[str, float] = field(default_factory=dict)
    figures: Mapping[str, float] = field(default_factory=dict)


FIGURES = tuple(each.name for each in fields(_Figures))


class EpisodeJournal:
    """A file of JSON lines: what the episodes follow from, then every episode, without its recording.

    The file appears with the first episode, and its folder with it: a call that fails before leaves nothing, and a file
    that holds no episode blocks no other call. A last line without its newline is what a kill leaves, and is dropped.

    Args:
        path: the file; an existing one is continued.
        identity: everything beside their specs that determines the episodes, as plain JSON values.

    Raises:
        ValueError: if the file's episodes follow from something else, or are not readable, or if it is a link that
            leads to another folder.
    """

    def __init__(self, path: Path, identity: Mapping[str, Any]) -> None:
        self.path = written_in(path.parent, path)
        remove_leftovers(path)
        self._head = f"{to_json_text(identity)}\n"
        first, *self._kept = _whole_lines(path) or [self._head]
        difference = _difference(path, first, self._head) if self._kept else None
        if difference is not None:
            raise ValueError(
                f"{path}: keeps episodes of another checkpoint, simulator or version ({difference}); "
                "evaluate that one to its end, remove the file, or write to another one"
            )
        self.episodes = dict(_read(path, number, line) for number, line in enumerate(self._kept, start=2))
        """What is there already, by spec."""
        self._file: TextIO | None = None
        if self._kept:
            LOGGER.info("%s: going on after %s", path, with_noun(len(self._kept), "episode"))

    def keep_first(self, number: int) -> None:
        """Drop the episodes after the first `number`, because their recording lacks them; call it before `add`."""
        assert self._file is None
        self._kept = self._kept[:number]
        self.episodes = dict(list(self.episodes.items())[:number])

    def add(self, result: EpisodeResult) -> None:
        """Write an episode to the disk.

        Raises:
            NotWrittenError: if the disk does not take it; those before are kept.
        """
        self.episodes[result.spec] = result
        actions = None if result.actions is None else result.actions.tolist()
        figures = {name: getattr(result, name) for name in FIGURES}
        with problems_of(self.path, then="and repeat the command, which goes on from there"):
            file = self._opened()
            file.write(to_json_text({"spec": asdict(result.spec), "actions": actions} | figures) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def _opened(self) -> TextIO:
        """The file, without what a kill left half-written."""
        if self._file is None:
            write_text(self.path, "".join([self._head, *self._kept]))
            self._file = self.path.open("a", encoding="utf-8")
        return self._file

    def __enter__(self) -> EpisodeJournal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove the file, or leave it where an error or Ctrl-C came between and it keeps episodes."""
        if self._file is not None:
            self._file.close()
        if error is None or not self.episodes:
            self.path.unlink(missing_ok=True)
        else:
            kept = with_noun(len(self.episodes), "episode")
            LOGGER.warning("%s keeps %s; the same command goes on from there", self.path, kept)


def _whole_lines(path: Path) -> list[str]:
    """The lines of a file, without what a kill, or a power failure, leaves at its end."""
    return [f"{line}\n" for line in whole_lines(path, remedy=_REMEDY)] if path.exists() else []


def _difference(path: Path, kept: str, asked: str) -> str | None:
    """The first of the values that episodes follow from which is another one now, in words; None if there is none.

    Raises:
        ValueError: if the file does not begin with such values.
    """
    then, now = (_values(parse_json(text, f"{path}:", remedy=_REMEDY)) for text in (kept, asked))
    if not then:
        raise ValueError(f"{path}: does not begin as a journal of episodes does; {_REMEDY}")
    key = next((key for key in then | now if then.get(key) != now.get(key)), None)
    return None if key is None else f"{key} was {_brief(then.get(key))}, and is {_brief(now.get(key))} now"


def _brief(value: Any) -> str:
    text = to_json_text(value)
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}..."


def _values(identity: Any) -> dict[str, Any]:
    """Values by key, those of nested objects by `outer.inner`."""
    found: dict[str, Any] = {}
    for key, value in identity.items() if isinstance(identity, dict) else ():
        found |= {f"{key}.{inner}": item for inner, item in value.items()} if isinstance(value, dict) else {key: value}
    return found


def _read(path: Path, number: int, line: str) -> tuple[EpisodeSpec, EpisodeResult]:
    """An episode of a line.

    Raises:
        ValueError: naming file and line, if it is none.
    """
    where = f"{path}: line {number}"
    data = parse_json(line, f"{where}:", remedy=_REMEDY)
    with said_by(where, remedy=_REMEDY):
        spec = config_from_json(EpisodeSpec, data["spec"], "spec")
        figures = config_from_json(
            _Figures, {name: json_number(data[name]) for name in FIGURES if name in data}, "episode"
        )
        actions = None if data["actions"] is None else np.array(data["actions"], np.float32)
        return spec, EpisodeResult(spec, actions=actions, **vars(figures))
