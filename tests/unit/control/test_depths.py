import numpy as np
import pytest

from tempovla.control.depths import as_depth
from tempovla.control.observations import Reads, read_observation
from tempovla.timeline import Embodiment, Window
from tempovla.transform.depth import ResizeDepth
from tempovla.transform.pipeline import TransformPipeline

KEY, STATE = "observation.depth.front", "observation.state"
METRES = np.linspace(0.5, 1.5, 12).reshape(3, 4)


@pytest.mark.parametrize("given", [METRES, METRES[..., None], METRES[None], METRES.astype(np.float32)[..., None]])
def test_one_picture_may_have_its_channel_first_last_or_not_at_all(given):
    depth = as_depth(KEY, given)
    assert (depth.shape, depth.dtype) == ((3, 4, 1), np.float32)
    np.testing.assert_array_equal(depth[..., 0], METRES.astype(np.float32))


@pytest.mark.parametrize("axis", [1, 3])
def test_a_batch_has_one_more_axis(axis):
    batch = np.expand_dims(np.stack([METRES, 2 * METRES]), axis)
    np.testing.assert_array_equal(as_depth(KEY, batch)[1, ..., 0], (2 * METRES).astype(np.float32))


def test_what_is_not_finite_is_no_reading():
    assert as_depth(KEY, np.array([[np.nan, np.inf, 1.0]]))[..., 0].tolist() == [[0.0, 0.0, 1.0]]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (np.ones((3, 4), np.uint16), r"'observation\.depth\.front' is \(3, 4\) uint16, whose unit is not known; give"),
        (np.ones((2, 3, 4)), r"is \(2, 3, 4\) float64, without an axis of one channel; give floats \(height, width"),
        (np.ones(3), r"is \(3,\) float64; give floats"),
        (np.ones((0, 4, 1)), r"is \(0, 4, 1\) float64; give floats"),
        (-METRES, r"holds -1\.5 m; give floats"),
    ],
)
def test_what_is_no_depth_is_refused_in_one_line(given, told):
    with pytest.raises(ValueError, match=told) as error:
        as_depth(KEY, given)
    assert "\n" not in str(error.value)


def test_a_policy_that_reads_depth_takes_it_from_observations():
    windows, body = (Window(STATE, (0,)), Window(KEY, (0,))), Embodiment("arm", 2, 3, 10.0)
    reads = Reads.of(windows, windows, TransformPipeline([ResizeDepth((KEY,), 2)]), body)
    assert reads.depths == {KEY}
    rows = read_observation({STATE: np.zeros(2), KEY: METRES}, reads)
    assert not rows.is_batch
    assert rows.streams[0][KEY].shape == (3, 4, 1)
    both = read_observation({STATE: np.zeros((2, 2)), KEY: np.stack([METRES, METRES])[:, None]}, reads)
    assert [row[KEY].shape for row in both.streams] == [(3, 4, 1)] * 2
    with pytest.raises(ValueError, match=r"lacks \['observation\.depth\.front'\]"):
        read_observation({STATE: np.zeros(2)}, reads)
    blind = Reads.of(windows, windows, TransformPipeline([ResizeDepth((KEY,), 2, blank=True)]), body)
    assert blind.required == (STATE,)
