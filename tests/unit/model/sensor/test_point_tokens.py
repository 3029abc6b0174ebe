import math

import pytest
import torch

from tempovla.model.sensor.config import PointTokensConfig
from tempovla.model.sensor.point_tokens import PointTokens, fourier_code, patch_means


def test_the_code_holds_the_point_and_waves_of_doubling_number():
    code = fourier_code(torch.tensor([[0.5, 0.0, -1.0]]), num_bands=2, extent=2.0)[0]
    assert code.shape == (3 + 6 * 2,)
    assert code[:3].tolist() == [0.25, 0.0, -0.5]
    waves = [math.pi * 0.25, 2 * math.pi * 0.25, 0.0, 0.0, -math.pi * 0.5, -2 * math.pi * 0.5]
    assert code[3:9].tolist() == pytest.approx([math.sin(wave) for wave in waves], abs=1e-6)
    assert code[9:].tolist() == pytest.approx([math.cos(wave) for wave in waves], abs=1e-6)


def test_patches_are_averaged_over_valid_pixels_row_by_row():
    values = torch.arange(16.0).reshape(1, 1, 4, 4)
    valid = torch.ones(1, 4, 4, dtype=torch.bool)
    valid[0, 0, 0] = valid[0, 2:, 2:] = False
    values[0, 0, 2:, 2:] = torch.nan
    means, share = patch_means(values, valid, 2)
    assert means[0, :, 0].tolist() == pytest.approx([(1 + 4 + 5) / 3, 4.5, 10.5, 0.0])
    assert share[0].tolist() == [0.75, 1.0, 1.0, 0.0]


@pytest.mark.parametrize("size", [(5, 7), (2, 2), (48, 64)])
def test_pictures_of_any_size_give_the_same_number_of_tokens(size):
    tokens = PointTokens(PointTokensConfig(grid=3, output_dim=4, hidden_dim=4, num_bands=1))
    points = torch.full((2, 1, 3, *size), 0.5)
    found = tokens(points, points[:, :, 0], torch.ones(2, 1, *size, dtype=torch.bool), frame="camera", scale="metric")
    assert found.features.shape == (2, 1, 9, 4)
    assert torch.allclose(found.points, torch.tensor(0.5))
    assert found.confidence.tolist() == [[[1.0] * 9]] * 2


def test_patches_with_too_few_readings_do_not_count():
    tokens = PointTokens(PointTokensConfig(grid=1, output_dim=4, hidden_dim=4, num_bands=1, min_valid_share=0.5))
    points, valid = torch.ones(1, 1, 3, 2, 2), torch.tensor([[[[True, False], [False, False]]]])
    found = tokens(points, points[:, :, 0], valid, frame="camera", scale="metric")
    assert not found.token_mask.any()
    assert not found.features.any()
    assert (found.points.abs().sum(), found.confidence.sum()) == (0, 0)
