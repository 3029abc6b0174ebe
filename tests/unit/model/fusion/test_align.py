import itertools
import math

import pytest
import torch

from tempovla.model.fusion.align import align_bev, relative_motion
from tempovla.model.sensor.bev import BEVGridConfig
from tempovla.model.sensor.bev_cells import cell_indices

GRID = BEVGridConfig(x_min=-16.0, x_max=32.0, y_min=-24.0, y_max=24.0, resolution=1.0)


def in_frame(pose: torch.Tensor, point: torch.Tensor) -> torch.Tensor:
    """A point (2,) of the common frame in that of a pose (3,)."""
    return relative_motion(pose, torch.cat([point, pose[2:]]))[:2]


def drawn(place: torch.Tensor) -> torch.Tensor:
    """A map (1, 1, H, W) with a 1 in the cell of a place."""
    cell, inside = cell_indices(GRID, place)
    assert inside
    return torch.zeros(1, GRID.num_cells, dtype=place.dtype).index_fill(1, cell.view(1), 1.0).view(1, 1, 48, 48)


def test_a_pose_in_the_frame_of_another():
    past, now = torch.tensor([1.0, 2.0, math.pi / 2]), torch.tensor([1.0, 5.0, -math.pi * 0.75])
    assert relative_motion(past, now).tolist() == pytest.approx([3.0, 0.0, math.pi * 0.75], abs=1e-6)


def test_whole_cells_ahead_move_a_map_exactly_and_what_comes_new_is_not_known():
    bev = torch.randn(2, 3, 48, 48, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    moved, known = align_bev(bev, torch.tensor([[3.0, -2.0, 0.0]] * 2, dtype=torch.float64), GRID)
    # The vehicle has gone 3 m ahead and 2 m to the right: things are 3 rows nearer to the rear and 2 columns left.
    assert torch.allclose(moved[:, :, 3:, :46], bev[:, :, :45, 2:], rtol=0, atol=1e-9)
    assert known[:, 3:, :46].all()
    assert not known[:, :3].any()
    assert not known[:, :, 46:].any()
    assert not moved[:, :, :3].any()


def test_standing_still_changes_nothing():
    bev = torch.randn(1, 2, 48, 48, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    moved, known = align_bev(bev, torch.zeros(1, 3, dtype=torch.float64), GRID)
    assert known.all()
    assert torch.allclose(moved, bev, rtol=0, atol=1e-9)


@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
def test_a_static_point_stays_in_its_cell_over_several_motions(mode):
    point = torch.tensor([12.5, 3.5], dtype=torch.float64)
    poses = [torch.tensor([2.0 * k, 0.15 * k * k, 0.12 * k], dtype=torch.float64) for k in range(5)]
    newest = poses[-1]
    for pose in poses:
        moved, known = align_bev(drawn(in_frame(pose, point)), relative_motion(pose, newest)[None], GRID, mode=mode)
        row, column = divmod(int(moved.flatten().argmax()), GRID.columns)
        exact = GRID.to_grid(*in_frame(newest, point).tolist())
        # What was drawn was the middle of a cell, and what is found is one: each at most half a diagonal away.
        assert math.dist((row + 0.5, column + 0.5), exact) <= math.sqrt(2) + 1e-9
        assert known[0, row, column]


def middle(bev: torch.Tensor) -> tuple[float, float]:
    """Row and column coordinates of the centre of mass of a map (1, 1, H, W)."""
    rows, columns = torch.arange(48, dtype=bev.dtype) + 0.5, torch.arange(48, dtype=bev.dtype) + 0.5
    return float(bev[0, 0].sum(dim=1) @ rows / bev.sum()), float(bev[0, 0].sum(dim=0) @ columns / bev.sum())


def test_the_middle_of_a_static_thing_stays_within_a_hundredth_of_a_cell_step_by_step_and_at_once():
    place = torch.tensor([14.0, 2.0], dtype=torch.float64)
    poses = [torch.tensor([1.7 * k, 0.1 * k * k, 0.06 * k], dtype=torch.float64) for k in range(5)]
    row, column = GRID.to_grid(*in_frame(poses[0], place).tolist())
    rows, columns = torch.meshgrid(*[torch.arange(48, dtype=torch.float64) + 0.5] * 2, indexing="ij")
    oldest = torch.exp(-((rows - row) ** 2 + (columns - column) ** 2) / 8)[None, None]
    step_by_step = oldest
    for past, now in itertools.pairwise(poses):
        step_by_step, _ = align_bev(step_by_step, relative_motion(past, now)[None], GRID)
        expected = GRID.to_grid(*in_frame(now, place).tolist())
        assert middle(step_by_step) == pytest.approx(expected, abs=0.01)
        at_once, _ = align_bev(oldest, relative_motion(poses[0], now)[None], GRID)
        assert middle(at_once) == pytest.approx(expected, abs=0.01)


def test_motions_one_after_the_other_are_their_composition():
    poses = [torch.tensor([2.0 * k, 1.0 * k, 0.0], dtype=torch.float64) for k in range(4)]
    place = torch.tensor([15.5, 6.5], dtype=torch.float64)
    step_by_step = drawn(place)
    for past, now in itertools.pairwise(poses):
        step_by_step, _ = align_bev(step_by_step, relative_motion(past, now)[None], GRID)
    at_once, _ = align_bev(drawn(place), relative_motion(poses[0], poses[-1])[None], GRID)
    assert torch.allclose(step_by_step, at_once, rtol=0, atol=1e-9)
    assert torch.allclose(at_once, drawn(in_frame(poses[-1], place)), rtol=0, atol=1e-9)


def test_cells_that_were_not_known_stay_unknown_and_change_nothing():
    bev = torch.randn(1, 1, 48, 48, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    valid = torch.rand(1, 48, 48, generator=torch.Generator().manual_seed(1)) > 0.3
    motion = torch.tensor([[1.3, 0.2, 0.1]], dtype=torch.float64)
    moved, known = align_bev(bev, motion, GRID, valid)
    hidden, known_again = align_bev(bev.where(valid[:, None], torch.nan), motion, GRID, valid)
    assert torch.equal(moved, hidden)
    assert torch.equal(known, known_again)
    assert not moved[:, 0][~known].any()
    assert 0.5 < known.float().mean() < 0.75


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match=r"bev \(1, 1, 4, 4\)"):
        align_bev(torch.zeros(1, 1, 4, 4), torch.zeros(1, 3), GRID)
