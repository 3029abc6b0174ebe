"""Opens an actor for evaluations: a checkpoint, or a file that `tempovla export` wrote."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from tempovla.control import body_selection
from tempovla.control.controller import Actor, Controller
from tempovla.control.exported.policy import ExportedPolicy
from tempovla.control.exported.runners import SUFFIXES
from tempovla.control.exported.sidecar import Sidecar
from tempovla.control.model_settings import with_model_settings
from tempovla.env.protocol import SimulatorConfig
from tempovla.timeline import Bundle
from tempovla.timeline.arguments import path_argument, plain
from tempovla.timeline.bundle import bundle_sha256
from tempovla.timeline.device import choose_device


@dataclass(frozen=True)
class OpenedPolicy:
    """A policy that was opened, and facts about it.

    Attributes:
        bundle: windows, embodiment and provenance; that of an exported file holds no weights.
        device: on which it acts.
        actor: builds what acts.
        identity: hashes that identify the policy, for results.
    """

    bundle: Bundle
    device: str
    actor: Callable[[], Actor]
    identity: Mapping[str, Any] = field(default_factory=dict)


def open_policy(
    checkpoint: str | Path,
    dataset_name: str | None = None,
    env_config: SimulatorConfig | None = None,
    device: str | torch.device | None = None,
    model: Mapping[str, Any] | None = None,
) -> OpenedPolicy:
    """Open a checkpoint, which acts on a GPU where there is one, or an exported file, which acts on the CPU.

    Args:
        checkpoint: folder of the checkpoint, or the file.
        dataset_name: the dataset whose body it is to move, if the checkpoint learned from several.
        env_config: the simulator from which the dataset follows where it is not named.
        device: where a checkpoint is to act instead; "cpu" or None for an exported file.
        model: other values of settings that control alone reads; see `with_model_settings`. None for an exported file.

    Raises:
        ValueError: if it is neither, the dataset cannot be told, an exported file is to act on another device or with
            other settings, there is no CUDA device where one is asked for, or a setting does not fit.
    """
    check_may_act(path_argument("checkpoint", checkpoint, "a checkpoint or of an exported file"))
    if not Path(checkpoint).is_file():
        bundle = with_model_settings(body_selection.load_bundle(checkpoint, dataset_name, env_config), model)
        place = choose_device(device)
        digest: dict[str, Any] = {"checkpoint_sha256": bundle_sha256(checkpoint)}
        return OpenedPolicy(
            bundle,
            place,
            lambda: Controller.from_bundle(bundle, place),
            digest | ({"model": plain(model)} if model else {}),
        )
    if model:
        raise ValueError(f"{checkpoint}: the settings of an exported file are fixed; give its checkpoint with them")
    if device is not None and str(device) != ExportedPolicy.device:
        raise ValueError(f"{checkpoint}: an exported file acts on the CPU; leave out device {device}, or give cpu")
    sidecar = _sidecar(checkpoint, dataset_name)
    identity: dict[str, Any] = {
        "checkpoint_sha256": sidecar.checkpoint_sha256,
        "exported": {"format": sidecar.format, "file_sha256": sidecar.file_sha256},
    }
    return OpenedPolicy(sidecar.bundle(), ExportedPolicy.device, lambda: ExportedPolicy(checkpoint), identity)


def check_may_act(path: Path) -> None:
    """Refuse a path that leads to no policy, and name what was probably meant.

    Raises:
        ValueError: in one line, for a config, a dataset, a file of a checkpoint, or a file that was not exported.
    """
    packaged = Path(__file__).resolve().parents[1] / "configs" / f"{path.name}.yaml"
    if path.suffix in (".yaml", ".yml") or (not path.exists() and path.name == str(path) and packaged.is_file()):
        raise ValueError(
            f"{path}: a config, from which a policy is trained; train one with tempovla.train({str(path)!r}), or "
            f"`tempovla train SYSTEM --config {path}`, and give the checkpoint that this saves"
        )
    if (path / "meta" / "info.json").is_file():
        raise ValueError(f"{path}: a dataset, on which a policy is trained; give the checkpoint that training saved")
    if path.suffix in SUFFIXES.values() and not path.exists():
        raise ValueError(f"{path}: no such file; give one that `tempovla export` wrote")
    if path.is_file() and (path.parent / "bundle.json").is_file():
        raise ValueError(f"{path}: a file of a checkpoint; give its folder, {path.parent}")
    if path.is_file() and path.suffix not in SUFFIXES.values():
        raise ValueError(
            f"{path}: no file that `tempovla export` wrote, whose names end in {', '.join(SUFFIXES.values())}; give "
            "such a file, or the folder that training saved"
        )


def provenance_of(
    checkpoint: str | Path, dataset_name: str | None = None, env_config: SimulatorConfig | None = None
) -> Mapping[str, Any]:
    """Return facts about a policy's training: `recording` (how its pictures were made), `instructions` and more.

    Raises:
        ValueError: as `open_policy`.
    """
    check_may_act(path_argument("checkpoint", checkpoint, "a checkpoint or of an exported file"))
    if Path(checkpoint).is_file():
        return _sidecar(checkpoint, dataset_name).provenance
    return body_selection.provenance_of(checkpoint, dataset_name, env_config)


def _sidecar(file: str | Path, dataset_name: str | None) -> Sidecar:
    if dataset_name is not None:
        raise ValueError(f"{file}: an exported file moves one body; leave out dataset_name={dataset_name!r}")
    return Sidecar.load(file)
