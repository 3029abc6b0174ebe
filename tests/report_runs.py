"""A synthetic run directory with everything the report reads."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path

import numpy as np

from tempovla.report.video import encode_mp4, side_by_side

TASKS = {
    "button-press-topdown-v3": ("press the button from above", 20, 11, 2),
    "drawer-open-v3": ("open the drawer", 19, 9, 1),
    "window-open-v3": ("slide the window open", 18, 13, 4),
    "door-open-v3": ("pull the door open", 17, 16, 0),
    "push-v3": ("push the puck to the goal", 13, 1, 1),
}
HARD = "push-v3"
N = 20


def interval(successes: int, episodes: int) -> list[float]:
    """Some interval around the rate; the report must show it as it stands."""
    rate, half = successes / episodes, 1.0 / math.sqrt(episodes)
    return [round(max(0.0, rate - half), 4), round(min(1.0, rate + 0.5 * half), 4)]


def results(seed: int = 7) -> dict:
    tasks = {
        name: {
            "instruction": instruction,
            "success": policy / N,
            "episodes": N,
            "ci95": interval(policy, N),
            "blind": blind / N,
            "blind_episodes": N,
            "blind_ci95": interval(blind, N),
            "wrong_instruction": wrong / N,
            "wrong_instruction_episodes": N,
            "wrong_instruction_ci95": interval(wrong, N),
        }
        for name, (instruction, policy, blind, wrong) in TASKS.items()
    }
    easy = [name for name in TASKS if name != HARD]

    def mean(key: str) -> float:
        return sum(tasks[name][key] for name in easy) / len(easy)

    return {
        "tasks": tasks,
        "mean": {
            "tasks": easy,
            "success": mean("success"),
            "episodes": N * len(easy),
            "ci95": [0.8508, 0.9642],
            "blind": mean("blind"),
            "wrong_instruction": mean("wrong_instruction"),
        },
        "stages": [
            {"name": "collect demonstrations", "cpu_seconds": 121.4, "wall_seconds": 66.2},
            {"name": "train: representation", "cpu_seconds": 96.0, "wall_seconds": 97.5},
            {"name": "train: actions", "cpu_seconds": 143.2, "wall_seconds": 145.9},
            {"name": "train: blind policy", "cpu_seconds": 128.8, "wall_seconds": 131.0},
            {"name": "evaluate", "cpu_seconds": 92.9, "wall_seconds": 52.3},
        ],
        "cpu_seconds": 588.1,
        "wall_seconds": 501.6,
        "seed": seed,
        "command": "tempovla demo --out outputs/demo --seed 7",
        "date": "2026-11-20 11:42 UTC",
        "machine": {"processor": "AMD EPYC 9B14", "cores": "2", "memory": "7.8 GiB", "system": "Linux 6.8"},
        "versions": {"tempovla": "0.1.0", "python": "3.11.7", "torch": "2.13.0", "metaworld": "3.1.1"},
    }


def metrics(phase: str, terms: dict[str, float], steps: int, seed: int) -> str:
    """Lines as training writes them: every fifth step, and a validation of every hundredth."""
    draw = random.Random(seed)
    lines = []
    for step in range(5, steps + 1, 5):
        decay = math.exp(-4 * step / steps)
        values = {name: scale * (0.04 + decay) * math.exp(draw.gauss(0, 0.16)) for name, scale in terms.items()}
        if "jepa_mse" in values:
            values["jepa_persistence"] = 0.3 * (1.2 - decay) * math.exp(draw.gauss(0, 0.05))
        line = {"train_step": step, "phase": phase, "total": sum(values.values())} | values
        line |= {"lr": 1e-3 * (1 + math.cos(math.pi * step / steps)) / 2, "grad_norm": 0.4 + draw.random()}
        line |= {"samples_per_s": 610 + 40 * draw.random(), "cpu_s": 0.1 * step}
        if step % 100 == 0:
            line |= {f"val_{name}": 1.2 * value for name, value in {"total": line["total"], **values}.items()}
        lines.append(line)
    return "".join(f"{json.dumps(line)}\n" for line in lines)


def pictures(seed: int, frames: int = 24) -> np.ndarray:
    """Two 64 px cameras in which a square moves."""
    draw = np.random.default_rng(seed)
    shades = draw.integers(60, 200, (2, 3), dtype=np.uint8)
    cameras = [np.broadcast_to(shade, (frames, 64, 64, 3)).copy() for shade in shades]
    for step in range(frames):
        at = 4 + 2 * step % 44
        for camera in cameras:
            camera[step, 24:40, at : at + 12] = (220, 60, 50)
    return side_by_side(cameras)


def write_run(folder: Path, clip=pictures) -> Path:
    (folder / "rollouts").mkdir(parents=True)
    (folder / "results.json").write_text(json.dumps(results()))
    phase1 = {"jepa_mse": 1.0, "variance": 0.6, "covariance": 40.0, "inverse_dynamics": 0.9}
    phase2 = {"flow": 1.4, "gripper": 0.7}
    for seed, run in enumerate(("train", "blind")):
        for phase, terms in (("phase1", phase1), ("phase2", phase2)):
            (folder / run / phase).mkdir(parents=True)
            (folder / run / phase / "metrics.jsonl").write_text(metrics(phase, terms, 1000, seed))
    names = list(TASKS)
    index = []
    for i, name in enumerate(names):
        for kind, success in (("policy", True), ("policy", i % 2 == 0), ("wrong_instruction", i == 2)):
            told = name if kind == "policy" else names[(i + 1) % len(names)]
            file = f"{name}-{len(index)}.mp4"
            encode_mp4(clip(len(index)), folder / "rollouts" / file, rate_hz=20)
            index.append(
                {
                    "task": name,
                    "instruction": TASKS[told][0],
                    "success": success,
                    "seed": 1000 + len(index),
                    "file": file,
                    "steps": 60 + i,
                    "kind": kind,
                }
            )
    (folder / "rollouts" / "index.json").write_text(json.dumps(index))
    return folder
