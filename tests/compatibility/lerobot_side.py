"""What LeRobot's own package writes and reads. Runs in its environment, which does not have this project's package.

    python lerobot_side.py write ROOT RECIPE.json     record a dataset with LeRobot's writer
    python lerobot_side.py read  ROOT QUERY.json OUT.npz     read samples, windows and statistics with its loader

With lerobot < 0.4 the format is v2.1, from 0.4 on v3.0. `make_fixtures.py` and `test_lerobot.py` call it.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import torch


def import_lerobot():
    """LeRobot's dataset module. A torchvision built for another torch lacks an operator that nothing here needs."""
    folder = Path(importlib.util.find_spec("torchvision").origin).parent
    try:
        for operators in folder.glob("_C*.so"):
            torch.ops.load_library(operators)
    except OSError:
        import_lerobot.library = torch.library.Library("torchvision", "DEF")
        import_lerobot.library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    from lerobot.datasets import lerobot_dataset

    return lerobot_dataset


def episode(index: int, length: int, features: dict[str, dict]) -> dict[str, np.ndarray]:
    """Smooth moving images and random vectors."""
    generator = np.random.default_rng(index)
    frames = {}
    for key, feature in features.items():
        if feature["dtype"] in ("video", "image"):
            height, width, _ = feature["shape"]
            y, x = np.mgrid[0:height, 0:width]
            shade = [(40 * index + 9 * t + x + 2 * y) % 256 for t in range(length)]
            frames[key] = np.stack([np.stack([s, s[::-1], 255 - s], axis=-1) for s in shade]).astype(np.uint8)
        else:
            frames[key] = generator.normal(size=(length, *feature["shape"])).astype(feature["dtype"])
    return frames


def write(root: Path, recipe: dict) -> None:
    """Record a dataset: features, fps, lengths, codec and file limits as the recipe says."""
    lerobot = import_lerobot()
    for feature in recipe["features"].values():
        feature["shape"] = tuple(feature["shape"])
    old = lerobot.CODEBASE_VERSION == "v2.1"
    if old:
        lerobot.encode_video_frames = functools.partial(lerobot.encode_video_frames, vcodec=recipe["codec"])
    more = {} if old else {"vcodec": recipe["codec"]}
    dataset = lerobot.LeRobotDataset.create("test/test", recipe["fps"], recipe["features"], root, "toy", **more)
    if not old and "files_size_in_mb" in recipe:
        size = recipe["files_size_in_mb"]
        dataset.meta.update_chunk_settings(data_files_size_in_mb=size, video_files_size_in_mb=size)
    for index, length in enumerate(recipe["lengths"]):
        frames = episode(index, length, recipe["features"])
        for step in range(length):
            task = f"task {index % 2}"
            frame = {key: values[step] for key, values in frames.items()}
            dataset.add_frame(frame, task=task) if old else dataset.add_frame({**frame, "task": task})
        dataset.save_episode()
    if not old:
        dataset.finalize()


def read(root: Path, query: dict, out: Path) -> None:
    """Write samples at `indices`, with `windows` of offsets [s], as arrays: images uint8 (N, T, H, W, 3).

    Of images, every `every_pixel`-th row and column is kept.
    """
    lerobot = import_lerobot()
    dataset = lerobot.LeRobotDataset(
        "test/test",
        root=root,
        delta_timestamps=query["windows"],
        video_backend=query.get("backend", "pyav"),
    )
    indices = query["indices"] or range(len(dataset))
    items = [dataset[index] for index in indices]
    arrays = {"index": np.array(list(indices)), "task": np.array([item["task"] for item in items])}
    arrays["length"] = np.array(len(dataset))
    for key in query["windows"]:
        value = torch.stack([item[key] for item in items])
        if key in dataset.meta.camera_keys:
            every = query.get("every_pixel", 1)
            value = (value * 255).round().to(torch.uint8).movedim(-3, -1)[..., ::every, ::every, :]
            value = value.reshape(len(items), -1, *value.shape[-3:])  # a window of one frame comes without its axis
        arrays[f"value/{key}"] = value.numpy()
        arrays[f"valid/{key}"] = ~torch.stack([item[f"{key}_is_pad"] for item in items]).numpy()
        for name, value in dataset.meta.stats[key].items():
            arrays[f"stats/{key}/{name}"] = np.asarray(value)
    np.savez_compressed(out, **arrays)


if __name__ == "__main__":
    command, root, argument, *rest = sys.argv[1:]
    if command == "write":
        write(Path(root), json.loads(Path(argument).read_text()))
    else:
        read(Path(root), json.loads(Path(argument).read_text()), Path(rest[0]))
