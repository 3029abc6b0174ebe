"""What tests ask of a trained policy: its log, its weights, its actions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tests.gripper_recordings import FRONT, STATE, WRIST
from torch import Tensor

from tempovla.control.context_builder import ContextBuilder
from tempovla.control.controller import Controller
from tempovla.timeline import Bundle


def logged(run_dir: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]


def assert_same(actual: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert actual.keys() == expected.keys()
    assert [key for key in expected if not torch.equal(actual[key], expected[key])] == []


def observation(episode: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(episode)
    frames = {FRONT: (24, 32, 3), WRIST: (16, 16, 3)}
    pictures = {key: random.integers(0, 256, shape, dtype=np.uint8) for key, shape in frames.items()}
    return {STATE: random.normal(size=3).astype(np.float32), **pictures}


def act(bundle: Bundle, rows: int = 2, cameras: tuple[str, ...] = (FRONT, WRIST)) -> Tensor:
    controller = Controller.from_bundle(bundle)
    builder = ContextBuilder(bundle.windows, bundle.embodiment, rows)
    for row in range(rows):
        seen = observation(row)
        builder.reset(row, f"task {row}", {key: seen[key] for key in (STATE, *cameras)})
    return controller.act(builder.context(), controller.initial_state(rows))[0].value
