"""Exported files that several tests look at, and what they must do alike with their checkpoints."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.contract.policy_cases import WRIST
from tests.contract.toys import FRONT, STATE
from tests.unit.export.bundles import BODY, INSTRUCTIONS, save

from tempovla.control.controller import Controller
from tempovla.control.exported.policy import ExportedPolicy
from tempovla.export.exporter import ExportConfig, Exported, export_checkpoint
from tempovla.timeline import Bundle, Context, Task, Track


@pytest.fixture(scope="session")
def flow_checkpoint(tmp_path_factory) -> Path:
    """A VLA with flow matching."""
    return save(tmp_path_factory.mktemp("checkpoints"), "flow_matching")


@pytest.fixture(scope="session")
def flow_script(tmp_path_factory, flow_checkpoint) -> Exported:
    """It as TorchScript."""
    return export_checkpoint(flow_checkpoint, tmp_path_factory.mktemp("script"), ExportConfig("torchscript"))


def raw_context(step: int, first: list[bool], rows: int = 3, front: tuple[int, int] = (21, 27)) -> Context:
    generator = torch.Generator().manual_seed(step)
    frames = {
        key: torch.randint(0, 256, (rows, 1, *shape, 3), dtype=torch.uint8, generator=generator)
        for key, shape in ((FRONT, front), (WRIST, (32, 32)))
    }
    state = torch.randn(rows, 1, 3, generator=generator)
    now = {key: Track.of(value, (0,)) for key, value in {**frames, STATE: state}.items()}
    tasks = tuple(Task(INSTRUCTIONS[row % 2], BODY) for row in range(rows))
    return Context({}, now, tasks, torch.tensor(first))


def check_acts_alike(file, checkpoint) -> None:
    exported, controller = ExportedPolicy(file), Controller.from_bundle(Bundle.load(checkpoint))
    assert (exported.windows, exported.embodiment) == (controller.windows, controller.embodiment)
    seeds = [3, 4, 5]
    states = [actor.with_seeds(actor.initial_state(3), seeds) for actor in (exported, controller)]
    for step, first in enumerate([[True] * 3, [False] * 3, [False, True, False]]):
        context = raw_context(step, first)
        (got, states[0]), (want, states[1]) = exported.act(context, states[0]), controller.act(context, states[1])
        assert torch.equal(got.offset, want.offset)
        torch.testing.assert_close(got.value, want.value, rtol=1e-4, atol=1e-3)
