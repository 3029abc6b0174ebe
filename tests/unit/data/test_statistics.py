"""Statistics of parts join to those of the whole."""

from pathlib import Path

import numpy as np
from tests.recordings import ACTION, STATE, record

from tempovla.data.lerobot import open_dataset
from tempovla.data.statistics import aggregate, compute, of_images, of_values


def test_joined_statistics_equal_those_of_all_values() -> None:
    generator = np.random.default_rng(0)
    parts = [generator.normal(i, 1 + i, size=(50 + 10 * i, 3)) for i in range(3)]
    joined = aggregate([{"a": of_values(part)} for part in parts])["a"]
    whole = of_values(np.concatenate(parts))
    for name in ("min", "max", "mean", "std", "count"):
        np.testing.assert_allclose(joined[name], whole[name])


def test_joined_quantiles_are_weighted_by_count() -> None:
    low, high = {"a": of_values(np.zeros((10, 1)))}, {"a": of_values(np.ones((30, 1)))}
    np.testing.assert_allclose(aggregate([low, high])["a"]["q50"], [0.75])


def test_image_statistics_equal_those_of_the_pixels() -> None:
    images = np.random.default_rng(0).integers(10, 200, (20, 8, 12, 3), dtype=np.uint8)
    images[..., 1] //= 2
    found = of_images(images)
    pixels = of_values(images.reshape(-1, 3) / 255.0)
    for name in ("min", "max", "mean", "std"):
        assert found[name].shape == (3, 1, 1)
        np.testing.assert_allclose(found[name].ravel(), pixels[name])
    for name in ("q01", "q10", "q50", "q90", "q99"):
        np.testing.assert_allclose(found[name].ravel(), pixels[name], atol=1.01 / 255)
    assert found["count"] == [20]


def test_long_and_large_recordings_are_thinned_out() -> None:
    images = np.zeros((1000, 4, 4, 3), dtype=np.uint8)
    assert of_images(images)["count"] == [177]
    large = np.zeros((2, 480, 640, 3), dtype=np.uint8)
    large[:, 1::4, 1::4] = 255  # between the pixels that are looked at
    assert of_images(large)["max"].max() == 0


def test_computed_statistics_are_exact_over_the_chosen_episodes(tmp_path: Path) -> None:
    episodes = record(tmp_path / "set")
    found = compute(open_dataset(tmp_path / "set"), [ACTION, STATE], episodes=[0, 2])
    chosen = np.concatenate([episodes[0][ACTION], episodes[2][ACTION]]).astype(np.float64)
    np.testing.assert_allclose(found[ACTION]["q99"], np.quantile(chosen, 0.99, axis=0))
    np.testing.assert_allclose(found[ACTION]["mean"], chosen.mean(axis=0))
    assert found[STATE]["count"] == [21]
