"""The sidecar of an exported file, `<file>.json`: everything that is needed to run it, and its origin."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from tempovla.control.exported.memory import MemorySpec
from tempovla.control.exported.signature import DECISION, EXECUTED, EXECUTED_VALID, FIRST, SEED, TensorSpec
from tempovla.storage.json_files import read_json, shown, to_json_text, what_it_is
from tempovla.storage.paths import regular_file
from tempovla.storage.said_by import said_by
from tempovla.timeline import Bundle, Embodiment, Window
from tempovla.timeline.assets import Assets, read_assets, write_assets
from tempovla.timeline.bundle import check_facts, check_steps
from tempovla.timeline.keys import ACTION_KEY, LANGUAGE_KEY, TOKENS_KEY

FORMAT_VERSION = 1
INSTRUCTION_STEPS = ("tokenize_instruction", "embed_instruction")
"""Names of the transforms that make numbers of an instruction; these alone are not part of the graph."""
ASSETS_SUFFIX = ".assets"
K = TypeVar("K")


@dataclass(frozen=True)
class Sidecar:
    """The description of an exported file.

    Attributes:
        format: name in `RUNNERS`.
        inputs, output: of the graph, in order.
        policy: registered name of the policy.
        windows, embodiment: as in a bundle.
        transform: the bundle's transforms; of these the graph holds all but the instruction's.
        provenance: how the policy came to be.
        checkpoint_sha256: of the bundle.
        file_sha256: of the file.
        figures: the largest difference from PyTorch by batch size, opset, nodes, versions.
        assets: files that the instruction's transform needs, in `<file>.assets`.
        memory: tensors that go from a decision to the next, in the order of the graph's further outputs.
        frame_stride: control steps from a decision to the next, of a policy that remembers; else None.
        origin: the exported file, for messages; "" for one that was just made.
    """

    format: str
    inputs: tuple[TensorSpec, ...]
    output: TensorSpec
    policy: str
    windows: tuple[Window, ...]
    embodiment: Embodiment
    transform: Mapping[str, Any]
    provenance: Mapping[str, Any]
    checkpoint_sha256: str
    file_sha256: str
    figures: Mapping[str, Any]
    assets: Assets = field(default_factory=dict)
    memory: tuple[MemorySpec, ...] = ()
    frame_stride: int | None = None
    origin: str = field(default="", compare=False)

    @property
    def instruction(self) -> dict[str, Any] | None:
        """The transform that makes tokens or a vector of an instruction: its name, and tokenizer or embedder."""
        return next((dict(step) for step in self.transform["steps"] if step["name"] in INSTRUCTION_STEPS), None)

    @property
    def draws_from_seed(self) -> bool:
        """Whether every input is an observation, a seed or remembered: no random numbers are asked for."""
        remembered = {FIRST, EXECUTED, EXECUTED_VALID, *(spec.input.name for spec in self.memory)}
        known = {SEED, DECISION, TOKENS_KEY, LANGUAGE_KEY, *(window.key for window in self.windows), *remembered}
        return all(spec.name in known for spec in self.inputs)

    def bundle(self) -> Bundle:
        """Return the bundle's description, without weights."""
        return Bundle(
            self.policy,
            {},
            self.windows,
            self.embodiment,
            self.transform,
            {},
            self.provenance,
            self.assets,
            self.origin,
        )

    def save(self, path: Path) -> None:
        """Write the JSON file, and beside it the assets."""
        data = {
            "format_version": FORMAT_VERSION,
            "format": self.format,
            "inputs": [spec.to_json() for spec in self.inputs],
            "outputs": [self.output.to_json(), *(spec.output.to_json() for spec in self.memory)],
            "instruction": self.instruction,
            **self.figures,
            "policy": self.policy,
            "windows": [window.to_json() for window in self.windows],
            "embodiment": self.embodiment.to_json(),
            "transform": self.transform,
            "provenance": self.provenance,
            "checkpoint_sha256": self.checkpoint_sha256,
            "file_sha256": self.file_sha256,
        }
        if self.memory:
            data["state"] = [spec.to_json() for spec in self.memory]
            data["frame_stride"] = self.frame_stride
        if self.assets:
            data["assets"] = write_assets(path.with_suffix(ASSETS_SUFFIX), self.assets)
        path.write_text(to_json_text(data, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, file: str | Path) -> Sidecar:
        """Read what lies beside an exported file.

        Raises:
            ValueError: if one of them is missing, or they do not belong together.
        """
        file = Path(file)
        path = sidecar_path(file)
        regular_file(file, remedy="give one that `tempovla export` wrote")
        data = read_json(path, remedy=f"copy it from where {file.name} was exported")
        if data.get("format_version") != FORMAT_VERSION:
            raise ValueError(
                f"{path}: format_version {data.get('format_version')!r} is not {FORMAT_VERSION}; export again"
            )
        with said_by(path, remedy="copy it again"):
            inputs = tuple(TensorSpec.from_json(spec) for spec in data["inputs"])
            by_name = {spec.name: spec for spec in inputs}
            sidecar = cls(
                _entry(data, "format", str),
                inputs,
                TensorSpec.from_json(data["outputs"][0]),
                _entry(data, "policy", str),
                tuple(Window.from_json(window) for window in data["windows"]),
                Embodiment.from_json(data["embodiment"]),
                _entry(data, "transform", dict),
                _entry(data, "provenance", dict),
                _entry(data, "checkpoint_sha256", str),
                _entry(data, "file_sha256", str),
                data,
                read_assets(assets_path(file), data.get("assets", {}), remedy=f"copy it beside {file.name} again"),
                tuple(MemorySpec.from_json(spec, by_name) for spec in data.get("state", [])),
                data.get("frame_stride"),
                str(file),
            )
            check_steps(path, sidecar.transform, remedy="copy it again")
            check_facts(path, sidecar.provenance)
            _check_output(sidecar)
            _check_memory(sidecar)
        if file_sha256(file) != sidecar.file_sha256:
            raise ValueError(f"{file}: is not the file that {path.name} describes; copy both again")
        return sidecar


def _check_output(sidecar: Sidecar) -> None:
    shape, size = sidecar.output.shape, sidecar.embodiment.action_dim
    if len(shape) != 2 or min(shape) < 1 or shape[1] != size:
        raise ValueError(f"outputs are {shape}, not actions of {size} numbers, as the embodiment has; copy it again")
    own = next((window.offsets for window in sidecar.windows if window.key == ACTION_KEY), range(shape[0]))
    steps = sum(offset >= 0 for offset in own)
    if steps != shape[0]:
        raise ValueError(f"outputs are {shape[0]} actions, but windows name {steps} steps of actions; copy it again")


def _check_memory(sidecar: Sidecar) -> None:
    names = [spec.input.name for spec in sidecar.memory]
    if len(set(names)) < len(names):
        raise ValueError(f"state names {names}, one of them twice; copy it again")
    stride = sidecar.frame_stride
    if sidecar.memory and (type(stride) is not int or stride < 1):
        raise ValueError(f"frame_stride is {shown(stride)}, not a number of control steps; copy it again")


def _entry(data: Mapping[str, Any], key: str, kind: type[K]) -> K:
    value = data[key]
    if not isinstance(value, kind):
        raise ValueError(f"{key} is {shown(value)}, not {what_it_is(kind())}; copy it again")
    return value


def sidecar_path(file: str | Path) -> Path:
    """`<file>.json`."""
    file = Path(file)
    return file.with_name(f"{file.name}.json")


def assets_path(file: str | Path) -> Path:
    """`<file>.assets`."""
    return sidecar_path(file).with_suffix(ASSETS_SUFFIX)


def file_sha256(file: Path) -> str:
    """Return 64 hexadecimal digits of a file."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
