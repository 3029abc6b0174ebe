import math

import pytest
import torch

from tempovla.timeline import Context, Embodiment, Task, TimelineSample, Track
from tempovla.timeline.laws.perturb import fill_invalid, has_gaps, scramble, with_gaps

VALID = torch.tensor([[True, False]])


def sample():
    state = Track.of(torch.zeros(40, 5, 2), range(-4, 1))
    task = (Task("open", Embodiment("arm", 2, 2, 10.0)),) * 40
    context = Context({}, {"state": state}, task, torch.zeros(40, dtype=torch.bool))
    return TimelineSample(context, {}, torch.zeros(40, dtype=torch.int64))


def test_fill_changes_only_what_is_invalid():
    filled = fill_invalid(Track.of(torch.ones(1, 2, 2), (0, 1), VALID), math.nan)
    assert filled.value[0, 0].tolist() == [1.0, 1.0]
    assert filled.value[0, 1].isnan().all()


@pytest.mark.parametrize(("dtype", "largest"), [(torch.uint8, 255), (torch.int64, 2**63 - 1), (torch.bool, 1)])
@pytest.mark.parametrize("fill", [math.nan, math.inf, 1e30])
def test_integers_take_the_largest_they_hold(dtype, largest, fill):
    assert fill_invalid(Track.of(torch.zeros(1, 2, dtype=dtype), (0, 1), VALID), fill).value.tolist() == [[0, largest]]
    assert fill_invalid(Track.of(torch.ones(1, 2, dtype=dtype), (0, 1), VALID), 0.0).value.tolist() == [[1, 0]]


def test_gaps_are_about_the_fraction_asked_for_and_keep_values():
    gappy = with_gaps(sample(), fraction=0.25).context.now["state"]
    assert 0.15 < (~gappy.valid).float().mean() < 0.35
    assert torch.equal(gappy.value, sample().context.now["state"].value)
    assert not has_gaps(sample())
    assert has_gaps(with_gaps(sample()))


@pytest.mark.parametrize("dtype", [torch.float32, torch.uint8, torch.int64])
def test_scrambled_values_are_other_finite_values(dtype):
    tracks = {
        "image": Track.of(torch.ones(2, 3, 4, dtype=dtype), (0, 1, 2)),
        "action": Track.of(torch.ones(2, 1), (0,)),
    }
    other = scramble(tracks, except_keys=("action",))
    assert (other["image"].value != 1).float().mean() > 0.9
    assert other["image"].value.dtype == dtype
    assert other["image"].value.float().isfinite().all()
    assert other["action"] is tracks["action"]
