"""Files that an evaluation writes, checked before any rollout."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tempovla.data.errors import DatasetError
from tempovla.data.writer import is_unwritten
from tempovla.storage.distinct import Place, check_distinct
from tempovla.storage.lock import FolderLock, holding
from tempovla.storage.writable import check_apart, check_file, check_folder, expanded
from tempovla.timeline.arguments import brief, path_argument

JOURNAL_SUFFIX = ".partial.jsonl"


@dataclass(frozen=True)
class Outputs:
    """Files of an evaluation; None leaves one out, and a leading `~` is the home folder.

    Attributes:
        results: JSON file of what the seeds determine; beside it goes a `.timing.json` of what they do not, and until
            all is done a `.partial.jsonl` of the episodes so far, from which the same call goes on after a kill.
        recordings: LeRobot v3.0 dataset of all episodes; without `results` it cannot be continued.
        videos: folder for a success and a failure of every task, with an index.json for the report.
        cameras: the simulator's names of cameras that the recordings show beside those that the policy sees.
    """

    results: str | Path | None = None
    recordings: str | Path | None = None
    videos: str | Path | None = None
    cameras: Sequence[str] = ()

    def __post_init__(self) -> None:
        for name in ("results", "recordings", "videos"):
            if getattr(self, name) is not None:
                path = path_argument(name, getattr(self, name), "a file" if name == "results" else "a folder")
                object.__setattr__(self, name, expanded(path))
        is_list = isinstance(self.cameras, Sequence) and not isinstance(self.cameras, str)
        if not is_list or not all(isinstance(camera, str) for camera in self.cameras):
            raise ValueError(f"cameras={brief(self.cameras)}: give a list of names, such as ['corner2']")
        object.__setattr__(self, "cameras", tuple(dict.fromkeys(self.cameras)))
        if self.cameras and self.recordings is None:
            raise ValueError(
                f"cameras={list(self.cameras)} are for recordings; name a folder of recordings, or leave them out"
            )

    def check(self, *inputs: str | Path) -> None:
        """Refuse what cannot be written, and write nothing.

        Args:
            inputs: files that the evaluation reads.

        Raises:
            ValueError: if the results would be a folder, overwrite an input or do not end in .json, one of the folders
                is a file, one of the places is that of another or lies in a dataset or a checkpoint, or nothing can be
                written there.
            DatasetError: if the recordings are a dataset already, and no interrupted evaluation can go on with it.
        """
        places = self._places()
        if {"recordings", "videos"} <= places.keys() and os.path.realpath(places["recordings"].path) == (
            os.path.realpath(places["videos"].path)
        ):
            raise ValueError(f"{self.videos}: cannot hold both recordings and videos; give two folders")
        check_distinct(places)
        for name, place in places.items():
            path = place.path
            if not place.is_file:
                check_folder(path, f"the {name}")
                check_apart(path, name, "dataset" if name == "recordings" else None)
                continue
            if not path.name or os.path.isdir(path):
                raise ValueError(f"{path}: a folder, but the results are a file; give {path / 'results.json'}")
            check_folder(path.parent, f"the results {path.name}")
            check_file(path, name, inputs, (".json",))
        if "recordings" in places and not self._may_go_on() and not is_unwritten(places["recordings"].path):
            raise DatasetError(f"{self.recordings}: not empty, and nothing is overwritten; give another folder")

    def _places(self) -> dict[str, Place]:
        """What is written, by the name of the attribute."""
        places = {}
        if self.results is not None:
            places["results"] = Place(Path(self.results), is_file=True)
        if self.recordings is not None:
            places["recordings"] = Place(Path(self.recordings), is_file=False, admits="nothing")
        if self.videos is not None:
            videos = Path(self.videos)
            places["videos"] = Place(videos, is_file=False, beside=(videos / "index.json",))
        return places

    def _may_go_on(self) -> bool:
        """Whether an interrupted evaluation left episodes beside the results."""
        return self.results is not None and Path(self.results).with_suffix(JOURNAL_SUFFIX).is_file()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Lock the results and videos inside the block; the recorder locks recordings.

        Raises:
            ValueError: naming the process that writes there now.
            NotWrittenError: if nothing can be written there.
        """
        with ExitStack() as stack:
            if self.results is not None:
                stack.enter_context(holding(Path(self.results), "evaluates", remedy="let it end, or give another file"))
            if self.videos is not None:
                remedy = "let it end, or give another folder"
                stack.enter_context(FolderLock(Path(self.videos), "films episodes", remedy=remedy))
            yield
