"""Weights in pickles, as `pytorch_model.bin`, made into safetensors beside them; code in the pickles is never run."""

from __future__ import annotations

import os
import pickle
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from tempovla.storage.json_files import is_lfs_pointer, lfs_problem, read_json, to_json_text
from tempovla.storage.lock import holding
from tempovla.storage.paths import inside
from tempovla.storage.tensors import disk_errors
from tempovla.storage.whole import new_file
from tempovla.timeline.model_folder import INDEX, PICKLE, PICKLE_INDEX, WEIGHTS

NESTED = ("state_dict", "model", "module")
"""Keys under which some training programs put the weights."""


_OF_DAMAGE = (OSError, RuntimeError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, MemoryError)
"""What torch's own unpickler raises at bytes that are none of it."""


def convert_weights(folder: str | Path) -> list[Path]:
    """Write `model.safetensors` beside `pytorch_model.bin`, or a part for each of its parts, and their index.

    Pickles are read with `torch.load(weights_only=True)`, which takes tensors and refuses everything else. Weights that
    are tied, and so share their memory, are written each. Files appear at the end, whole or not at all.

    Args:
        folder: of a transformers model.

    Returns:
        The files that were written.

    Raises:
        ValueError: if there are no such weights, or safetensors already, or a file is missing, damaged or holds
            something else than weights, or another process converts them.
        NotWrittenError: if the disk does not take them.
    """
    root = Path(folder)
    if not root.is_dir():
        raise ValueError(f"{root}: no such folder; give the folder of a transformers model with {PICKLE}")
    with holding(root / WEIGHTS, "converts weights", remedy="let it end"):
        return _converted(root)


def _converted(root: Path) -> list[Path]:
    there = [name for name in (WEIGHTS, INDEX) if os.path.lexists(root / name)]
    if there:
        raise ValueError(f"{root / there[0]}: is there already, and needs no conversion; remove it to convert again")
    file_of = _parts(root)
    targets = dict(zip(file_of, _target_names(len(file_of)), strict=True))
    weight_map: dict[str, str] = {}
    total_size = 0
    written = [root / name for name in targets.values()]
    with ExitStack() as stack:
        index_part = stack.enter_context(new_file(root / INDEX)) if len(file_of) > 1 else None  # in place last
        for source, names in file_of.items():
            weights = read_pickle(root / source)
            absent = sorted(names - weights.keys())
            if absent:
                raise ValueError(
                    f"{root / source}: holds no weight {absent[0]!r}, but {PICKLE_INDEX} says so; copy the model again"
                )
            part = stack.enter_context(new_file(root / targets[source]))
            with disk_errors():
                save_file(dict(weights), part, metadata={"format": "pt"})
            weight_map |= dict.fromkeys(weights, targets[source])
            total_size += sum(value.numel() * value.element_size() for value in weights.values())
        if index_part is not None:
            index = {"metadata": {"total_size": total_size}, "weight_map": dict(sorted(weight_map.items()))}
            index_part.write_text(to_json_text(index, indent=2) + "\n", encoding="utf-8")
            written.append(root / INDEX)
    return written


def read_pickle(path: Path) -> Mapping[str, Tensor]:
    """Return the weights in a pickle, contiguous, each with memory of its own; nothing in it is run.

    Raises:
        ValueError: if it is damaged, or holds something else than weights.
    """
    if is_lfs_pointer(path):
        raise ValueError(lfs_problem(path))
    try:
        stored: Any = torch.load(path, map_location="cpu", weights_only=True)
    except (EOFError, pickle.UnpicklingError, *_OF_DAMAGE) as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ValueError(
            f"{path}: not readable as weights alone ({reason[:160]}); copy it again, or have it saved as safetensors "
            "where it comes from"
        ) from None
    for key in NESTED:
        if isinstance(stored, Mapping) and isinstance(stored.get(key), Mapping):
            stored = stored[key]
    if not isinstance(stored, Mapping) or not stored:
        raise ValueError(f"{path}: holds a {type(stored).__name__}, not weights by name; give the model's own file")
    for name, value in stored.items():
        if not isinstance(value, Tensor):
            raise ValueError(
                f"{path}: {name!r} is of type {type(value).__name__}, not a weight; give a file of weights alone, as "
                "save_pretrained writes it"
            )
    return {str(name): value.detach().contiguous().clone() for name, value in stored.items()}


def _parts(root: Path) -> dict[str, set[str]]:
    """The pickles of a folder, in order, and what the index says is in each.

    Raises:
        ValueError: if there is none, or one is missing.
    """
    if (root / PICKLE).is_file():
        return {PICKLE: set()}
    if not (root / PICKLE_INDEX).is_file():
        raise ValueError(f"{root}: holds neither {PICKLE} nor {PICKLE_INDEX}; give the folder of a transformers model")
    file_of = read_json(root / PICKLE_INDEX, remedy="copy the model again").get("weight_map")
    is_map = isinstance(file_of, dict) and all(isinstance(file, str) for file in file_of.values())
    if not is_map or not file_of:
        raise ValueError(f"{root / PICKLE_INDEX}: has no weight_map; copy the model again")
    parts: dict[str, set[str]] = {file: set() for file in sorted(set(file_of.values()))}
    for name, file in file_of.items():
        parts[file].add(name)
    for file in parts:
        inside(root, file, said_by=f"{PICKLE_INDEX}: weight_map", remedy="copy the model again")
        if not (root / file).is_file():
            raise ValueError(f"{root / file}: no such file, but {PICKLE_INDEX} names it; copy the model again")
    return parts


def _target_names(count: int) -> list[str]:
    if count == 1:
        return [WEIGHTS]
    return [f"model-{number:05d}-of-{count:05d}.safetensors" for number in range(1, count + 1)]
