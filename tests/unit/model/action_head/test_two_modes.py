"""Two ways lead round an obstacle and the features do not say which: who learns both, and who the mean of them."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).resolve().parents[4] / "benchmarks" / "two_modes.py"
TRAINING = {
    "Gaussian mixture": {"steps": 250, "batch": 64},
    "diffusion, U-Net": {"steps": 80, "batch": 64, "rate": 6e-3},
    "diffusion, transformer": {"steps": 100, "batch": 128},
    "flow matching": {"steps": 250, "batch": 128},
    "transformer, mixtures": {"steps": 200, "batch": 64},
    "transformer, bins": {"steps": 150, "batch": 64, "rate": 6e-3},
}
"""After which a head answers as it should by some margin, whatever the seed."""


@pytest.fixture(scope="module")
def two_modes() -> Iterator[ModuleType]:
    """The benchmark, which draws the figure in the docs."""
    spec = importlib.util.spec_from_file_location("two_modes", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["two_modes"] = module  # its dataclass looks itself up there
    spec.loader.exec_module(module)
    yield module
    del sys.modules["two_modes"]


@pytest.mark.slow
@pytest.mark.parametrize("head", TRAINING)
def test_heads_that_model_the_distribution_take_either_way(two_modes, head):
    result = two_modes.measure(head, count=400, **TRAINING[head])
    assert result.near >= 0.9
    assert 0.25 <= result.right <= 0.75


@pytest.mark.slow
def test_regression_answers_the_mean_of_both_ways_whose_error_is_the_spread_between_them(two_modes):
    result = two_modes.measure("MLP", 300)
    assert result.near == 0.0
    assert result.chunks[..., 0].abs().mean() < 0.2
    best = two_modes.BEST_CONSTANT_MSE
    assert result.mse == pytest.approx(best, rel=0.05)
    assert best == pytest.approx(0.8**2 / 2 + 0.05**2)  # the sideways half of the entries is 0.8 from the mean


@pytest.mark.slow
def test_a_single_gaussian_covers_both_ways_and_what_lies_between(two_modes):
    result = two_modes.measure("Gaussian", 300)
    assert result.near < 0.2
    assert result.chunks[..., 0].std() == pytest.approx(0.8, rel=0.15)
