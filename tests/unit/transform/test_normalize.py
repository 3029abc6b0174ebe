import json

import numpy as np
import pytest
import torch

from tempovla.timeline import ActionChunk, Context, Embodiment, Task, Track
from tempovla.transform.normalize import NormalizationConfig, Normalize

STATISTICS = {
    "action": {
        "mean": np.array([1.0, -2.0, 5.0]),
        "std": np.array([2.0, 0.5, 0.0]),
        "min": np.array([-3.0, -4.0, 5.0]),
        "max": np.array([5.0, 0.0, 5.0]),
        "q01": np.array([-1.0, -3.0, 5.0]),
        "q99": np.array([3.0, -1.0, 5.0]),
    }
}
ACTION = torch.tensor([[[1.0, -2.0, 5.0], [5.0, 0.0, 6.0], [-3.0, -4.0, 4.0]]])


def fit(mode, keep=(), statistics=STATISTICS):
    return Normalize.fit(statistics, {"action": NormalizationConfig(mode, keep)})


def forward(transform, value, key="action"):
    task = (Task("open", Embodiment("arm", 1, 3, 10.0)),) * len(value)
    context = Context({}, {}, task, torch.zeros(len(value), dtype=torch.bool))
    _, future = transform.forward(context, {key: Track.of(value, range(value.shape[1]))})
    return future[key].value


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("mean_std", [[0.0, 0.0, 0.0], [2.0, 4.0, 1.0], [-2.0, -4.0, -1.0]]),
        ("min_max", [[0.0, 0.0, 0.0], [1.0, 1.0, 1.0], [-1.0, -1.0, -1.0]]),
        ("quantile", [[0.0, 0.0, 0.0], [2.0, 2.0, 1.0], [-2.0, -2.0, -1.0]]),
    ],
)
def test_values_of_each_mode_where_a_constant_dimension_is_only_centred(mode, expected):
    assert forward(fit(mode), ACTION)[0].tolist() == expected


@pytest.mark.parametrize("mode", ["mean_std", "min_max", "quantile"])
def test_the_inverse_brings_actions_back(mode):
    transform = fit(mode, keep=(1,))
    normalized = forward(transform, ACTION)
    restored = transform.inverse(ActionChunk(normalized, torch.ones(1, 3, dtype=torch.bool), torch.arange(3)))
    torch.testing.assert_close(restored.value, ACTION, rtol=0, atol=1e-6)


def test_kept_dimensions_are_left_alone():
    normalized = forward(fit("mean_std", keep=(0, 2)), ACTION)
    assert torch.equal(normalized[..., [0, 2]], ACTION[..., [0, 2]])
    assert normalized[0, :, 1].tolist() == [0.0, 4.0, -4.0]


def test_fitting_leaves_the_statistics_of_the_dataset_untouched():
    statistics = {"action": {name: array.copy() for name, array in STATISTICS["action"].items()}}
    for mode in ("mean_std", "min_max", "quantile"):
        fit(mode, keep=(0, 1, 2), statistics=statistics)
    for name, array in STATISTICS["action"].items():
        assert np.array_equal(statistics["action"][name], array)


def test_variation_below_what_float32_resolves_counts_as_constant():
    statistics = {"action": {"mean": np.array([20000.0, 0.5]), "std": np.array([1e-3, 1e-3])}}
    assert fit("mean_std", statistics=statistics).scale["action"].tolist() == pytest.approx([1.0, 1e-3])


def test_streams_without_a_config_pass_through():
    value = torch.ones(2, 1, 4)
    assert forward(fit("mean_std"), value, key="observation.state") is value
    chunk = ActionChunk(value, torch.ones(2, 1, dtype=torch.bool), torch.arange(1))
    assert Normalize({}, {}).inverse(chunk) is chunk


def test_integers_become_floats():
    assert forward(fit("mean_std"), ACTION.long()).dtype == torch.float32


def test_missing_statistics_are_refused():
    with pytest.raises(ValueError, match=r"stream 'action' has no statistic 'q01' for mode 'quantile'"):
        fit("quantile", statistics={"action": {"mean": np.zeros(3), "std": np.ones(3)}})
    with pytest.raises(
        ValueError,
        match=r"stream 'action' has no statistic 'mean' .*\(it has \[\]\); .*tempovla data stats",
    ):
        fit("mean_std", statistics={})


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_statistics_that_are_not_finite_are_refused(bad):
    with pytest.raises(ValueError, match=r"'action': statistic 'mean' is not finite"):
        fit("mean_std", statistics={"action": {"mean": np.array([0.0, bad]), "std": np.ones(2)}})


def test_a_dimension_to_keep_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match=r"stream 'action' has 3 dimensions, but keep names \[3, -1\]; correct keep"):
        fit("mean_std", keep=(0, 3, -1))


def test_other_dimensions_than_fitted_are_refused():
    with pytest.raises(ValueError, match="stream 'action' has 2 dimensions, its statistics 3"):
        forward(fit("mean_std"), torch.zeros(1, 1, 2))


def test_json_round_trip_is_exact():
    transform = Normalize.fit(
        {"action": {"mean": np.array([0.1, 1 / 3]), "std": np.array([1e-5, 7.7])}}, {"action": NormalizationConfig()}
    )
    restored = Normalize.from_json(json.loads(json.dumps(transform.to_json())))
    assert torch.equal(restored.offset["action"], transform.offset["action"])
    assert torch.equal(restored.scale["action"], transform.scale["action"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda saved: saved["scale"].pop("action"), "'action' has different numbers of offsets and scales"),
        (lambda saved: saved["scale"].update(action=[1.0]), "'action' has different numbers of offsets and scales"),
        (
            lambda saved: saved["scale"].update(action=[1.0, 0.0, 1.0]),
            "'action' divides dimension 1 by 0, which",
        ),
        (lambda saved: saved["scale"].update(action=[1.0, 1.0, -2.5]), "'action' divides dimension 2 by -2.5, which"),
        (
            lambda saved: saved["offset"].update(action=[1e30, 0.0, 0.0]),
            r"'action' has offset 1e\+30 in dimension 0",
        ),
        (lambda saved: saved["scale"].update(action=[1.0, 1e30, 1.0]), r"'action' has scale 1e\+30 in dimension 1"),
        (
            lambda saved: saved["scale"].update(action=[1.0, float("nan"), 1.0]),
            "'action' has scale .1.0, nan, 1.0., not",
        ),
        (
            lambda saved: saved["offset"].update(action=["a", 0.0, 1.0]),
            "'action' has offset .'a', 0.0, 1.0., not a list",
        ),
        (lambda saved: saved["offset"].update(action=None), "'action' has offset None, not a list of numbers"),
    ],
)
def test_what_was_saved_and_is_damaged_is_refused(change, message):
    saved = json.loads(json.dumps(fit("mean_std").to_json()))
    change(saved)
    with pytest.raises(ValueError, match=f"normalisation of {message}"):
        Normalize.from_json(saved)
