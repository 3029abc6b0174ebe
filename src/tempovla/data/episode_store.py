"""The files of a v3.0 dataset while episodes are added; a kill at any moment loses none.

Each episode's videos, rows, description and statistics are put in place one after the other, each file whole or not
at all, and only then does ``meta/info.json`` count the episode. Readers rely on that count, so leftovers of a killed
writer are ignored. Videos start as a file an episode; when a camera's reach the size limit, and at the
end, they are joined without encoding them again: the joined file takes the place of the first of them, then the
metadata are replaced, then the others are removed, and every state in between can be read.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tempovla.data import video_encode, writer_meta
from tempovla.data.errors import DatasetError
from tempovla.data.files import Staging
from tempovla.data.layout import RECORDING_PATH, DatasetMeta
from tempovla.data.parquet import open_parquet
from tempovla.data.statistics import Statistic, aggregate
from tempovla.data.stored_statistics import episode_statistics_v30
from tempovla.data.writer_meta import DATA_PATH, EPISODES_PATH, VIDEO_PATH, place
from tempovla.storage.paths import Inside

_EPISODES_PER_META_FILE = 256
_MEGABYTE = 1 << 20


@dataclass(frozen=True)
class EncodedEpisode:
    """An episode as it goes to disk.

    Attributes:
        columns: arrow array (T,) of every feature that lives in parquet, without the bookkeeping ones.
        videos: the mp4 file of every video feature.
        stats: statistics by feature.
        tasks: the instruction at every step.
    """

    columns: Mapping[str, pa.Array]
    videos: Mapping[str, bytes]
    stats: Mapping[str, Statistic]
    tasks: Sequence[str]


@dataclass
class _OpenVideos:
    """One camera's videos that are still a file an episode."""

    number: int
    """Running number of the first of them."""
    paths: list[Path] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    size: int = 0


