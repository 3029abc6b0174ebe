"""Encodings of a dataset on disk: one whole file for an encoder, a dataset and transforms."""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from torch import Tensor, nn

from tempovla import __version__
from tempovla.data.fingerprint import dataset_fingerprint, hash_json
from tempovla.storage.json_files import to_json_text
from tempovla.storage.paths import regular_file
from tempovla.storage.tensors import disk_errors
from tempovla.storage.whole import new_file
from tempovla.timeline import EpisodeSource
from tempovla.timeline.keys import ACTION_KEY
from tempovla.transform.pipeline import TransformPipeline

LOGGER = logging.getLogger(__name__)

_ENTRY = "tempovla"
"""Where in the metadata of a file the JSON is."""


class Encodings(NamedTuple):
    """Encodings of N control steps: z (N, D) float32, and valid (N,) bool."""

    z: NDArray[np.float32]
    valid: NDArray[np.bool_]


@dataclass(frozen=True)
class EncodingKey:
    """All that an encoding depends on, but for rounding.

    Attributes:
        encoder: hash of the encoder's weights and config.
        dataset: hash of the data that are read.
        transform: hash of the preprocessing of observations and instructions.
        precision: number format of the forward pass.
        tempovla: version of the code.
    """

    encoder: str
    dataset: str
    transform: str
    precision: str
    tempovla: str = __version__

    @property
    def file_name(self) -> str:
        """Name of the file with these encodings."""
        return f"{hash_json(asdict(self))}.safetensors"


def encoding_key(
    source: EpisodeSource,
    keys: Collection[str],
    parts: Mapping[str, nn.Module],
    config: Mapping[str, Any],
    transform: TransformPipeline,
    precision: str,
) -> EncodingKey:
    """Return the key of an encoder's encodings of a dataset.

    Args:
        source: the dataset.
        keys: the streams that the encoder reads.
        parts: the encoder's, by name.
        config: the encoder's, as JSON.
        transform: what happens to observations.
        precision: of the forward pass.
    """
    encoder = hash_json([encoder_hash(parts), config])
    return EncodingKey(encoder, dataset_fingerprint(source, keys), transform_hash(transform), precision)


def encoder_hash(parts: Mapping[str, nn.Module]) -> str:
    """64 hexadecimal digits of all weights and buffers, saved ones or not, with their names, types and shapes."""
    digest = hashlib.sha256()
    for name, part in sorted(parts.items()):
        tensors: dict[str, Tensor] = dict(part.named_parameters()) | dict(part.named_buffers())
        for key, tensor in sorted(tensors.items()):
            digest.update(f"{name}.{key}:{tensor.dtype}:{tuple(tensor.shape)}:".encode())
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def transform_hash(transform: TransformPipeline) -> str:
    """Return 64 hexadecimal digits of what happens to observations and instructions: nothing of actions, no model's
    folder.
    """
    steps = [dict(step) for step in transform.to_json()["steps"]]
    for step in steps:
        if step["name"] == "normalize":
            for part in ("offset", "scale"):
                step[part] = {key: value for key, value in step[part].items() if key != ACTION_KEY}
    return hash_json(_without_places(steps))


def _without_places(data: Any) -> Any:
    """JSON without the names of models whose fingerprints are in it."""
    if isinstance(data, Mapping):
        kept = {key: value for key, value in data.items() if key != "name_or_path" or "fingerprint" not in data}
        return {key: _without_places(value) for key, value in kept.items()}
    return [_without_places(value) for value in data] if isinstance(data, list | tuple) else data


class EncodingCache:
    """The file with the encodings of one key.

    Args:
        folder: of all such files; made where it is missing.
        key: of these.

    Raises:
        ValueError: if there can be no such folder.
    """

    def __init__(self, folder: str | Path, key: EncodingKey) -> None:
        self.folder, self.key = Path(folder).expanduser(), key
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ValueError(f"data.encoding_cache={folder}: {error.strerror}; give a folder to write to") from None

    @property
    def path(self) -> Path:
        """The file."""
        return self.folder / self.key.file_name

    def read(self, steps: int, width: int) -> Encodings | None:
        """Return the stored encodings of a dataset of `steps` control steps, or None.

        A damaged or wrong file is reported in the log and ignored; `write` replaces it.

        Args:
            steps: N of the encodings.
            width: their D.

        Raises:
            ValueError: if something lies there that is no file.
        """
        if not self.path.exists():
            return None
        regular_file(self.path, remedy="remove it")
        found = self._read(steps, width)
        if isinstance(found, str):
            LOGGER.warning("%s: %s; every observation is encoded again", self.path, found)
            return None
        return found

    def _read(self, steps: int, width: int) -> Encodings | str:
        """The file's encodings, or what is wrong with it."""
        try:
            with safe_open(self.path, framework="numpy") as file:
                about = json.loads((file.metadata() or {}).get(_ENTRY, "{}"))
                encodings = Encodings(file.get_tensor("z"), file.get_tensor("valid"))
        except (SafetensorError, ValueError, OSError, RecursionError, TypeError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            return f"damaged ({reason[:200]})"
        if not isinstance(about, dict) or about.get("key") != asdict(self.key):
            return "holds other encodings than its name says"
        found = [(array.dtype.name, array.shape) for array in encodings]
        expected = [("float32", (steps, width)), ("bool", (steps,))]
        if found != expected:
            return f"holds {found} instead of {expected}"
        broken = encodings.valid & ~np.isfinite(encodings.z.sum(axis=1, dtype=np.float64))
        return f"the encoding of step {int(np.argmax(broken))} is not finite" if broken.any() else encodings

    def write(self, encodings: Encodings, about: Mapping[str, Any]) -> bool:
        """Write encodings; where the disk refuses them, log it and go on with those in memory.

        Args:
            encodings: all of them.
            about: how they were made, beyond the key, for readers of the file.

        Returns:
            Whether they are on the disk.
        """
        facts = {"key": asdict(self.key), **about, "torch": torch.__version__}
        try:
            self._remove_leftovers()
            with new_file(self.path) as staged, disk_errors():
                save_file(encodings._asdict(), staged, {_ENTRY: to_json_text(facts)})
        except (OSError, SafetensorError) as error:
            LOGGER.warning("cannot keep encodings in %s (%s); free some space, or make it writable", self.path, error)
            return False
        return True

    def _remove_leftovers(self) -> None:
        """Remove what killed writers of an earlier version left."""
        folder = self.folder / ".writing"
        for path in folder.glob("*.safetensors"):
            if re.fullmatch(r"[0-9a-f]{32}", path.stem):
                path.unlink(missing_ok=True)
        with suppress(OSError):
            folder.rmdir()
