"""Bundles: the folder that training saves, and that evaluation, control and export load.

``bundle.json`` holds the kind of policy, its config, windows and embodiment; ``transform.json`` the transforms with
their statistics; ``weights.safetensors`` the weights; ``assets`` the files that transforms need, such as a tokenizer's,
with their hashes in ``bundle.json``. Nothing in it can execute code.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from torch import Tensor

from tempovla.storage.json_files import read_json, shown, to_json_text, what_it_is
from tempovla.storage.said_by import said_by
from tempovla.storage.strays import is_empty
from tempovla.storage.tensors import save_tensors
from tempovla.storage.whole import new_folder
from tempovla.timeline.assets import Assets, read_assets, write_assets
from tempovla.timeline.bundle_path import check_path
from tempovla.timeline.plugins import require_plugins
from tempovla.timeline.task import Embodiment
from tempovla.timeline.tensors import read_tensors
from tempovla.timeline.window import Window

FORMAT_VERSION = 1
ASSETS = "assets"
_KINDS = {"policy": str, "config": dict, "windows": list, "embodiment": dict, "provenance": dict, "assets": dict}
_FACTS_KINDS = {
    "dataset": str,
    "dataset_name": str,
    "episodes": int,
    "has_actions": bool,
    "has_gripper": bool,
    "image_shapes": dict,
    "instructions": list,
    "plugins": list,
    "raw_state_dim": int,
    "recipe": dict,
    "recording": dict,
}
"""Facts about the data that a policy learned from, as far as they are known."""


@dataclass(frozen=True)
class Bundle:
    """A trained policy, ready to act.

    Attributes:
        policy: registered name of the policy, e.g. ``statevla``.
        config: the policy's config as plain JSON values.
        windows: the streams and steps that the policy reads.
        embodiment: the body it was trained for.
        transform: the transforms with their statistics, as plain JSON values.
        weights: name to tensor.
        provenance: dataset, command, seed and versions of the training, for readers.
        assets: files that the transforms need, such as a tokenizer's, by path.
        origin: the folder or file that the bundle was read from, for messages; "" for a new bundle.
    """

    policy: str
    config: Mapping[str, Any]
    windows: tuple[Window, ...]
    embodiment: Embodiment
    transform: Mapping[str, Any]
    weights: Mapping[str, Tensor]
    provenance: Mapping[str, Any] = field(default_factory=dict)
    assets: Assets = field(default_factory=dict)
    origin: str = field(default="", compare=False)

    def save(self, folder: str | Path) -> None:
        """Write the folder as a whole: it appears complete or not at all, and replaces an older bundle.

        Raises:
            ValueError: if the folder holds something that is no bundle.
            NotWrittenError: if the disk does not take it.
        """
        target = Path(folder)
        if target.exists() and not (target / "bundle.json").is_file() and not (target.is_dir() and is_empty(target)):
            raise ValueError(f"{target}: holds something that is no bundle; give another folder")
        with new_folder(target) as staged:
            self.write(staged)

    def write(self, folder: Path) -> None:
        """Write the files into an empty folder.

        Raises:
            OSError: if the disk does not take them.
        """
        meta = {
            "format_version": FORMAT_VERSION,
            "policy": self.policy,
            "config": self.config,
            "windows": [window.to_json() for window in self.windows],
            "embodiment": self.embodiment.to_json(),
            "provenance": self.provenance,
        }
        if self.assets:
            meta["assets"] = write_assets(folder / ASSETS, self.assets)
        (folder / "bundle.json").write_text(to_json_text(meta, indent=2) + "\n", encoding="utf-8")
        (folder / "transform.json").write_text(to_json_text(self.transform, indent=2) + "\n", encoding="utf-8")
        save_tensors(self.weights, folder / "weights.safetensors")

    @classmethod
    def load(cls, folder: str | Path) -> Bundle:
        """Read a folder.

        Raises:
            ValueError: if the folder is no bundle, or a file of it is missing, truncated or of another format.
        """
        root = Path(folder)
        meta = read_meta(root)
        transform = read_json(root / "transform.json", remedy="copy the bundle again")
        check_steps(root / "transform.json", transform, remedy="copy the bundle again")
        weights = read_tensors(root / "weights.safetensors", remedy="copy the bundle again")
        with said_by(root / "bundle.json", remedy="copy the bundle again"):
            windows = tuple(Window.from_json(window) for window in meta["windows"])
            embodiment = Embodiment.from_json(meta["embodiment"])
        return cls(
            policy=meta["policy"],
            config=meta["config"],
            windows=windows,
            embodiment=embodiment,
            transform=transform,
            weights=weights,
            provenance=meta["provenance"],
            assets=read_assets(root / ASSETS, meta.get("assets", {}), remedy="copy the bundle again"),
            origin=str(root),
        )


def read_meta(folder: str | Path) -> dict[str, Any]:
    """Return a saved bundle's description without its weights: `policy`, `config`, `provenance` and more.

    Raises:
        ValueError: if the folder is none or no bundle, or its `bundle.json` is truncated or of another format.
    """
    check_path(folder)
    path = Path(folder) / "bundle.json"
    meta = read_json(path, remedy="give the folder that training saved")
    if meta.get("format_version") != FORMAT_VERSION:
        raise ValueError(
            f"{path}: format_version {meta.get('format_version')!r} is not {FORMAT_VERSION}; "
            "export it again with this version of tempovla"
        )
    missing = [key for key in ("policy", "config", "windows", "embodiment") if key not in meta]
    if missing:
        raise ValueError(f"{path}: keys {missing} are missing; copy the bundle again")
    meta = {"provenance": {}, **meta}
    _check_kinds(path, "", meta, _KINDS)
    check_facts(path, meta["provenance"], {"datasets": dict})
    require_plugins(map(str, meta["provenance"].get("plugins", ())), str(path))
    datasets = meta["provenance"].get("datasets", {})
    _check_kinds(path, "provenance.datasets.", datasets, dict.fromkeys(datasets, dict))
    for name, facts in datasets.items():
        check_facts(path, {"recording": {}} | facts, place=f"provenance.datasets.{name}.")
        with said_by(path, remedy="copy the bundle again"):
            Embodiment.from_json(facts["embodiment"])
    return meta


def check_facts(
    path: Path, facts: Mapping[str, Any], more: Mapping[str, type] = MappingProxyType({}), place: str = "provenance."
) -> None:
    """Refuse facts about the data of a training that are of another kind than others rely on.

    Args:
        path: the file that holds them.
        facts: by name, as far as they are known.
        more: kinds of further ones.
        place: where they stand in the file, for messages.

    Raises:
        ValueError: naming the file and the fact.
    """
    _check_kinds(path, place, facts, {**_FACTS_KINDS, **more})
    for key in ("instructions", "plugins"):
        for number, text in enumerate(facts.get(key, ())):
            if not isinstance(text, str):
                raise ValueError(f"{path}: {place}{key}[{number}] is {shown(text)}, not a text; copy the bundle again")


def check_steps(path: Path, transform: Mapping[str, Any], *, remedy: str) -> None:
    """Refuse transforms unless they are a list of objects with a name each.

    Raises:
        ValueError: naming the file, `path`, and the first that is none.
    """
    steps = transform.get("steps", [])
    if not isinstance(steps, list):
        raise ValueError(f"{path}: steps is {shown(steps)}, not a list of transforms; {remedy}")
    for place, step in enumerate(steps):
        if not isinstance(step, dict) or not isinstance(step.get("name"), str):
            raise ValueError(f"{path}: steps[{place}] is {shown(step)}, not a transform with its name; {remedy}")


def _check_kinds(path: Path, prefix: str, found: Mapping[str, Any], kinds: Mapping[str, type]) -> None:
    """Refuse entries of another kind than others rely on; those that are not there are another matter."""
    for key, kind in kinds.items():
        if key in found and (not isinstance(found[key], kind) or (kind is int and isinstance(found[key], bool))):
            expected = {int: "a whole number", bool: "true or false"}.get(kind) or what_it_is(kind())
            raise ValueError(f"{path}: {prefix}{key} is {shown(found[key])}, not {expected}; copy the bundle again")


def bundle_sha256(folder: str | Path) -> str:
    """64 hexadecimal digits of a saved bundle, which other weights, transforms, assets or settings would change."""
    digest = hashlib.sha256()
    for name in ("bundle.json", "transform.json", "weights.safetensors"):
        with (Path(folder) / name).open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()
