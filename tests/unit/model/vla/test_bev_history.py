import pytest
import torch
from tests import drives

from tempovla.model.sensor.bev import BEVGridConfig
from tempovla.model.vla.bev_history import BEVHistory
from tempovla.model.vla.frame_history import FrameMemory
from tempovla.timeline.frames import FrameIndex

GRID = BEVGridConfig(x_min=-8.0, x_max=8.0, y_min=-8.0, y_max=8.0, resolution=2.0)
DIM, ROWS, STEPS = 4, 2, 7


@pytest.fixture(params=["lstm", "transformer"])
def history(request):
    torch.manual_seed(0)
    return BEVHistory(drives.tiny_temporal(encoder_type=request.param), GRID, DIM).eval()


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def sequence() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Views, poses and which are known, of two rows; the second one has gaps."""
    known = torch.ones(ROWS, STEPS, dtype=torch.bool)
    known[1, [0, 3]] = False
    return random(ROWS, STEPS, DIM, 8, 8), random(ROWS, STEPS, 3, seed=1), known


@torch.no_grad()
def test_step_by_step_equals_the_whole_sequence(history):
    views, poses, known = sequence()
    index = FrameIndex.where(torch.ones(ROWS, STEPS, dtype=torch.bool), range(STEPS))
    whole = index.scatter(history.sequence(views, poses, known, index), ROWS)
    memory = history.initial_state(ROWS)
    for step in range(STEPS):
        now = views[:, step], poses[:, step], known[:, step]
        torch.testing.assert_close(history(*now, memory), whole[:, step])
        memory = memory.pushed(*now)


@torch.no_grad()
def test_what_is_unknown_changes_nothing(history):
    views, poses, _ = sequence()
    memory = FrameMemory(views[:, :2], poses[:, :2], torch.tensor([[False, True], [False, False]]))
    broken = FrameMemory(views[:, :2].clone(), poses[:, :2].clone(), memory.known)
    broken.view[:, 0], broken.pose[:, 0], broken.view[1], broken.pose[1] = torch.nan, torch.nan, 1e30, torch.inf
    now = views[:, 3], poses[:, 3], torch.ones(ROWS, dtype=torch.bool)
    assert torch.equal(history(*now, memory), history(*now, broken))
    blind = history(views[:, 3], poses[:, 3], ~now[2], memory)
    torch.testing.assert_close(blind, history(*now, history.initial_state(ROWS)))


@torch.no_grad()
def test_what_stands_still_is_read_at_its_place_and_not_where_it_was_seen(history):
    """The car has driven two cells forward: a past view moved by that is the same as one seen from here."""
    seen = torch.zeros(1, DIM, 8, 8)
    seen[:, :, 2, 4] = 1.0
    moved = torch.zeros(1, DIM, 8, 8)
    moved[:, :, 4, 4] = 1.0
    now, here = torch.zeros(1, DIM, 8, 8), torch.tensor([[4.0, 0.0, 0.0]])
    known = torch.ones(1, dtype=torch.bool)

    def read(view: torch.Tensor, pose: torch.Tensor) -> torch.Tensor:
        return history(now, here, known, history.initial_state(1).pushed(view, pose, known))

    driven, stood = read(seen, torch.zeros(1, 3)), read(moved, here)
    covered = slice(2, 8)  # what has come into view since then has no past
    torch.testing.assert_close(driven[:, :, covered], stood[:, :, covered])
    assert not torch.allclose(driven[:, :, covered], read(seen, here)[:, :, covered])


def test_rows_are_reset_by_themselves(history):
    views, poses, known = sequence()
    memory = history.initial_state(ROWS).pushed(views[:, 1], poses[:, 1], known[:, 1])
    after = memory.reset(torch.tensor([True, False]))
    assert not after.known[0].any()
    assert after.view[0].abs().sum() == 0
    assert torch.equal(after.view[1], memory.view[1])
