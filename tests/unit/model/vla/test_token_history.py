import pytest
import torch
from tests import drives

from tempovla.model.vla.frame_history import FrameMemory
from tempovla.model.vla.token_history import TokenHistory
from tempovla.timeline.frames import FrameIndex

ROWS, STEPS, COUNT, WIDTH = 2, 7, 3, 4


@pytest.fixture(params=["lstm", "transformer"])
def history(request):
    torch.manual_seed(0)
    return TokenHistory(drives.tiny_temporal(encoder_type=request.param), COUNT, WIDTH).eval()


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def sequence() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Tokens, poses and which are known, of two rows; the second one has gaps."""
    known = torch.ones(ROWS, STEPS, dtype=torch.bool)
    known[1, [0, 3]] = False
    return random(ROWS, STEPS, COUNT, WIDTH), random(ROWS, STEPS, 3, seed=1), known


@torch.no_grad()
def test_step_by_step_equals_the_whole_sequence(history):
    tokens, poses, known = sequence()
    index = FrameIndex.where(torch.ones(ROWS, STEPS, dtype=torch.bool), range(STEPS))
    whole = index.scatter(history.sequence(tokens, poses, known, index), ROWS)
    memory = history.initial_state(ROWS)
    for step in range(STEPS):
        now = tokens[:, step], poses[:, step], known[:, step]
        torch.testing.assert_close(history(*now, memory), whole[:, step])
        memory = memory.pushed(*now)


@torch.no_grad()
def test_what_is_unknown_changes_nothing(history):
    tokens, poses, _ = sequence()
    memory = FrameMemory(tokens[:, :2], poses[:, :2], torch.tensor([[False, True], [False, False]]))
    broken = FrameMemory(tokens[:, :2].clone(), poses[:, :2].clone(), memory.known)
    broken.view[:, 0], broken.pose[:, 0], broken.view[1], broken.pose[1] = torch.nan, torch.nan, 1e30, torch.inf
    now = tokens[:, 3], poses[:, 3], torch.ones(ROWS, dtype=torch.bool)
    assert torch.equal(history(*now, memory), history(*now, broken))
    blind = history(tokens[:, 3], poses[:, 3], ~now[2], memory)
    torch.testing.assert_close(blind, history(*now, history.initial_state(ROWS)))


@torch.no_grad()
def test_each_token_has_a_past_of_its_own_which_knows_how_far_the_car_has_driven(history):
    now, here, known = random(1, COUNT, WIDTH), torch.tensor([[4.0, 1.0, 0.5]]), torch.ones(1, dtype=torch.bool)
    past = random(1, COUNT, WIDTH, seed=1)

    def read(tokens: torch.Tensor, pose: torch.Tensor) -> torch.Tensor:
        return history(now, here, known, history.initial_state(1).pushed(tokens, pose, known))

    driven = read(past, torch.zeros(1, 3))
    assert not torch.allclose(driven, read(past, here))
    changed = past.clone()
    changed[:, 1] += 1.0
    same = (driven == read(changed, torch.zeros(1, 3))).all(dim=-1)
    assert same.tolist() == [[True, False, True]]


@torch.no_grad()
def test_where_both_poses_lie_matters_only_by_the_motion_between_them(history):
    """Turning and moving the frame of the poses changes nothing."""
    now, past, known = random(1, COUNT, WIDTH), random(1, COUNT, WIDTH, seed=1), torch.ones(1, dtype=torch.bool)
    before, here = torch.tensor([[0.0, 0.0, 0.0]]), torch.tensor([[3.0, 1.0, 0.2]])
    turned_before, turned_here = torch.tensor([[5.0, 7.0, 1.5707964]]), torch.tensor([[4.0, 10.0, 1.7707964]])
    one = history(now, here, known, history.initial_state(1).pushed(past, before, known))
    other = history(now, turned_here, known, history.initial_state(1).pushed(past, turned_before, known))
    torch.testing.assert_close(one, other)
