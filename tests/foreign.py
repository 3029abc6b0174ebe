"""Small LeRobot datasets as other tools write them, made from the format's description, not with our own writer.

Every picture tells its episode, step and camera, so that a wrong frame shows itself.
"""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

SIDE = 64
"""Height and width of every picture [px]."""
STATE, ACTION, FRONT = "observation.state", "action", "observation.images.front"
_BLOCK = 16
_BITS = {"step": 10, "episode": 4, "camera": 2}


def picture(episode: int, step: int, camera: int = 0) -> np.ndarray:
    """(64, 64, 3) uint8: sixteen blocks, bright or dark, that survive every codec."""
    number = step | episode << _BITS["step"] | camera << (_BITS["step"] + _BITS["episode"])
    bright = np.array([number >> bit & 1 for bit in range(16)]).reshape(4, 4)
    levels = np.where(bright, 235, 20).astype(np.uint8)
    return np.repeat(levels.repeat(_BLOCK, axis=0).repeat(_BLOCK, axis=1)[..., None], 3, axis=2)


def read_picture(image: np.ndarray) -> tuple[int, int, int]:
    """(episode, step, camera) that a picture tells."""
    blocks = image.reshape(4, _BLOCK, 4, _BLOCK, 3)[:, 4:12, :, 4:12].mean(axis=(1, 3, 4))
    number = sum(int(bright) << bit for bit, bright in enumerate((blocks > 127).ravel()))
    step, rest = number & 1023, number >> _BITS["step"]
    return rest & 15, step, rest >> _BITS["episode"]


def encode_video(
    path: Path,
    frames: Sequence[np.ndarray],
    fps: float,
    *,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    gop: int = 2,
    options: Mapping[str, str] | None = None,
    times_s: Sequence[float] | None = None,
    container_format: str = "mp4",
    container_options: Mapping[str, str] | None = None,
) -> None:
    """Write a video file; `times_s` gives each frame a presentation time of its own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", format=container_format, options=dict(container_options or {})) as container:
        stream = container.add_stream(codec, rate=Fraction(fps).limit_denominator(100_000))
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pix_fmt
        stream.options = {"g": str(gop), **(options or {"crf": "18"})}
        if times_s is not None:
            stream.codec_context.time_base = Fraction(1, 9_000)  # that of the rate would round the times to it
        for number, image in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            if times_s is not None:
                frame.pts, frame.time_base = round(times_s[number] * 9_000), Fraction(1, 9_000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def encode_image(image: np.ndarray, kind: str = "png", **options: Any) -> bytes:
    """An image file's bytes."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, kind, **options)
    return buffer.getvalue()


def describe(values: np.ndarray, *, count: bool = True) -> dict[str, list[Any]]:
    """Statistics as LeRobot wrote them before it added quantiles."""
    wide = np.asarray(values, dtype=np.float64)
    wide = wide.reshape(len(wide), -1) if wide.ndim > 1 else wide[:, None]
    entries = {"min": wide.min(0), "max": wide.max(0), "mean": wide.mean(0), "std": wide.std(0)}
    stats: dict[str, list[Any]] = {name: entry.tolist() for name, entry in entries.items()}
    return stats | ({"count": [len(wide)]} if count else {})


def describe_pictures(frames: int) -> dict[str, Any]:
    """Plausible statistics of a camera."""
    levels = {"min": 0.06, "max": 0.92, "mean": 0.3, "std": 0.3}
    return {name: [[[level]]] * 3 for name, level in levels.items()} | {"count": [frames]}


