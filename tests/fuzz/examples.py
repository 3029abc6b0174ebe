"""One tiny, sound example of every kind of file that a command reads, and the commands that read it.

`{in}` in a command stands for the example's folder, `{out}` for one that the command may write to.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from tests import chats, libero_recordings
from tests.foreign import FRONT, SIDE, STATE, Foreign, edit_json, encode_image, write_v21, write_v30
from tests.fuzz import caches, policies
from tests.fuzz.policies import run_command, write_recipe
from tests.stored_columns import DEPTH, STRUCT

from tempovla.data.calibrations import with_cameras
from tempovla.timeline import CameraCalibration

Command = tuple[str, ...]


@dataclass(frozen=True)
class Example:
    """A kind of folder.

    Attributes:
        build: fills an empty folder.
        commands: which read it, light ones first; a case runs one of them.
        damaged: patterns of the files that are damaged, relative to the folder.
    """

    build: Callable[[Path], object]
    commands: Sequence[Command]
    damaged: Sequence[str] = ("**/*",)


def _lerobot(version: str, storage: str) -> Callable[[Path], object]:
    def build(folder: Path) -> None:
        foreign = Foreign(lengths=(4, 3), storage=storage)
        (write_v30 if version == "v3.0" else write_v21)(folder, foreign)
        if version == "v2.0":
            edit_json(folder / "meta/info.json", lambda info: info.update(codebase_version="v2.0"))
        (folder / "meta/recording.json").write_text(json.dumps({"simulator": "none", "camera_size": 64}))
        if storage == "image":
            run_command("data", "stats", folder, "--recompute")

    return build


def _depth(folder: Path) -> None:
    """Depth in pictures of millimetres, of a calibrated camera."""
    entry = {"dtype": "image", "shape": [SIDE, SIDE, 1], "info": {"is_depth_map": True, "depth_unit": "mm"}}

    def columns(usual: dict[str, Any], index: int, length: int) -> dict[str, Any]:
        stored = [encode_image(np.full((SIDE, SIDE), 400 + step, np.uint16)) for step in range(length)]
        return usual | {DEPTH: pa.array([{"bytes": data, "path": None} for data in stored], STRUCT)}

    write_v30(folder, Foreign(lengths=(4, 3), storage="image", features={DEPTH: entry}, columns=columns))
    down = ((1.0, 0.0, 0.0, 0.4), (0.0, -1.0, 0.0, 0.0), (0.0, 0.0, -1.0, 0.8), (0.0, 0.0, 0.0, 1.0))
    camera = CameraCalibration(DEPTH, SIDE, SIDE, 9.0, 9.0, SIDE / 2, SIDE / 2, down, rate_hz=10.0)
    edit_json(folder / "meta/info.json", lambda info: info.update(with_cameras(info, [camera])))


def _tasks(folder: Path) -> None:
    """As many instructions as datasets of chores have."""
    words = {number: f"put thing {number} on the shelf" for number in range(300)}
    write_v21(folder, Foreign(lengths=(4, 3), storage="image", tasks=words, task_of=lambda place, length: 150 * place))


def _conversations(folder: Path) -> None:
    chats.write_conversations(folder, count=4)
    policies.of_conversations(folder)


def _report(folder: Path) -> None:
    from tests.report_runs import pictures, write_run

    write_run(folder, clip=lambda seed: pictures(seed, frames=2))
    rows = [{"task": "push", "seed": seed, "init_state": None, "success": bool(seed % 2)} for seed in range(6)]
    simulator = {"name": "metaworld", "suite": "mt1"}
    content = {"episodes": rows, "simulator": simulator, "execution_horizon": 4}
    (folder / "compare.json").write_text(json.dumps(content))
    measured = json.loads((folder / "results.json").read_text())
    timing = {key: measured.pop(key) for key in ("stages", "cpu_seconds", "wall_seconds", "machine", "date")}
    (folder / "results.timing.json").write_text(json.dumps(timing))
    for place in (folder, folder / "blind"):
        (place / "results.json").write_text(json.dumps(measured))
    for place in folder.glob("*/phase2"):  # one phase is enough to read
        for file in place.iterdir():
            file.unlink()
        place.rmdir()


AT, SAMPLED = ("--episode", "1", "--frame", "2"), ("--out", "{out}/sample.npz")
LOOK = (
    ("data", "inspect", "{in}"),
    ("data", "inspect", "{in}", "--json"),
    ("data", "stats", "{in}"),
    ("data", "sample", "{in}", *AT, "--window", f"{STATE}=-1,0", "--window", f"{FRONT}=0", *SAMPLED),
    ("data", "convert", "{in}", "{out}/converted"),
)
"""What reads a LeRobot dataset without training."""

FEW = ("--resamples", "100", "--stride", "1")
NO_ARCHITECTURE = ("--model.vlm.language.architecture", "null", "--transform.tokenizer", "words")
STATEVLA = (
    *("--config", "{in}/statevla.yaml", "--data.data_directory", "{in}/dataset", "--out", "{out}/run"),
    *("--data.encoding_cache", "{in}/encodings", "--transform.text_model", "{in}/text"),
)
_FOLDERS = [{"data_directory": f"{{in}}/{name}", "name": name} for name in ("first", "second")]
OF_BOTH = ("--config", "{in}/mixture.yaml", "--data.mixture", json.dumps(_FOLDERS))
OF_FIRST = ("--checkpoint", "{in}/policy", "--dataset-name", "first")
REMEMBERING = (
    *("--config", "{in}/remembering.yaml", "--dataset", "{in}/dataset", "--output-dir", "{out}/run"),
    *("--data.encoding_cache", "{in}/encodings"),
)
CONVERTED = ("--gripper-open", "-1", "--out", "{out}/bundle")
INSTRUCT = ("--image-root", "{in}", "--output-dir", "{out}/run")
WITH_DATASET = ("--config", "{in}/recipe.yaml", "--dataset", "{in}/dataset", "--output-dir", "{out}/run")
MORE_STEPS = ("--training.train_steps", "2", "--training.extend", "continue")
"""For a run that has ended, which goes on in another folder."""
TRAIN = ("train", "vla", "--config", "{out}/recipe.yaml", "--dataset", "{in}", "--output-dir", "{out}/run")

EXAMPLES: dict[str, Example] = {
    "lerobot-v2.0-image": Example(_lerobot("v2.0", "image"), (*LOOK, TRAIN)),
    "lerobot-v2.1-video": Example(_lerobot("v2.1", "video"), (*LOOK, TRAIN)),
    "lerobot-v3.0-video": Example(_lerobot("v3.0", "video"), (*LOOK, TRAIN)),
    "lerobot-v3.0-image": Example(_lerobot("v3.0", "image"), (*LOOK, TRAIN)),
    "depth": Example(
        _depth,
        (
            *LOOK[:3],
            ("data", "sample", "{in}", *AT, "--window", f"{DEPTH}=-1,0", *SAMPLED),
            LOOK[-1],
        ),
    ),
    "tasks": Example(_tasks, LOOK, ("meta/tasks.jsonl", "meta/tasks.jsonl", "meta/episodes.jsonl")),
    "libero": Example(
        lambda folder: libero_recordings.record(folder, (6, 4)),
        (
            ("data", "inspect", "{in}"),
            ("data", "stats", "{in}"),
            ("data", "sample", "{in}", *AT, "--window", f"{libero_recordings.AGENT}=0", *SAMPLED),
            ("data", "convert", "{in}", "{out}/converted"),
        ),
        ("*.hdf5",),
    ),
    "checkpoint": Example(
        policies.trained,
        (
            ("eval", "offline", "--checkpoint", "{in}/checkpoint", "--data", "{in}/dataset", "--split", "all"),
            ("train", "vla", *WITH_DATASET, "--checkpoint", "{in}/checkpoint", *MORE_STEPS),
            ("train", "vla", *WITH_DATASET, "--base-checkpoint", "{in}/checkpoint"),
            ("export", "--checkpoint", "{in}/checkpoint", "--format", "torchscript", "--out", "{out}/policy.pt"),
            (
                "diagnose",
                "memory",
                "--checkpoint",
                "{in}/checkpoint",
                "--dataset",
                "{in}/dataset",
                "--resamples",
                "100",
                "--stride",
                "1",
            ),
        ),
        ("checkpoint/*", "checkpoint/**/*"),
    ),
    "exported": Example(
        policies.exported,
        tuple(
            ("eval", "offline", "--checkpoint", f"{{in}}/{name}", "--data", "{in}/dataset", "--split", "all")
            for name in ("policy.pt", "policy.pt2", "policy.onnx")
        ),
        ("policy.*",),
    ),
    "pretrained": Example(
        policies.pretrained,
        (
            ("train", "vla", *WITH_DATASET, "--model.vlm.vision.model_name", "{in}/vision"),
            ("train", "vla", *WITH_DATASET, "--model.vlm.language.model_name", "{in}/language", *NO_ARCHITECTURE),
        ),
        ("vision/*", "language/*"),
    ),
    "config": Example(
        lambda folder: write_recipe(folder / "recipe.yaml"),
        (("train", "vla", "--config", "{in}/recipe.yaml", "--output-dir", "{out}/run", "--dataset", "{in}/none"),),
    ),
    "conversations": Example(
        _conversations,
        (("train", "instruct", "--config", "{in}/vlm.yaml", "--dataset", "{in}/conversations.jsonl", *INSTRUCT),),
        ("conversations.jsonl", "images/*"),
    ),
    "report": Example(
        _report,
        (
            ("report", "{in}", "--out", "{out}/report.html"),
            ("report", "{in}", "--out", "{out}/report.html", "--blind", "{in}/blind", "--curves", "{in}/train"),
            ("eval", "compare", "{in}/compare.json", "{in}/compare.json"),
        ),
    ),
    "journal": Example(caches.journal, (("call", "read_journal", "{in}"),)),
    "encodings": Example(caches.encodings, (("call", "read_encodings", "{in}"),)),
    "sentences": Example(
        caches.sentences, (("call", "read_sentences", "{in}"),), ("cache/**/*", "text/*.json", "text/*.safetensors")
    ),
    "digests": Example(caches.digests, (("call", "read_digests", "{in}"),), ("table.json",)),
    "replay": Example(caches.replay, (("call", "read_replay", "{in}"),), ("replay/*",)),
    "stages": Example(caches.stages, (("call", "read_stages", "{in}"),)),
    "statevla": Example(
        policies.statevla,
        (
            ("eval", "offline", "--checkpoint", "{in}/phase2", "--data", "{in}/dataset", "--split", "all"),
            ("train", "statevla", *STATEVLA, "--phase", "2", "--phase1_checkpoint", "{in}/phase1"),
            ("train", "statevla", *STATEVLA, "--checkpoint", "{in}/phase2", *MORE_STEPS),
            ("export", "--checkpoint", "{in}/phase2", "--format", "torchscript", "--out", "{out}/policy.pt"),
        ),
        ("phase1/**/*", "phase2/**/*", "encodings/*"),
    ),
    "remembering": Example(
        policies.remembering,
        (
            ("eval", "offline", "--checkpoint", "{in}/policy", "--data", "{in}/dataset", "--split", "all"),
            ("diagnose", "memory", "--checkpoint", "{in}/policy", "--dataset", "{in}/dataset", *FEW),
            ("train", "vla", *REMEMBERING, "--base-checkpoint", "{in}/checkpoint"),
        ),
        ("policy/**/*", "checkpoint/**/*", "encodings/*"),
    ),
    "mixture": Example(
        policies.of_two_datasets,
        (
            ("eval", "offline", *OF_FIRST, "--data", "{in}/first", "--split", "all"),
            ("export", "--checkpoint", "{in}/policy", "--format", "torchscript", "--out", "{out}/policy.pt"),
            ("train", "vla", *OF_BOTH, "--output-dir", "{out}/run", "--checkpoint", "{in}/policy", *MORE_STEPS),
        ),
        ("policy/**/*",),
    ),
    "openvla": Example(
        policies.published_openvla,
        (("convert", "openvla", "--pretrained", "{in}/published", "--camera", FRONT, *CONVERTED),),
        ("published/*",),
    ),
    "pickled": Example(policies.pickled, (("convert", "weights", "{in}/whole"), ("convert", "weights", "{in}/parts"))),
}