class EpisodeStore:
    """Appends encoded episodes to the dataset in `root`.

    Args:
        root: the dataset's folder.
        info: content of ``info.json``, which it takes over and keeps up to date.
    """

    def __init__(self, root: Path, info: Mapping[str, Any]) -> None:
        self.root = root
        self.info = dict(info)
        self._staging = Staging(root)
        self._tasks: dict[int, str] = {}
        self._stats: Mapping[str, Statistic] | None = None
        self._data_number = 0
        self._data_size = 0
        self._data_rows: list[pa.Table] = []
        self._meta_number = 0
        self._meta_rows: pa.Table | None = None
        cameras = [key for key, entry in info["features"].items() if entry["dtype"] == "video"]
        self._videos = {key: _OpenVideos(0) for key in cameras}
        self._one_row_group = not any(entry["dtype"] in ("image", "depth") for entry in info["features"].values())

    def create(self) -> None:
        """Write the metadata of a dataset without episodes."""
        self._staging.publish_json(self.info, self.root / "meta" / "info.json", indent=4)

    def set_recording(self, recording: Mapping[str, Any]) -> None:
        """Record how the pictures are made; call it before the first episode."""
        if recording:
            self._staging.publish_json(recording, self.root / RECORDING_PATH, indent=4)
        else:
            (self.root / RECORDING_PATH).unlink(missing_ok=True)

    def resume(self, meta: DatasetMeta) -> None:
        """Go on after the last episode that `meta` counts; remove what a killed writer left beyond it."""
        self._staging.clear()
        inside = Inside(self.root, DatasetError)  # nothing is removed along a link that leads elsewhere
        self.info = dict(meta.info)
        self._tasks = dict(meta.tasks or {})
        episodes = len(meta.episodes)
        for folder in ("data", "meta/episodes"):
            for path in sorted((self.root / folder).glob("*/*.parquet")):
                inside.check_links(path.parent)
                self._discard_uncommitted(path, episodes)
        if episodes:
            self._stats = aggregate(episode_statistics_v30(self.root, episodes))
            self._data_number = 1 + _last_number(self.root / "data", "parquet")
            self._meta_number = 1 + _last_number(self.root / "meta" / "episodes", "parquet")
        used = {span.path for record in meta.episodes for span in record.videos.values()}
        for key in self._videos:
            for path in (self.root / "videos" / key).glob("*/*.mp4"):
                if path not in used:
                    inside.check_links(path.parent)
                    path.unlink()
            self._videos[key] = _OpenVideos(1 + _last_number(self.root / "videos" / key, "mp4"))

    def append(self, episode: EncodedEpisode) -> int:
        """Write one episode and count it; returns its index."""
        index, start, length = self.info["total_episodes"], self.info["total_frames"], len(episode.tasks)
        episode_tasks = list(dict.fromkeys(episode.tasks))
        index_of = {words: index for index, words in reversed(self._tasks.items())}
        new = [task for task in episode_tasks if task not in index_of]
        tasks = self._tasks | dict(enumerate(new, start=1 + max(self._tasks, default=-1)))
        index_of |= {words: index for index, words in tasks.items() if words in new}
        task_index = [index_of[task] for task in episode.tasks]
        columns, stats = writer_meta.bookkeeping(index, start, task_index, self.info["fps"])
        table = pa.table({**episode.columns, **columns})
        stats = {**episode.stats, **stats}
        self._make_room(table.nbytes, episode.videos)
        entries: dict[str, Any] = {"episode_index": index, "tasks": episode_tasks, "length": length}
        entries |= {f"data/{name}": value for name, value in place(self._data_number).items()}
        entries |= {"dataset_from_index": start, "dataset_to_index": start + length}
        entries |= {f"meta/episodes/{name}": value for name, value in place(self._meta_number).items()}

        videos, cells = self._publish_videos(episode.videos, length)
        rows, size = self._publish_rows(table)
        if len(tasks) > len(self._tasks):
            self._staging.publish_table([writer_meta.tasks_table(tasks)], self.root / "meta" / "tasks.parquet")
        row = writer_meta.episode_row(entries | cells, stats)
        meta_rows = row if self._meta_rows is None else pa.concat_tables([self._meta_rows, row]).combine_chunks()
        self._publish_meta_rows(meta_rows)
        total = stats if self._stats is None else aggregate([self._stats, stats])
        self._staging.publish_json(writer_meta.statistics_json(total), self.root / "meta" / "stats.json")
        info = self.info | {
            "total_episodes": index + 1,
            "total_frames": start + length,
            "total_tasks": len(tasks),
            "splits": {"train": f"0:{index + 1}"},
            "features": self._described(videos),
        }
        self._staging.publish_json(info, self.root / "meta" / "info.json", indent=4)

        # Only now does the store itself move on: after an error above, the next episode takes this one's place.
        self.info, self._tasks, self._stats = info, tasks, total
        self._data_rows, self._data_size, self._meta_rows = rows, size, meta_rows
        for key, path in videos.items():
            self._videos[key].paths.append(path)
            self._videos[key].lengths.append(length)
            self._videos[key].size += path.stat().st_size
        return index

    def _publish_videos(self, videos: Mapping[str, bytes], length: int) -> tuple[dict[str, Path], dict[str, Any]]:
        """Put each camera's file in place; returns where, and its cells in the episode's description."""
        paths: dict[str, Path] = {}
        cells: dict[str, Any] = {}
        for key, video in videos.items():
            where = place(self._videos[key].number + len(self._videos[key].paths))
            paths[key] = self.root / VIDEO_PATH.format(video_key=key, **where)
            self._staging.publish_bytes(video, paths[key])
            cells |= {f"videos/{key}/{name}": value for name, value in where.items()}
            cells |= {f"videos/{key}/from_timestamp": 0.0, f"videos/{key}/to_timestamp": length / self.info["fps"]}
        return paths, cells

    def _publish_rows(self, table: pa.Table) -> tuple[list[pa.Table], int]:
        """Put the data file with some more rows in place; returns its row groups and its size [bytes].

        With images in it there is a row group an episode, so that one image costs no more than that to reach.
        """
        rows = [*self._data_rows, table]
        if self._one_row_group:
            rows = [pa.concat_tables(rows).combine_chunks()]
        path = self.root / DATA_PATH.format(**place(self._data_number))
        return rows, self._staging.publish_table(rows, path)

    def _described(self, videos: Mapping[str, Path]) -> dict[str, Any]:
        """The features, with codec and size of each camera."""
        features = dict(self.info["features"])
        for key, path in videos.items():
            if "info" not in features[key]:
                features[key] = features[key] | {"info": video_encode.describe(path)}
        return features

    def close(self) -> None:
        """Join the videos that are still a file an episode."""
        for key in self._videos:
            self._join_videos(key)
        self._staging.clear()

    def discard_unfinished(self) -> None:
        """Free the space of files in the making, e.g. after an error."""
        self._staging.clear()

    def discard_all(self) -> None:
        """Remove all that was written; what others put into the folder stays."""
        self._staging.clear()
        for name in ("data", "videos", "meta"):
            shutil.rmtree(self.root / name, ignore_errors=True)

    def _make_room(self, row_bytes: int, videos: Mapping[str, bytes]) -> None:
        """Start new files where an episode would take the current ones beyond their limits."""
        if self._data_rows and self._data_size + row_bytes > self.info["data_files_size_in_mb"] * _MEGABYTE:
            self._data_number, self._data_size, self._data_rows = self._data_number + 1, 0, []
        meta_is_full = self._meta_rows is not None and self._meta_rows.num_rows >= _EPISODES_PER_META_FILE
        for key, video in videos.items():
            size = self._videos[key].size + len(video)
            if meta_is_full or size > self.info["video_files_size_in_mb"] * _MEGABYTE:
                self._join_videos(key)
        if meta_is_full:  # open videos are always described in the current file, so that joining rewrites but one
            self._meta_number, self._meta_rows = self._meta_number + 1, None

    def _join_videos(self, key: str) -> None:
        videos = self._videos[key]
        fps = self.info["fps"]
        for first, last in _runs_of_equal([video_encode.signature(path) for path in videos.paths]):
            paths, lengths = videos.paths[first:last], videos.lengths[first:last]
            if len(paths) == 1:
                continue
            joined = self._staging.path(f"{key}.mp4")
            video_encode.join(paths, lengths, fps, joined)
            self._staging.publish(joined, paths[0])
            assert self._meta_rows is not None
            rows = range(self._meta_rows.num_rows - len(videos.paths) + first, self._meta_rows.num_rows)[: len(paths)]
            starts = [sum(lengths[:i]) / fps for i in range(len(lengths))]
            stops = [start + length / fps for start, length in zip(starts, lengths, strict=True)]
            table = self._meta_rows
            cells = {name: [value] * len(paths) for name, value in place(videos.number + first).items()}
            cells |= {"from_timestamp": starts, "to_timestamp": stops}
            for name, values in cells.items():
                table = writer_meta.set_cells(table, f"videos/{key}/{name}", dict(zip(rows, values, strict=True)))
            self._publish_meta_rows(table)
            self._meta_rows = table
            for path in paths[1:]:
                path.unlink()
        self._videos[key] = _OpenVideos(videos.number + len(videos.paths))

    def _publish_meta_rows(self, rows: pa.Table) -> None:
        self._staging.publish_table([rows], self.root / EPISODES_PATH.format(**place(self._meta_number)))

    def _discard_uncommitted(self, path: Path, episodes: int) -> None:
        """Drop rows of episodes that were never counted, which LeRobot would take for rows of the next one."""
        with open_parquet(path) as file:
            if file.metadata.num_rows == 0:
                return
            index = file.read(columns=["episode_index"]).column("episode_index")
            if pc.max(index).as_py() < episodes:
                return
            groups = [file.read_row_group(i) for i in range(file.num_row_groups)]
        kept = [group.filter(pc.less(group.column("episode_index"), episodes)) for group in groups]
        if any(group.num_rows for group in kept):
            self._staging.publish_table([group for group in kept if group.num_rows], path)
        else:
            path.unlink()


def _last_number(folder: Path, extension: str) -> int:
    """Running number of the last file in a folder of chunks, -1 if there is none."""
    files = [(path.parent.name, path.stem) for path in folder.glob(f"*/*.{extension}")]
    if not files:
        return -1
    return max(writer_meta.number(int(chunk.split("-")[1]), int(file.split("-")[1])) for chunk, file in files)


def _runs_of_equal(items: Sequence[Any]) -> list[tuple[int, int]]:
    """Ranges (first, last excluded) of neighbours that are equal."""
    edges = [0, *(i for i in range(1, len(items)) if items[i] != items[i - 1]), len(items)]
    return [(a, b) for a, b in pairwise(edges) if b > a]