@dataclass
class Foreign:
    """What a dataset is made of; `write_v21` and `write_v30` put it on the disk.

    Attributes:
        lengths: steps of each episode.
        fps: control rate and frame rate [Hz].
        tasks: words by `task_index`.
        task_of: gives the task index of every row, of an episode's place and length.
        tasks_of_episode: gives what the episode's entry says under `tasks`; by default the words of its rows.
        indices: `episode_index` of each episode; by default 0, 1, ...
        state_dim, action_dim: sizes of the vectors.
        cameras: keys of the cameras.
        storage: whether the cameras are `video` or `image` columns.
        features: entries of ``info.json`` that are added or replaced; None removes one.
        columns: gives an episode's columns, of those that are usual, its index and its length; may add and replace.
        statistics: whether any are written.
        version: what ``info.json`` says.
        encode: writes a video, as `encode_video`.
        drift_s: by how much each episode's `from_timestamp` lies too late, summed over the episodes (v3.0) [s].
    """

    lengths: Sequence[int] = (6, 5)
    fps: float = 10
    tasks: Mapping[int, Any] = field(default_factory=lambda: {0: "open the drawer"})
    task_of: Callable[[int, int], Any] = lambda place, length: 0
    tasks_of_episode: Callable[[list[Any]], Any] = lambda words: words
    indices: Sequence[int] | None = None
    state_dim: int = 3
    action_dim: int = 2
    cameras: Sequence[str] = (FRONT,)
    storage: str = "video"
    features: Mapping[str, Any] = field(default_factory=dict)
    columns: Callable[[dict[str, Any], int, int], dict[str, Any]] = lambda usual, index, length: usual
    statistics: bool = True
    version: str | None = None
    encode: Callable[[Path, Sequence[np.ndarray], float], None] = encode_video
    drift_s: float = 0.0

    @property
    def episodes(self) -> list[tuple[int, int]]:
        """`episode_index` and length of every episode."""
        return list(zip(self.indices or range(len(self.lengths)), self.lengths, strict=True))

    def declared(self) -> dict[str, Any]:
        """The features of ``info.json``."""
        shape = [SIDE, SIDE, 3]
        names = ["height", "width", "channels"]
        features: dict[str, Any] = {
            key: {"dtype": self.storage, "shape": shape, "names": names} for key in self.cameras
        }
        for key, size in ((STATE, self.state_dim), (ACTION, self.action_dim)):
            features[key] = {"dtype": "float32", "shape": [size], "names": [f"{key[0]}{i}" for i in range(size)]}
        features["timestamp"] = {"dtype": "float32", "shape": [1], "names": None}
        for key in ("frame_index", "episode_index", "index", "task_index"):
            features[key] = {"dtype": "int64", "shape": [1], "names": None}
        features |= self.features
        return {key: entry for key, entry in features.items() if entry is not None}

    def state(self, index: int, length: int) -> np.ndarray:
        """(length, state_dim) float32."""
        step = np.arange(length)[:, None]
        return np.sin(0.1 * step + index + np.arange(self.state_dim)).astype(np.float32)

    def action(self, index: int, length: int) -> np.ndarray:
        """(length, action_dim) float32."""
        step = np.arange(length)[:, None]
        return np.cos(0.1 * step + index + np.arange(self.action_dim)).astype(np.float32)

    def frames(self, index: int, length: int, camera: int = 0) -> list[np.ndarray]:
        """A camera's pictures."""
        return [picture(index, step, camera) for step in range(length)]

    def row_tasks(self, place: int) -> list[int]:
        """Task index of every row of an episode."""
        length = self.lengths[place]
        return np.broadcast_to(self.task_of(place, length), (length,)).astype(int).tolist()

    def table(self, place: int, start: int) -> pa.Table:
        """An episode's rows."""
        index, length = self.episodes[place]
        step = np.arange(length)
        usual: dict[str, Any] = {
            STATE: pa.array(self.state(index, length).tolist(), pa.list_(pa.float32())),
            ACTION: pa.array(self.action(index, length).tolist(), pa.list_(pa.float32())),
            "timestamp": pa.array((step / self.fps).astype(np.float32)),
            "frame_index": pa.array(step, pa.int64()),
            "episode_index": pa.array(np.full(length, index), pa.int64()),
            "index": pa.array(start + step, pa.int64()),
            "task_index": pa.array(self.row_tasks(place), pa.int64()),
        }
        if self.storage == "image":
            kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
            for camera, key in enumerate(self.cameras):
                rows = [{"bytes": encode_image(image), "path": None} for image in self.frames(index, length, camera)]
                usual[key] = pa.array(rows, kind)
        return pa.table(self.columns(usual, index, length))

    def entry(self, place: int) -> dict[str, Any]:
        """What describes an episode in either version."""
        index, length = self.episodes[place]
        words = [self.tasks[task] for task in dict.fromkeys(self.row_tasks(place))]
        return {"episode_index": index, "tasks": self.tasks_of_episode(words), "length": length}

    def info(self, version: str, data_path: str, video_path: str) -> dict[str, Any]:
        """``meta/info.json``."""
        return {
            "codebase_version": self.version or version,
            "robot_type": "arm",
            "total_episodes": len(self.lengths),
            "total_frames": sum(self.lengths),
            "total_tasks": len(self.tasks),
            "chunks_size": 1000,
            "fps": self.fps,
            "splits": {"train": f"0:{len(self.lengths)}"},
            "data_path": data_path,
            "video_path": video_path,
            "features": self.declared(),
        }


