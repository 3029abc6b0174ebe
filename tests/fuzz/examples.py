"""One tiny, sound example of every kind of file that a command reads, and the commands that read it.

`{in}` in a command stands for the example's folder, `{out}` for one that the command may write to.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from tests import chats, libero_recordings
from tests.foreign import FRONT, STATE, Foreign, edit_json, write_v21, write_v30

Command = tuple[str, ...]

MODEL = {
    "vlm": {
        "vision": {"model_name": "conv", "image_size": 16, "patch_size": 8, "output_dim": 8},
        "language": {
            "architecture": {
                "model_type": "qwen2",
                "vocab_size": 64,
                "hidden_size": 16,
                "intermediate_size": 16,
                "num_hidden_layers": 1,
                "num_attention_heads": 2,
                "num_key_value_heads": 2,
                "max_position_embeddings": 64,
            }
        },
        "readout": "all_tokens",
    },
    "token_dim": 4,
    "feature_dim": 8,
    "cameras": [FRONT],
    "robot_state_dim": 3,
    "action_dim": 2,
    "has_gripper": False,
    "action_horizon": 2,
    "action_head": "mlp",
}
TRAINING = {"batch_size": 2, "train_steps": 1, "save_interval": 0, "save_interval_steps": 1, "num_threads": 1}
RECIPE = {"data": {"validation_batches": 1, "num_workers": 0}, "model": MODEL, "training": TRAINING}


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


def write_recipe(path: Path, **more: object) -> Path:
    """A config that trains a tiny VLA for a step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(RECIPE | more))
    return path


def run_command(*words: object) -> None:
    """Run a command that must succeed."""
    from tempovla.cli.main import main

    code = main([str(word) for word in words])
    assert code == 0, words


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


def _trained(folder: Path) -> Path:
    """A dataset, a config, and a run of one step."""
    write_v30(folder / "dataset", Foreign(lengths=(4, 3), storage="image"))
    config = write_recipe(folder / "recipe.yaml")
    run = folder / "run"
    run_command("train", "vla", "--config", config, "--dataset", folder / "dataset", "--output-dir", run)
    checkpoint = run / "checkpoint_latest"
    plain = folder / "checkpoint"
    checkpoint.resolve().rename(plain)
    for link in run.glob("checkpoint_*"):
        link.unlink()
    return plain


def _exported(folder: Path) -> None:
    checkpoint = _trained(folder)
    for form, name in (("torchscript", "policy.pt"), ("torch-export", "policy.pt2"), ("onnx", "policy.onnx")):
        run_command("export", "--checkpoint", checkpoint, "--format", form, "--out", folder / name)


def _pretrained(folder: Path) -> None:
    from tests.tiny_models import save_language, save_vision

    write_v30(folder / "dataset", Foreign(lengths=(4, 3), storage="image"))
    save_vision(folder / "vision")
    save_language(folder / "language")
    write_recipe(folder / "recipe.yaml")


def _conversations(folder: Path) -> None:
    chats.write_conversations(folder, count=4)
    recipe = {
        "data": {"train_split": 0.5, "validation_batches": 1},
        "model": {"vlm": MODEL["vlm"]},
        "training": TRAINING,
    }
    (folder / "vlm.yaml").write_text(yaml.safe_dump(recipe))


def _report(folder: Path) -> None:
    from tests.unit.report.conftest import pictures, write_run

    write_run(folder, clip=lambda seed: pictures(seed, frames=2))
    rows = [{"task": "push", "seed": seed, "init_state": None, "success": bool(seed % 2)} for seed in range(6)]
    simulator = {"name": "metaworld", "suite": "mt1"}
    content = {"episodes": rows, "simulator": simulator, "execution_horizon": 4}
    (folder / "compare.json").write_text(json.dumps(content))
    for place in folder.glob("*/phase2"):  # one phase is enough to read
        for file in place.iterdir():
            file.unlink()
        place.rmdir()


def _journal(folder: Path) -> None:
    from tempovla.recipe.journal import EpisodeJournal
    from tempovla.rollout.runner import EpisodeResult, EpisodeSpec

    journal = EpisodeJournal(folder / "results.partial.jsonl", {"checkpoint": "abc", "simulator": {"cameras": "front"}})
    for seed in range(3):
        spec = EpisodeSpec("push-v3", seed, "push it", init_state=None)
        actions = np.zeros((2, 2), np.float32)
        journal.add(EpisodeResult(spec, "push it", True, 2, 0.5, actions, policy_calls=1, policy_s=0.25))
    journal.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)


def _read_journal(folder: Path) -> None:
    from tempovla.recipe.journal import EpisodeJournal

    identity = {"checkpoint": "abc", "simulator": {"cameras": "front"}}
    EpisodeJournal(folder / "results.partial.jsonl", identity)


def _encoding_key() -> object:
    from tempovla.recipe.encoding_cache import EncodingKey

    return EncodingKey("e" * 64, "d" * 64, "t" * 64, "float32", "0")


def _encodings(folder: Path) -> None:
    from tempovla.recipe.encoding_cache import EncodingCache, Encodings

    encodings = Encodings(np.zeros((3, 2), np.float32), np.ones(3, bool))
    EncodingCache(folder, _encoding_key()).write(encodings, {})  # type: ignore[arg-type]


def _read_encodings(folder: Path) -> None:
    from tempovla.recipe.encoding_cache import EncodingCache

    EncodingCache(folder, _encoding_key()).read(3, 2)  # type: ignore[arg-type]


FUNCTIONS: dict[str, Callable[[Path], object]] = {
    "read_journal": _read_journal,
    "read_encodings": _read_encodings,
}
"""What is read in the midst of long commands, by name; a command that begins with `call` runs one of them."""

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
INSTRUCT = ("--image-root", "{in}", "--output-dir", "{out}/run")
WITH_DATASET = ("--config", "{in}/recipe.yaml", "--dataset", "{in}/dataset", "--output-dir", "{out}/run")
TRAIN = ("train", "vla", "--config", "{out}/recipe.yaml", "--dataset", "{in}", "--output-dir", "{out}/run")

EXAMPLES: dict[str, Example] = {
    "lerobot-v2.0-image": Example(_lerobot("v2.0", "image"), (*LOOK, TRAIN)),
    "lerobot-v2.1-video": Example(_lerobot("v2.1", "video"), (*LOOK, TRAIN)),
    "lerobot-v3.0-video": Example(_lerobot("v3.0", "video"), (*LOOK, TRAIN)),
    "lerobot-v3.0-image": Example(_lerobot("v3.0", "image"), (*LOOK, TRAIN)),
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
        _trained,
        (
            ("eval", "offline", "--checkpoint", "{in}/checkpoint", "--data", "{in}/dataset", "--split", "all"),
            ("train", "vla", *WITH_DATASET, "--checkpoint", "{in}/checkpoint"),
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
        _exported,
        tuple(
            ("eval", "offline", "--checkpoint", f"{{in}}/{name}", "--data", "{in}/dataset", "--split", "all")
            for name in ("policy.pt", "policy.pt2", "policy.onnx")
        ),
        ("policy.*",),
    ),
    "pretrained": Example(
        _pretrained,
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
            ("eval", "compare", "{in}/compare.json", "{in}/compare.json"),
        ),
    ),
    "journal": Example(_journal, (("call", "read_journal", "{in}"),)),
    "encodings": Example(_encodings, (("call", "read_encodings", "{in}"),)),
}
