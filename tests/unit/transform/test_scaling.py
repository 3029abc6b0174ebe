"""Scales that neither vanish nor blow up noise."""

import numpy as np
import pytest

from tempovla.transform.scaling import fit_scaling


def described(columns: dict[str, np.ndarray]) -> tuple[dict[str, np.ndarray], list[str]]:
    values = np.stack(list(columns.values()), axis=1)
    low, high = np.quantile(values, [0.01, 0.99], axis=0)
    return {
        "mean": values.mean(axis=0),
        "std": values.std(axis=0),
        "min": values.min(axis=0),
        "max": values.max(axis=0),
        "q01": low,
        "q99": high,
    }, list(columns)


STEP = np.arange(1000)
MOVING = np.sin(0.1 * STEP)
NOISE = 2e-4 * np.sin(1.7 * STEP)


@pytest.mark.parametrize("mode", ["mean_std", "min_max", "quantile"])
def test_a_joint_that_is_held_still_has_a_floor_and_is_named(mode) -> None:
    statistics, names = described({"lift": MOVING, "wrist": 1.569 + NOISE, "fixed": np.full(1000, 0.5)})
    scaling = fit_scaling("observation.state", statistics, mode, names=names)
    assert scaling.scale[1] == pytest.approx(1.569e-3, rel=1e-2)
    assert scaling.scale[2] == 1.0
    assert scaling.scale[0] == pytest.approx(MOVING.std() if mode == "mean_std" else 1.0, rel=1e-2)
    assert len(scaling.notes) == 1
    assert "'observation.state' dimension 1 (wrist) hardly varies" in scaling.notes[0]
    assert "divided by 0.00157" in scaling.notes[0]


def test_noise_around_zero_has_a_floor() -> None:
    statistics, _ = described({"lift": MOVING, "slide": MOVING, "idle": NOISE / 20})
    scaling = fit_scaling("action", statistics, "mean_std")
    assert scaling.scale[2] == pytest.approx(MOVING.std() / 1000)
    assert len(scaling.notes) == 1


def test_degrees_have_a_floor_too() -> None:
    statistics, _ = described({"a": 40 * MOVING, "b": 90 + 100 * NOISE, "gripper in m": 0.02 + 0.02 * MOVING})
    scaling = fit_scaling("action", statistics, "mean_std")
    assert scaling.scale.tolist() == pytest.approx([(40 * MOVING).std(), 0.09002, (0.02 * MOVING).std()], rel=1e-3)


@pytest.mark.parametrize("mode", ["mean_std", "min_max", "quantile"])
@pytest.mark.parametrize(
    "columns",
    [
        {"x": 0.4 + 0.005 * MOVING, "joint": MOVING, "gripper": np.sign(MOVING)},  # a range of 0.01 m
        {"dx": 5e-4 * MOVING, "dy": 2e-4 * np.cos(STEP), "dz": 1e-4 * MOVING, "gripper": np.sign(MOVING)},
        {"east": 500_000 + 50 * MOVING, "north": 4_000_000 + 80 * MOVING, "heading": MOVING},
        {"only": 1.569 + NOISE},
    ],
)
def test_honest_small_ranges_keep_their_scale(mode, columns) -> None:
    statistics, _ = described(columns)
    scaling = fit_scaling("action", statistics, mode)
    low, high = statistics["min" if mode == "min_max" else "q01"], statistics["max" if mode == "min_max" else "q99"]
    expected = statistics["std"] if mode == "mean_std" else (high - low) / 2
    np.testing.assert_array_equal(scaling.scale, expected)
    assert scaling.notes == ()


def test_a_dimension_that_rests_but_for_spikes_is_scaled_by_its_range_where_quantiles_are_equal() -> None:
    statistics, _ = described({"joint": MOVING, "trigger": np.where(STEP % 200 == 199, 4.0, 0.0)})
    scaling = fit_scaling("action", statistics, "quantile")
    assert (statistics["q01"][1], statistics["q99"][1]) == (0.0, 0.0)
    assert scaling.scale[1] == 2.0
    assert "percentile is 0" in scaling.notes[0]


def test_a_kept_dimension_is_no_measure_for_others() -> None:
    statistics, _ = described({"dx": 1e-4 * MOVING, "gripper": np.sign(MOVING)})
    scaling = fit_scaling("action", statistics, "mean_std", keep=(1,))
    assert scaling.scale.tolist() == [statistics["std"][0], 1.0]


