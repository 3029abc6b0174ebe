"""Export of a checkpoint to a file, which is then run and compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tempovla import __version__
from tempovla.control.exported.archive import RefusedFileError
from tempovla.control.exported.runners import RUNNERS, Runner
from tempovla.control.exported.sidecar import INSTRUCTION_STEPS, Sidecar, file_sha256, sidecar_path
from tempovla.control.exported.signature import camera_keys, depth_keys, image_shapes
from tempovla.control.load_actor import check_may_act
from tempovla.export.comparison import EXAMPLE_ROWS, Reference, largest_differences
from tempovla.export.deployed import DeployedPolicy, Noise, check_bundle
from tempovla.export.formats import FORMATS, ExportFormat
from tempovla.export.refusals import check_can_be_exported
from tempovla.model.vla.registry import check_has_learned_to_act
from tempovla.storage.lock import holding
from tempovla.storage.said_by import said_by
from tempovla.storage.whole import replace_folder, sync, working_folder
from tempovla.timeline import Bundle, Context, Task
from tempovla.timeline.arguments import brief, path_argument, plain
from tempovla.timeline.bundle import bundle_sha256
from tempovla.timeline.keys import LANGUAGE_KEY, TOKENS_KEY
from tempovla.transform.pipeline import TransformPipeline

DEFAULT_NAME = "policy"


@dataclass(frozen=True)
class ExportConfig:
    """How a policy is exported.

    Attributes:
        format: name in `FORMATS`.
        noise: `seed` makes the noise in the graph, of a seed and the number of the decision, as `act` does; `numbers`
            takes it as inputs, for runtimes that lack 64-bit integers.
        tolerance: largest difference from PyTorch that is let pass, as the model sees actions.
        image_shapes: height and width of a camera's raw pictures [px], by key or the end of it; the empty name stands
            for all others. What is left out is as large as in the dataset.
    """

    format: str = "onnx"
    noise: Noise = "seed"
    tolerance: float = 1e-4
    image_shapes: Mapping[str, tuple[int, int]] | None = None

    def __post_init__(self) -> None:
        if self.format not in FORMATS:
            raise ValueError(f"format {self.format!r} is unknown; choose from {', '.join(FORMATS)}")
        if self.noise not in ("seed", "numbers"):
            raise ValueError(f"noise={self.noise!r} is unknown; choose from seed, numbers")
        if isinstance(self.tolerance, bool) or not isinstance(plain(self.tolerance), int | float):
            raise ValueError(f"tolerance={brief(self.tolerance)} must be a number above 0")
        if not self.tolerance > 0:
            raise ValueError(f"tolerance={self.tolerance} must be above 0")


@dataclass(frozen=True)
class Exported:
    """A file that was written.

    Attributes:
        file: where.
        differences: by batch size, the largest difference of an action from PyTorch, as the model sees actions.
        sidecar: what was written beside it.
    """

    file: Path
    differences: Mapping[int, float]
    sidecar: Sidecar


def export_checkpoint(checkpoint: str | Path, out: str | Path, config: ExportConfig | None = None) -> Exported:
    """Export a checkpoint, load the file back and compare it with PyTorch; only then it appears.

    Args:
        checkpoint: folder that training saved.
        out: the file, or a folder for `policy.onnx` (`.pt`, `.pt2`); beside the file goes `<file>.json`, and
            `<file>.assets` where words are read by a pretrained tokenizer or text model.
        config: how; None takes the defaults.

    Raises:
        ValueError: if the checkpoint is broken or cannot be exported, the file differs too much, or somebody else
            writes it now.
        NotWrittenError: if the disk does not take it.
        ModuleNotFoundError: if the extra `export` is not installed.
    """
    config = ExportConfig() if config is None else config
    if not isinstance(config, ExportConfig):
        raise ValueError(f"config={brief(config)} is no ExportConfig; give ExportConfig(format='onnx'), for example")
    path_argument("out", out, "the file to write")
    check_may_act(path_argument("checkpoint", checkpoint, "a checkpoint"))
    bundle = Bundle.load(checkpoint)
    check_has_learned_to_act(bundle, str(checkpoint))
    chosen = FORMATS[config.format]
    with said_by(checkpoint, remedy="copy the checkpoint again"):
        check_bundle(bundle)
        blank = {key for step in bundle.transform["steps"] for key in _blanked(step)}
        pictures = [key for key in (*camera_keys(bundle), *depth_keys(bundle)) if key not in blank]
        shapes = image_shapes(bundle.provenance, tuple(pictures), config.image_shapes)
    deployed = DeployedPolicy(bundle, shapes, config.noise).eval()
    check_can_be_exported(deployed, config.format, loops=chosen.loops)
    target = target_file(out, chosen)
    with holding(target, "exports", remedy="let it end, or give another file"), working_folder(target) as staging:
        file = staging / target.name
        reference = Reference(bundle)
        said = _write(chosen, deployed, reference, file, config.format)
        differences = largest_differences(reference, deployed, _loaded(deployed, file, config.format))
        _check_close(differences, config)
        sidecar = Sidecar(
            config.format,
            deployed.inputs,
            deployed.output,
            bundle.policy,
            bundle.windows,
            bundle.embodiment,
            bundle.transform,
            bundle.provenance,
            bundle_sha256(checkpoint),
            file_sha256(file),
            _figures(differences, config, said) | encoded_instructions(bundle),
            deployed.assets,
            deployed.memory,
            deployed.frame_stride,
        )
        sidecar.save(sidecar_path(file))
        _publish(staging, target)
    return Exported(target, differences, sidecar)


def _blanked(step: Mapping[str, Any]) -> Sequence[str]:
    """The streams that a step of the transforms makes up, whatever is given."""
    if step["name"] == "resize_depth":
        return step["keys"] if step.get("blank") else ()
    return step.get("cameras", ())


def encoded_instructions(bundle: Bundle) -> dict[str, dict[str, list[float]]]:
    """Return the graph's input for each instruction of the training, for readers without this package.

    Returns:
        Under `encoded_instructions`, by instruction, its token ids (L,) or its embedding (E,); nothing where no
        instruction is read or known.
    """
    steps = [step for step in bundle.transform["steps"] if step["name"] in INSTRUCTION_STEPS]
    sentences = list(dict.fromkeys(bundle.provenance.get("instructions") or []))
    if not steps or not sentences:
        return {}
    tasks = tuple(Task(sentence, bundle.embodiment) for sentence in sentences)
    context = Context({}, {}, tasks, torch.zeros(len(tasks), dtype=torch.bool))
    now = TransformPipeline.from_json({"steps": steps[:1]}, bundle.assets).forward_context(context).now
    (track,) = now.values()
    return {"encoded_instructions": dict(zip(sentences, track.at(0)[0].tolist(), strict=True))}


def _publish(staging: Path, target: Path) -> None:
    """Put a file and what goes beside it in place.

    An older file goes first and the new one comes last: where a file is, all that belongs to it is there.
    """
    for part in staging.rglob("*"):
        sync(part)
    target.unlink(missing_ok=True)
    sync(target.parent)
    for part in sorted(staging.iterdir(), key=lambda part: part.name == target.name):
        there = target.with_name(part.name)
        if part.is_dir():
            replace_folder(part, there)
        else:
            part.replace(there)
    sync(target.parent)


def _write(
    chosen: ExportFormat, deployed: DeployedPolicy, reference: Reference, file: Path, name: str
) -> dict[str, Any]:
    example = reference.observe(deployed, EXAMPLE_ROWS, seed=0).tensors
    try:
        return chosen.write(deployed, example, file)
    except KeyError as error:
        if error.args[0] not in (TOKENS_KEY, LANGUAGE_KEY):
            raise
        raise ValueError(
            f"{reference.bundle.origin}: steps in transform.json do not give {error.args[0]!r}, which its policy "
            "reads; copy the checkpoint again"
        ) from error
    except RuntimeError as error:  # of torch's exporters: an operator or a way of programming that they do not know
        cause: BaseException = error
        while cause.__cause__ is not None:  # the exporter of ONNX says first what step it was at
            cause = cause.__cause__
        lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
        raise ValueError(
            f"torch cannot export this policy as {name} ({type(cause).__name__}: {lines[0] if lines else ''}); "
            "see all of it with --debug, or choose another action head, projector, part of the context or format"
        ) from error


def _loaded(deployed: DeployedPolicy, file: Path, name: str) -> Runner:
    try:
        return RUNNERS[name](file, deployed.inputs)
    except RefusedFileError as error:
        raise ValueError(f"this policy cannot be run as {name}: {error.what}; choose onnx") from error


def _check_close(differences: Mapping[int, float], config: ExportConfig) -> None:
    for rows, difference in differences.items():
        if not difference <= config.tolerance:
            raise ValueError(
                f"the {config.format} file differs from PyTorch by {difference:.2g} of a normalised action for {rows} "
                f"rows, more than tolerance={config.tolerance:g}; nothing was written; raise tolerance if you accept "
                "this difference"
            )


def _figures(differences: Mapping[int, float], config: ExportConfig, said: Mapping[str, Any]) -> dict[str, Any]:
    versions = {"tempovla": __version__, "torch": torch.__version__, **said.get("versions", {})}
    return {
        "difference": {
            "largest": max(differences.values()),
            "by_batch_size": {str(rows): value for rows, value in differences.items()},
            "unit": "normalised action",
            "tolerance": config.tolerance,
        },
        "precision": "float32",
        **said,
        "versions": versions,
    }


def target_file(out: str | Path, chosen: ExportFormat) -> Path:
    """Return the file to write: `out` itself, or a file in it if it is a folder or has no suffix.

    Raises:
        ValueError: if the suffix is another format's.
    """
    target = Path(out)
    if target.is_dir() or not target.suffix:
        return target / f"{DEFAULT_NAME}{chosen.suffix}"
    if target.suffix != chosen.suffix:
        raise ValueError(f"out {str(out)!r} does not end in {chosen.suffix}, as files of this format do; rename it")
    return target
