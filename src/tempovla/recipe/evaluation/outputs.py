"""Files that an evaluation writes, checked before any rollout."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tempovla.storage.lock import FolderLock, holding
from tempovla.storage.writable import check_file, check_folder
from tempovla.timeline.arguments import path_argument


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

    def __post_init__(self) -> None:
        for name in ("results", "recordings", "videos"):
            if getattr(self, name) is not None:
                path_argument(name, getattr(self, name), "a file" if name == "results" else "a folder")

    def check(self, *inputs: str | Path) -> None:
        """Refuse what cannot be written, and write nothing.

        Args:
            inputs: files that the evaluation reads.

        Raises:
            ValueError: if the results would be a folder or overwrite an input, one of the folders is a file, both
                folders are one, or nothing can be written there.
        """
        if self.results is not None:
            path = Path(self.results)
            if path.is_dir() or not path.name:
                raise ValueError(f"{path}: a folder, but the results are a file; give {path / 'results.json'}")
            check_folder(path.parent, f"the results {path.name}")
            check_file(path, "results", inputs)
        for folder, what in ((self.recordings, "recordings"), (self.videos, "videos")):
            if folder is not None:
                check_folder(Path(folder), f"the {what}")
        folders = [Path(folder).absolute() for folder in (self.recordings, self.videos) if folder is not None]
        if len(set(folders)) < len(folders):
            raise ValueError(f"{self.videos}: cannot hold both recordings and videos; give two folders")

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