@pytest.mark.parametrize(
    ("mean", "std"),
    [
        ([0.0, 0.6, 0.1, 0.6], [0.092, 0.107, 0.108, 0.323]),  # the demo's state
        ([0.0, 0.1, -0.1, 0.3], [0.578, 0.628, 0.657, 0.923]),  # and its actions
        ([0.05, 0.03, -0.1, 0.0, 0.0, 0.0, 0.1], [0.33, 0.38, 0.44, 0.04, 0.06, 0.08, 0.99]),  # LIBERO's
        ([0.0, 0.5, 0.0, -2.2, 0.0, 2.8, 0.8, 0.03, -0.03], [0.09, 0.2, 0.1, 0.3, 0.08, 0.3, 0.1, 0.01, 0.01]),
        ([0.2, 0.17, -0.3, -0.6, 0.1], [0.0015, 0.0028, 0.0009, 0.33, 0.14]),  # a humanoid with an arm that rests
    ],
)
def test_what_robots_record_has_no_floor(mean, std) -> None:
    statistics = {"mean": np.array(mean), "std": np.array(std)}
    scaling = fit_scaling("action", statistics, "mean_std")
    np.testing.assert_array_equal(scaling.scale, std)
    assert scaling.notes == ()


@pytest.mark.parametrize("mode", ["mean_std", "min_max", "quantile"])
@pytest.mark.parametrize(
    ("column", "step"),
    [
        (1.7e9 + 0.1 * STEP, "128"),  # seconds since 1970
        (4.5e6 + 0.5 * MOVING, "0.5"),  # metres of a map's grid
        (47.123456 + 1e-5 * MOVING, "3.81e-06"),  # degrees of latitude
    ],
)
def test_what_float32_hardly_tells_apart_is_named_and_stays_small(mode, column: np.ndarray, step: str) -> None:
    statistics, names = described({"lift": MOVING, "far": column})
    scaling = fit_scaling("observation.state", statistics, mode, names=names)
    assert len(scaling.notes) == 1
    assert "'observation.state' dimension 1 (far) varies by" in scaling.notes[0]
    assert f"the steps of float32 are {step}," in scaling.notes[0]
    assert "--data.state_key" in scaling.notes[0]
    seen = (column.astype(np.float32) - scaling.offset[1].astype(np.float32)) / scaling.scale[1]
    assert np.abs(seen).max() <= 1.0


@pytest.mark.parametrize("mode", ["mean_std", "quantile"])
@pytest.mark.parametrize("change", [{"max": 1e308}, {"min": -1e308, "max": 1e308}, {"min": -3e38}])
@pytest.mark.filterwarnings("error")
def test_ends_that_nothing_has_say_nothing_of_a_scale_that_does_not_come_from_them(mode, change) -> None:
    statistics, names = described({"lift": MOVING, "grip": 0.1 * MOVING})
    honest = fit_scaling("observation.state", statistics, mode, names=names)
    for name, value in change.items():
        statistics[name] = np.array([statistics[name][0], value])
    scaling = fit_scaling("observation.state", statistics, mode, names=names)
    assert scaling.notes == honest.notes == ()
    np.testing.assert_array_equal(scaling.scale, honest.scale)
    np.testing.assert_array_equal(scaling.offset, honest.offset)


@pytest.mark.parametrize("value", [0.0, 3.3, 1e6, 1.7e9])
def test_what_never_varies_is_centred_without_a_word(value: float) -> None:
    statistics, _ = described({"lift": MOVING, "fixed": np.full(1000, value)})
    scaling = fit_scaling("action", statistics, "mean_std")
    assert scaling.notes == ()
    assert scaling.offset[1] == pytest.approx(value)


@pytest.mark.parametrize(
    ("mode", "change", "told"),
    [
        ("mean_std", {"std": [1.0, -0.5]}, "of dimension 1 the std is -0.5, which is negative"),
        ("mean_std", {"mean": [1e30, 0.0]}, r"of dimension 0 the mean is 1e\+30, outside of all recorded values"),
        ("mean_std", {"std": [1e30, 1.0]}, r"of dimension 0 the std is 1e\+30, outside of all recorded values"),
        ("min_max", {"min": [2.0, 0.0]}, "of dimension 0 the min is 2 and max is 1"),
        ("quantile", {"q99": [1.0, -3.0]}, "of dimension 1 the q01 is -1 and q99 is -3"),
        ("mean_std", {"mean": [0.0]}, "mean has 1 dimensions and std has 2"),
    ],
)
def test_statistics_that_no_values_have_are_refused_by_stream_and_dimension(mode, change, told) -> None:
    names = {"mean": 0.0, "std": 0.5, "min": -1.0, "max": 1.0, "q01": -1.0, "q99": 1.0}
    statistics = {name: np.full(2, value) for name, value in names.items()}
    statistics |= {name: np.array(value) for name, value in change.items()}
    with pytest.raises(ValueError, match=f"stream 'action': {told}; compute .*--recompute`"):
        fit_scaling("action", statistics, mode)
