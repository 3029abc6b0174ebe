"""Trained policies and models from elsewhere, as small as they come."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml
from tests.foreign import Foreign, write_v30
from tests.fuzz.caches import cache_in, save_text_model
from tests.tiny import statevla_model, vla_model

MODEL = vla_model(action_horizon=2, action_head="mlp")
TRAINING = {"batch_size": 2, "train_steps": 1, "save_interval": 0, "save_interval_steps": 1, "num_threads": 1}
RECIPE = {"data": {"validation_batches": 1, "num_workers": 0}, "model": MODEL, "training": TRAINING}


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


def dataset(folder: Path) -> Path:
    """Two short episodes, in `folder / "dataset"`."""
    return write_v30(folder / "dataset", Foreign(lengths=(4, 3), storage="image"))


def trained(folder: Path) -> Path:
    """A dataset, a config, and the checkpoint of a run of one step."""
    config, run = write_recipe(folder / "recipe.yaml"), folder / "run"
    run_command("train", "vla", "--config", config, "--dataset", dataset(folder), "--output-dir", run)
    return keep_checkpoint(run, folder / "checkpoint")


def keep_checkpoint(run: Path, place: Path) -> Path:
    """Move the checkpoint of a run to `place`; links to it go."""
    (run / "checkpoint_latest").resolve().rename(place)
    for link in run.glob("checkpoint_*"):
        link.unlink()
    return place


def exported(folder: Path) -> None:
    checkpoint = trained(folder)
    for form, name in (("torchscript", "policy.pt"), ("torch-export", "policy.pt2"), ("onnx", "policy.onnx")):
        run_command("export", "--checkpoint", checkpoint, "--format", form, "--out", folder / name)


def pretrained(folder: Path) -> None:
    from tests.tiny_models import save_language, save_vision

    dataset(folder)
    save_vision(folder / "vision")
    save_language(folder / "language")
    write_recipe(folder / "recipe.yaml")


STATEVLA: dict[str, Any] = {
    "data": {"validation_batches": 1, "num_workers": 0},
    "transform": {"shift_px": 0},
    "model": statevla_model(action_seq_len=2, freeze_encoder=True, lang_emb_dim=16),
    "training": TRAINING | {"phase1": {"temporal_predictor_hidden_dim": 16}, "phase2": {"cache_encodings": True}},
}


def statevla(folder: Path) -> None:
    """Checkpoints of both phases, which keep the dataset's instructions, and the encodings that phase 2 learnt from."""
    text_model = save_text_model(folder / "text")
    recipe = STATEVLA | {"transform": STATEVLA["transform"] | {"text_model": str(text_model)}}
    (folder / "statevla.yaml").write_text(yaml.safe_dump(recipe))
    with cache_in(folder / "cache"):
        run_command(
            *("train", "statevla", "--config", folder / "statevla.yaml", "--data.data_directory", dataset(folder)),
            *("--out", folder / "run", "--data.encoding_cache", folder / "encodings"),
        )
    for phase, name in (("phase1", "phase1_temporal_jepa"), ("phase2", "phase2_flow_matching")):
        keep_checkpoint(folder / "run" / name, folder / phase)


CONTEXT = {"temporal": {"encoder_type": "lstm", "hidden_dim": 4}, "stride": 1, "sequence_length": 2}


def remembering(folder: Path) -> None:
    """A policy that remembers, cloned from features that stay as they are, and the encodings it learnt from."""
    base = trained(folder)
    config = write_recipe(folder / "remembering.yaml", model=MODEL | {"context": CONTEXT | {"freeze_base": True}})
    run_command(
        *("train", "vla", "--config", config, "--dataset", folder / "dataset", "--base-checkpoint", base),
        *("--output-dir", folder / "run2", "--data.encoding_cache", folder / "encodings"),
    )
    keep_checkpoint(folder / "run2", folder / "policy")


def of_two_datasets(folder: Path) -> None:
    """A policy that learned from two datasets."""
    for name in ("first", "second"):
        write_v30(folder / name, Foreign(lengths=(4, 3), storage="image"))
    mixture = [{"data_directory": str(folder / name), "name": name} for name in ("first", "second")]
    config = write_recipe(folder / "mixture.yaml", data=RECIPE["data"] | {"mixture": mixture})
    run_command("train", "vla", "--config", config, "--output-dir", folder / "run")
    keep_checkpoint(folder / "run", folder / "policy")


def published_openvla(folder: Path) -> None:
    """A tiny OpenVLA as it is published."""
    from tests.openvla_tiny import save_published

    stats = {"libero": {"action": {"q01": [-1.0] * 7, "q99": [1.0] * 7, "mask": [True] * 6 + [False]}}}
    save_published(folder / "published", "open the drawer", norm_stats=stats, action_dim=7)


def pickled(folder: Path) -> None:
    """Weights in one pickle, and in two with an index."""
    import torch

    weights = {name: torch.ones(2, 2) for name in ("first", "second")}
    for place in ("whole", "parts"):
        (folder / place).mkdir(parents=True)
    torch.save(weights, folder / "whole" / "pytorch_model.bin")
    files = {name: f"pytorch_model-0000{place}-of-00002.bin" for place, name in enumerate(weights, 1)}
    for name, file in files.items():
        torch.save({name: weights[name]}, folder / "parts" / file)
    index = {"metadata": {"total_size": 32}, "weight_map": files}
    (folder / "parts" / "pytorch_model.bin.index.json").write_text(json.dumps(index))


def of_conversations(folder: Path) -> None:
    """A config that trains a vision-language model on a folder of conversations."""
    recipe = {
        "data": {"train_split": 0.5, "validation_batches": 1},
        "model": {"vlm": MODEL["vlm"]},
        "training": TRAINING,
    }
    (folder / "vlm.yaml").write_text(yaml.safe_dump(recipe))
