import numpy as np
import pytest
import torch

from tempovla.model.sensor.bev import BEVGridConfig
from tempovla.model.sensor.bev_cells import cell_centres, cell_indices

GRID = BEVGridConfig(x_min=-2.0, x_max=4.0, y_min=-1.5, y_max=1.5, z_min=0.0, z_max=2.0, resolution=0.5)


def test_rows_run_backward_and_columns_to_the_right():
    assert (GRID.rows, GRID.columns) == (12, 6)
    points = torch.tensor([[3.9, 1.4, 1.0], [3.9, -1.4, 1.0], [-1.9, 1.4, 1.0], [0.1, 0.1, 0.0]])
    cells, inside = cell_indices(GRID, points)
    assert inside.all()
    assert cells.tolist() == [0, 5, 66, 7 * 6 + 2]


def test_points_beside_above_or_below_the_grid_and_invalid_ones_are_in_no_cell():
    points = torch.tensor([[4.1, 0, 1], [-2.1, 0, 1], [0, 1.6, 1], [0, -1.6, 1], [0, 0, 2.0], [0, 0, -0.1]])
    points = torch.cat([points, torch.tensor([[torch.nan, 0, 1], [0, torch.inf, 1], [0.0, 0, 1]])])
    valid = torch.tensor([True] * 8 + [False])
    cells, inside = cell_indices(GRID, points, valid)
    assert not inside.any()
    assert not cells.any()


def test_the_centre_of_every_cell_lies_in_it_and_coordinates_go_back_and_forth():
    centres = cell_centres(GRID)
    cells, inside = cell_indices(GRID, centres)
    assert inside.all()
    assert cells.flatten().tolist() == list(range(GRID.num_cells))
    x, y = np.array([1.25, -0.75]), np.array([0.3, -1.1])
    back = GRID.to_world(*GRID.to_grid(x, y))
    assert np.allclose(back, (x, y))
    assert GRID.to_world(0.5, 0.5) == (3.75, 1.25)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"resolution": 0.0}, "grid.resolution=0.0"),
        ({"x_min": 50.0}, "grid.x_min=50.0 must be below grid.x_max=48.0"),
        ({"z_max": float("nan")}, "grid.z_max=nan"),
        ({"resolution": 0.7}, "whole number of cells"),
    ],
)
def test_grids_that_are_none_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        BEVGridConfig(**wrong)
