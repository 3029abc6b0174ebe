"""Episodes in one safetensors file, with their sizes as JSON in its header."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from tempovla.data.episodic.episode import Part
from tempovla.storage.json_files import parse_json, to_json_text
from tempovla.storage.tensors import disk_errors
from tempovla.storage.whole import new_file

HEADER = "episodic_memory"
PARTS = ("obs", "action", "reward", "done")


@dataclass(frozen=True)
class Sizes:
    """The sizes of an episodic memory; its arguments explain them."""

    obs_dim: int
    action_dim: int
    max_episodes: int
    max_episode_length: int
    hidden_dim: int

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"{name}={value!r} must be a whole number of at least 1")


def write(path: Path, sizes: Sizes, finished: Sequence[Part], recording: Part) -> None:
    """Write a whole file, which replaces an older one once it is on the disk.

    Raises:
        NotWrittenError: if the disk does not take it.
    """
    header = to_json_text({"sizes": asdict(sizes), "episodes": len(finished)})
    arrays = {
        f"{index}.{name}": np.ascontiguousarray(array)
        for index, part in enumerate([*finished, recording])
        for name, array in part.items()
    }
    with new_file(path) as staged, disk_errors():
        save_file(arrays, staged, {HEADER: header})


def read(path: Path) -> tuple[Sizes, list[Part], Part]:
    """Read what `write` wrote: the sizes, the finished episodes, and the one that is being recorded.

    Raises:
        ValueError: if there is no such file or something else is in it.
    """
    if not path.is_file():
        raise ValueError(f"{path}: there is no such file; give one that EpisodicMemory.save wrote")
    try:
        with safe_open(path, framework="numpy") as file:
            header = parse_json((file.metadata() or {})[HEADER], "the header is", remedy="save the memory anew")
            sizes, count = Sizes(**header["sizes"]), int(header["episodes"])
            parts = [{name: file.get_tensor(f"{index}.{name}") for name in PARTS} for index in range(count + 1)]
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        reason = str(error).splitlines()[0].partition("; ")[0] if str(error) else type(error).__name__
        raise ValueError(f"{path}: no file of EpisodicMemory.save ({reason}); save the memory anew") from None
    _check(path, sizes, parts)
    return sizes, parts[:-1], parts[-1]


def _check(path: Path, sizes: Sizes, parts: Sequence[Part]) -> None:
    if len(parts) - 1 > sizes.max_episodes:
        raise ValueError(f"{path}: {len(parts) - 1} episodes, but max_episodes={sizes.max_episodes}; save it anew")
    for index, part in enumerate(parts):
        length = len(part["reward"])
        shapes = {"obs": (length, sizes.obs_dim), "action": (length, sizes.action_dim)}
        limit = sizes.max_episode_length - (index == len(parts) - 1)
        if length > limit or (length == 0 and index < len(parts) - 1):
            raise ValueError(f"{path}: episode {index} has {length} steps, at most {limit} fit; save the memory anew")
        for name, array in part.items():
            dtype = np.dtype(np.bool_ if name == "done" else np.float32)
            if array.shape != shapes.get(name, (length,)) or array.dtype != dtype:
                raise ValueError(f"{path}: {index}.{name} is {array.dtype} {array.shape}; save the memory anew")
