"""One loader for all that can act: checkpoints, exported files, folders of `save_pretrained` and names on the hub."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

from tempovla.control.body_selection import choose_dataset
from tempovla.control.controller import Actor, Controller
from tempovla.control.load_actor import check_may_act, open_policy
from tempovla.control.model_settings import with_model_settings
from tempovla.control.observations import Reads
from tempovla.control.robot_policy import RobotPolicy
from tempovla.model.vla.pretrained_io import CONFIG, WEIGHTS, read_config, read_weights
from tempovla.model.vla.registry import POLICY_REGISTRY, check_body, check_has_learned_to_act
from tempovla.timeline import Bundle
from tempovla.timeline.arguments import brief, path_argument
from tempovla.timeline.bundle_path import check_path
from tempovla.timeline.calibration import CameraCalibration, check_cameras
from tempovla.timeline.config import config_to_json
from tempovla.timeline.device import choose_device
from tempovla.transform.per_dataset import bundle_for_dataset
from tempovla.transform.pipeline import TransformPipeline

if TYPE_CHECKING:
    from tempovla.data.episodic import EpisodicMemory

HUB_NAME = re.compile(r"[\w.-]{1,96}/[\w.-]{1,96}", re.ASCII)
BUNDLE = "bundle.json"
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
HUB_FILES = (BUNDLE, "transform.json", "weights.safetensors", "assets/*", CONFIG, WEIGHTS)
"""Files that are downloaded from a repository on the hub: data alone, no code."""


def load(
    source: str | Path,
    *,
    device: str | torch.device | None = None,
    dtype: Literal["float32", "bfloat16", "float16"] | torch.dtype | None = None,
    dataset_name: str | None = None,
    ensemble: float | None = None,
    execution_horizon: int | None = None,
    transforms_from: str | Path | None = None,
    library: str | Path | EpisodicMemory | None = None,
    cameras: Sequence[CameraCalibration] = (),
    model: Mapping[str, Any] | None = None,
    local_files_only: bool = True,
) -> RobotPolicy:
    """Load a trained policy that acts: `policy.step(observation)` returns the action of a control step.

    Args:
        source: a checkpoint of training, a file that `tempovla export` wrote, a folder that `save_pretrained` wrote, or
            the name of a repository on the hub that holds one of these folders.
        device: where it decides; None takes a GPU where there is one. Exported files decide on the CPU.
        dtype: type of the weights and of the arithmetic; None leaves them as they were saved. Not of exported files.
        dataset_name: of a policy that learned from several datasets, the one whose body it is to move.
        ensemble: decay of temporal ensembling; see `RobotPolicy`.
        execution_horizon: control steps from one decision to the next; see `RobotPolicy`.
        transforms_from: the checkpoint whose transforms and statistics go with a folder of `save_pretrained`, which
            holds a model alone.
        library: earlier episodes for a policy that retrieves, instead of those in its checkpoint: a dataset, an
            `EpisodicMemory` of the policy's features, or a file that one saved.
        cameras: calibrations of the robot's cameras, where they are not those of the training data. Not of exported
            files, which have them inside.
        model: other values of settings that control alone reads, such as `{"rrr_replan_threshold": 1.5}`; see
            `with_model_settings`. Not of exported files.
        local_files_only: look for a name on the hub in the hub's cache alone; False downloads it.

    Raises:
        ValueError: in one line, if there is no such policy, it is damaged, it has not learned to act, it lacks its
            transforms, or an option does not fit it.
    """
    if type(local_files_only) is not bool:
        raise ValueError(f"local_files_only={brief(local_files_only)} must be True or False")
    place = _place(path_argument("source", source, "a checkpoint or of an exported file"), local_files_only)
    check_may_act(place)
    if is_model_alone(place):
        bundle = with_model_settings(_with_transforms(place, transforms_from, dataset_name), model)
        check_body(bundle, str(transforms_from))
        actor: Actor = Controller.from_bundle(bundle, choose_device(device))
    else:
        if transforms_from is not None:
            raise ValueError(f"{place}: has its own transforms; leave out transforms_from={str(transforms_from)!r}")
        opened = open_policy(place, dataset_name, device=device, model=model)
        bundle = opened.bundle
        check_has_learned_to_act(bundle, str(place))
        check_body(bundle, str(place))
        actor = opened.actor()
    if library is not None:
        from tempovla.control.library import give_library

        give_library(actor, library, bundle.provenance)
    if dtype is not None:
        _convert(actor, dtype, str(place))
    calibrations = _calibrations(cameras)
    if calibrations and not isinstance(actor, Controller):
        raise ValueError(
            f"{place}: an exported file has the calibrations of the training's cameras inside; leave cameras out, or "
            "load the checkpoint with them"
        )
    transform = actor.transform if isinstance(actor, Controller) else TransformPipeline.of(bundle)
    reads = Reads.of(actor.windows, bundle.windows, transform, actor.embodiment)
    return RobotPolicy(
        actor,
        reads,
        execution_horizon=execution_horizon,
        ensemble=ensemble,
        provenance=bundle.provenance,
        cameras=calibrations,
    )


def _calibrations(cameras: Sequence[CameraCalibration]) -> tuple[CameraCalibration, ...]:
    """The calibrations that were given.

    Raises:
        ValueError: if they are none, or two are of one stream.
    """
    wanted = "give a list of CameraCalibration, one for each stream"
    if not isinstance(cameras, list | tuple) or not all(isinstance(camera, CameraCalibration) for camera in cameras):
        raise ValueError(f"cameras={brief(cameras)} are no calibrations; {wanted}")
    check_cameras(cameras)
    return tuple(cameras)


def _convert(actor: Actor, dtype: str | torch.dtype, where: str) -> None:
    """Give the weights another type.

    Raises:
        ValueError: if there is no such type, or the weights are those of an exported file.
    """
    name = str(dtype).removeprefix("torch.")
    if name not in DTYPES:
        raise ValueError(f"dtype={dtype!r} is none of {', '.join(DTYPES)}")
    if not isinstance(actor, Controller):
        raise ValueError(f"{where}: an exported file keeps the type of its weights; leave out dtype={dtype!r}")
    actor.policy.to(DTYPES[name])  # type: ignore[attr-defined]


def is_model_alone(place: Path) -> bool:
    """Return whether a folder holds a model as `save_pretrained` writes it, without what a checkpoint has beside it."""
    return not (place / BUNDLE).exists() and (place / CONFIG).is_file() and (place / WEIGHTS).is_file()


def _place(place: Path, local_files_only: bool) -> Path:
    """The file or folder that is meant; of a name on the hub, its snapshot in the hub's cache."""
    source = place.as_posix()
    if place.exists() or not HUB_NAME.fullmatch(source):
        return place
    check_path(place)  # a misspelt checkpoint of a run is told with those that it has
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(source, local_files_only=local_files_only, allow_patterns=list(HUB_FILES)))
    except LocalEntryNotFoundError:
        remedy = "give local_files_only=False to download it" if local_files_only else "give a name that is on the hub"
        raise ValueError(
            f"{source}: no such file or folder here, and no such repository in the hub's cache; give a checkpoint, or "
            f"{remedy}"
        ) from None
    except (HfHubHTTPError, HFValidationError, OSError) as problem:
        reason = " ".join(str(problem).split())[:200]
        raise ValueError(f"{source}: no such file or folder here, and the hub does not give it ({reason})") from None


def _with_transforms(folder: Path, transforms_from: str | Path | None, dataset_name: str | None) -> Bundle:
    """The model in a folder with the transforms, body and windows of the checkpoint that it was trained with."""
    if transforms_from is None:
        raise ValueError(
            f"{folder}: holds a model without the transforms and statistics that it was trained with, so its actions "
            "have no units; give transforms_from=CHECKPOINT, the checkpoint that it comes from"
        )
    path_argument("transforms_from", transforms_from, "the checkpoint that the model comes from")
    bundle = Bundle.load(transforms_from)
    check_has_learned_to_act(bundle, str(transforms_from))
    dataset = choose_dataset(bundle.provenance, str(transforms_from), dataset_name)
    if bundle.policy not in POLICY_REGISTRY:
        raise ValueError(f"{transforms_from}: policy {bundle.policy!r} is unknown; choose {sorted(POLICY_REGISTRY)}")
    config = read_config(folder, POLICY_REGISTRY[bundle.policy][1], bundle.policy)
    bundle = replace(bundle, config=config_to_json(config), weights=read_weights(folder), origin=str(folder))
    return bundle if dataset is None else bundle_for_dataset(bundle, dataset)