def write_json(path: Path, content: Any) -> None:
    """A JSON file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1), encoding="utf-8")


def edit_json(path: Path, change: Callable[[Any], Any]) -> None:
    """Change a JSON file in place."""
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    write_json(path, content)


def write_jsonl(path: Path, lines: Sequence[Any]) -> None:
    """A file of JSON lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def write_v21(root: Path, foreign: Foreign) -> Path:
    """Write it as v2.1, a file an episode; what was in `root` is removed."""
    shutil.rmtree(root, ignore_errors=True)
    entries, stats, start = [], [], 0
    for place, (index, length) in enumerate(foreign.episodes):
        path = root / f"data/chunk-000/episode_{index:06d}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(foreign.table(place, start), path)
        if foreign.storage == "video" and length:
            for camera, key in enumerate(foreign.cameras):
                video = root / f"videos/chunk-000/{key}/episode_{index:06d}.mp4"
                foreign.encode(video, foreign.frames(index, length, camera), foreign.fps)
        entries.append(foreign.entry(place))
        if length:
            pictures = {key: describe_pictures(length) for key in foreign.cameras}
            vectors = {STATE: foreign.state(index, length), ACTION: foreign.action(index, length)}
            numbers = {key: describe(values) for key, values in vectors.items()}
            stats.append({"episode_index": index, "stats": numbers | pictures})
        start += length
    data_path = "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet"
    video_path = "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4"
    write_json(root / "meta/info.json", foreign.info("v2.1", data_path, video_path))
    write_jsonl(root / "meta/episodes.jsonl", entries)
    write_jsonl(root / "meta/tasks.jsonl", [{"task_index": i, "task": words} for i, words in foreign.tasks.items()])
    if foreign.statistics:
        write_jsonl(root / "meta/episodes_stats.jsonl", stats)
    return root


def write_v30(root: Path, foreign: Foreign) -> Path:
    """Write it as v3.0, one data file and one video a camera; what was in `root` is removed."""
    shutil.rmtree(root, ignore_errors=True)
    tables, entries, start = [], [], 0
    for place, (_, length) in enumerate(foreign.episodes):
        tables.append(foreign.table(place, start))
        where = {"data/chunk_index": 0, "data/file_index": 0}
        where |= {"meta/episodes/chunk_index": 0, "meta/episodes/file_index": 0}
        rows = {"dataset_from_index": start, "dataset_to_index": start + length}
        entries.append(foreign.entry(place) | where | rows)
        start += length
    if foreign.storage == "video":
        for camera, key in enumerate(foreign.cameras):
            frames, time_s = [], 0.0
            for place, (index, length) in enumerate(foreign.episodes):
                frames += foreign.frames(index, length, camera)
                span = {"chunk_index": 0, "file_index": 0}
                span |= {"from_timestamp": time_s, "to_timestamp": time_s + length / foreign.fps}
                entries[place] |= {f"videos/{key}/{name}": value for name, value in span.items()}
                time_s += length / foreign.fps + foreign.drift_s
            foreign.encode(root / f"videos/{key}/chunk-000/file-000.mp4", frames, foreign.fps)
    for folder in ("data", "meta/episodes"):
        (root / folder / "chunk-000").mkdir(parents=True)
    pq.write_table(pa.concat_tables(tables), root / "data/chunk-000/file-000.parquet")
    pq.write_table(pa.Table.from_pylist(entries), root / "meta/episodes/chunk-000/file-000.parquet")
    words = {"task_index": pa.array(list(foreign.tasks), pa.int64()), "task": pa.array(list(foreign.tasks.values()))}
    pq.write_table(pa.table(words), root / "meta/tasks.parquet")
    data_path = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
    video_path = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
    write_json(root / "meta/info.json", foreign.info("v3.0", data_path, video_path))
    if foreign.statistics:
        vectors = {STATE: foreign.state, ACTION: foreign.action}
        stats: dict[str, Any] = {
            key: describe(np.concatenate([make(index, length) for index, length in foreign.episodes]))
            for key, make in vectors.items()
        }
        write_json(root / "meta/stats.json", stats | {key: describe_pictures(start) for key in foreign.cameras})
    return root


WRITERS = {"v2.1": write_v21, "v3.0": write_v30}
