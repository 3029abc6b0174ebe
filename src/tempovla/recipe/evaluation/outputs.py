"""Files that an evaluation writes, checked before any rollout."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile

from tempovla.storage.lock import FolderLock, holding


@dataclass(frozen=True)
class Outputs:
    """Files of an evaluation; None leaves one out.

    Attributes:
        results: JSON file of what the seeds determine; beside it goes a `.timing.json` of what they do not, and until
            all is done a `.partial.jsonl` of the episodes so far, from which the same call goes on after a kill.
        recordings: LeRobot v3.0 dataset of all episodes; without `results` it cannot be continued.
        videos: folder for a success and a failure of every task, with an index.json for the report.
    """

    results: str | Path | None = None
    recordings: str | Path | None = None
    videos: str | Path | None = None

    def check(self) -> None:
        """Refuse what cannot be written, and write nothing.

        Raises:
            ValueError: if the results would be a folder, one of the folders a file, or nothing can be written there.
        """
        if self.results is not None:
            path = Path(self.results)
            if path.is_dir() or not path.name:
                raise ValueError(f"{path}: a folder, but the results are a file; give {path / 'results.json'}")
            _check_folder(path.parent, f"the results {path.name}")
        for folder, what in ((self.recordings, "recordings"), (self.videos, "videos")):
            if folder is not None:
                _check_folder(Path(folder), f"the {what}")

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


def _check_folder(folder: Path, what: str) -> None:
    """Refuse a folder that is none, or cannot be made or written in."""
    there = next(path for path in (folder, *folder.absolute().parents) if os.path.exists(path))
    if not there.is_dir():
        raise ValueError(f"{there}: a file, so {what} cannot be written into {folder}; give another folder")
    try:
        with TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise ValueError(
            f"{there}: cannot be written ({error.strerror}), so {what} would be lost; give another folder"
        ) from None
