"""Timeline samples as dicts by key, and back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from tempovla.data.loader import LoaderConfig, SampleLoader, collate
from tempovla.data.memory import MemoryEpisode, MemorySource
from tempovla.data.mixture import Mixture
from tempovla.data.sampler import SampleBatch
from tempovla.data.temporal.config import TemporalDataConfig
from tempovla.data.temporal.view import TemporalView
from tempovla.timeline import Embodiment, StreamInfo, TimelineSample, Window
from tempovla.timeline.keys import ACTION_KEY, STATE_KEY
from tempovla.transform.image import ResizeImages

FRONT, WRIST = "observation.images.front", "observation.images.wrist"
LENGTH, SIDE = 6, 4
K = 2
CONFIG = TemporalDataConfig((0, K), (0, 1, 2))
KEYS = {"image", "image_t", "image_tk", "valid_tk", "temporal_delta_k", "action", "action_valid", "lang"}
EXTRAS = {"dataset", "seed", "first"}


def source(late: bool = False) -> MemorySource:
    """One episode whose every value tells its step; with `late`, the wrist's pictures end half way."""
    generator = np.random.default_rng(0)
    streams = {
        STATE_KEY: StreamInfo("state", (2,), "float32", 10.0),
        ACTION_KEY: StreamInfo("action", (1,), "float32", 10.0),
        FRONT: StreamInfo("image", (SIDE, SIDE, 3), "uint8", 10.0),
        WRIST: StreamInfo("image", (2 * SIDE, 2 * SIDE, 3), "uint8", 10.0),
    }
    values = {
        STATE_KEY: np.arange(2 * LENGTH, dtype=np.float32).reshape(LENGTH, 2),
        ACTION_KEY: 10.0 * np.arange(LENGTH, dtype=np.float32)[:, None],
        FRONT: generator.integers(0, 256, (LENGTH, SIDE, SIDE, 3), np.uint8),
        WRIST: generator.integers(0, 256, (LENGTH, 2 * SIDE, 2 * SIDE, 3), np.uint8),
    }
    clocks = {}
    if late:
        values[WRIST], clocks[WRIST] = values[WRIST][:3], np.array([0.0, 0.1, 0.2])
    episode = MemoryEpisode("go", LENGTH, values, clocks)
    return MemorySource("toy", Embodiment("toy", 2, 1, 10.0), streams, [episode])


def view(**options) -> TemporalView:
    return TemporalView(CONFIG, (FRONT, WRIST), K, SIDE, **options)


def sample(given: MemorySource, chosen: TemporalView) -> TimelineSample:
    """All steps of the episode in order."""
    batch = SampleBatch(np.zeros(LENGTH, np.int64), np.arange(LENGTH), torch.arange(LENGTH) + 5)
    return collate(Mixture([given]), chosen.windows, batch)


def rows(given: MemorySource | None = None, **options) -> list[dict]:
    chosen = view(**options)
    return chosen.rows(sample(given or source(), chosen))


def pictures(row: dict, key: str) -> list[np.ndarray]:
    assert all(isinstance(picture, Image.Image) and picture.mode == "RGB" for picture in row[key])
    return [np.array(picture) for picture in row[key]]


def test_a_view_reads_now_and_later_and_with_the_past_also_before():
    assert view().windows == (
        Window(FRONT, (0, K)),
        Window(WRIST, (0, K)),
        Window(ACTION_KEY, (0, 1, 2)),
    )
    assert view(include_state=True, include_past=True, include_later_actions=True).windows == (
        Window(STATE_KEY, (-K, 0, K)),
        Window(FRONT, (-K, 0, K)),
        Window(WRIST, (-K, 0, K)),
        Window(ACTION_KEY, (-2, -1, 0, 1, 2, 3, 4)),
    )


def test_rows_have_the_keys_and_types_of_the_contract():
    for row in rows():
        assert row.keys() == KEYS | EXTRAS
        assert row["image"] is row["image_t"]
        assert (row["lang"], row["temporal_delta_k"], row["dataset"]) == ("go", K, "")
        assert row["action"].dtype == np.float32
        assert row["action"].shape == (3, 1)
        assert row["action_valid"].dtype == np.bool_
        assert isinstance(row["valid_tk"], float)
        for key in ("image_t", "image_tk"):
            assert [picture.size for picture in row[key]] == [(SIDE, SIDE)] * 2


def test_state_is_there_if_it_is_included_and_not_otherwise():
    with_state, without = rows(include_state=True), rows()
    assert "state" not in without[0]
    for step, row in enumerate(with_state):
        assert row["state"] is row["state_t"]
        assert row["state_t"].dtype == np.float32
        assert row["state_t"].tolist() == [[2 * step, 2 * step + 1]]
        later = min(step + K, LENGTH - 1)
        assert row["state_tk"].tolist() == [[2 * later, 2 * later + 1]]


@pytest.mark.parametrize("value", ["false", 0, None])
def test_include_state_is_true_or_false_and_nothing_that_counts_as_either(value):
    with pytest.raises(ValueError, match=r"include_state=.* is neither true nor false; give True or False"):
        view(include_state=value)


def test_later_pictures_are_those_of_k_steps_later_and_the_last_one_behind_the_end():
    given = source()
    for step, row in enumerate(rows(given)):
        later = min(step + K, LENGTH - 1)
        assert row["valid_tk"] == float(step + K < LENGTH)
        for key, at in (("image_t", step), ("image_tk", later)):
            front, _ = pictures(row, key)
            np.testing.assert_array_equal(front, given.read(0, FRONT, [at]).value[0])


def test_pictures_are_resized_as_training_resizes_them():
    given = source()
    frames = torch.from_numpy(given.read(0, WRIST, [0]).value)[None]
    expected = ResizeImages(SIDE)._resize(WRIST, sample(given, view()).context.now[WRIST]).value[0, 0]
    assert frames.shape[2] == 2 * SIDE
    np.testing.assert_array_equal(pictures(rows(given)[0], "image_t")[1], expected.permute(1, 2, 0).numpy())


def test_actions_behind_the_end_are_there_and_do_not_count():
    for step, row in enumerate(rows()):
        steps = [step, step + 1, step + 2]
        assert row["action"][:, 0].tolist() == [10.0 * min(at, LENGTH - 1) for at in steps]
        assert row["action_valid"].tolist() == [at < LENGTH for at in steps]


def test_a_target_whose_stream_is_not_valid_is_none_although_it_lies_in_the_episode():
    late = source(late=True)
    seen = late.read(0, WRIST, range(LENGTH)).valid
    assert [row["valid_tk"] for row in rows(late)] == [float(at < LENGTH and seen[at]) for at in range(K, LENGTH + K)]
    assert sum(row["valid_tk"] for row in rows(late)) < LENGTH - K


def test_the_past_is_valid_where_all_of_it_was_seen_and_done():
    for step, row in enumerate(rows(include_past=True, include_state=True)):
        assert row["valid_tmk"] == float(step >= K)
        assert row["action_prev"].shape == (K, 1)
        before = max(step - K, 0)
        assert row["state_tmk"].tolist() == [[2 * before, 2 * before + 1]]
        if step >= K:
            assert row["action_prev"][:, 0].tolist() == [10.0 * (step - 2), 10.0 * (step - 1)]


def test_a_prediction_for_later_is_scored_against_the_actions_from_then_on():
    for step, row in enumerate(rows(include_later_actions=True)):
        steps = [step + K + place for place in range(3)]
        assert row["action_tk"][:, 0].tolist() == [10.0 * min(at, LENGTH - 1) for at in steps]
        assert row["action_tk_valid"].tolist() == [at < LENGTH for at in steps]


def test_without_the_step_k_every_row_has_a_picture_of_now_and_no_target():
    alone = TemporalView(TemporalDataConfig((0,), (0, 1, 2)), (FRONT,), K, SIDE)
    for row in alone.rows(sample(source(), alone)):
        assert row["valid_tk"] == 0.0
        np.testing.assert_array_equal(pictures(row, "image_tk")[0], pictures(row, "image_t")[0])


@pytest.mark.parametrize("options", [{}, {"include_state": True, "include_past": True, "include_later_actions": True}])
def test_dicts_give_the_timeline_sample_that_they_were_made_from(options):
    given, chosen = source(), view(**options)
    loaded = next(iter(SampleLoader(Mixture([given]), chosen.windows, LoaderConfig(LENGTH), seed=3)))
    made = chosen.sample(chosen.rows(loaded), given.embodiment)
    assert torch.equal(made.seed, loaded.seed)
    assert torch.equal(made.context.first, loaded.context.first)
    assert made.context.task == loaded.context.task
    resize = ResizeImages(SIDE)
    pairs = zip(resize.forward(made.context, made.future), resize.forward(loaded.context, loaded.future), strict=True)
    (context, expected_context), (future, expected_future) = pairs
    groups = ((context.past, expected_context.past), (context.now, expected_context.now), (future, expected_future))
    for group, expected in groups:
        assert group.keys() == expected.keys()
        for key, track in group.items():
            assert track.offset.tolist() == expected[key].offset.tolist()
            assert track.valid.shape == expected[key].valid.shape
            both = track.valid & expected[key].valid
            assert torch.equal(track.value[both], expected[key].value[both])
            if key == ACTION_KEY:
                assert torch.equal(track.valid[:, track.offset >= 0], expected[key].valid[:, track.offset >= 0])
    for camera in (FRONT, WRIST):
        assert torch.equal(future[camera].valid, expected_future[camera].valid)


def test_readers_prefer_the_keys_of_now_to_those_of_before():
    given, chosen = source(), view(include_state=True)
    whole = rows(given, include_state=True)
    swapped = [{**row, "image": row["image_tk"], "state": row["state_tk"]} for row in whole]
    old = [{key: row[key] for key in ("image", "state", "action", "lang", "seed")} for row in whole]
    wanted = chosen.sample(whole, given.embodiment).context.now
    for other in (swapped, old):
        found = chosen.sample(other, given.embodiment).context.now
        assert all(torch.equal(found[key].value, wanted[key].value) for key in (STATE_KEY, FRONT, WRIST))


@pytest.mark.parametrize("missing", ["image_tk", "valid_tk"])
def test_a_row_without_a_target_has_none_whatever_else_it_says(missing):
    given, chosen = source(), view()
    whole = rows(given)
    assert whole[0]["valid_tk"] == 1.0
    cut = [{key: value for key, value in whole[0].items() if key != missing}, whole[1]]
    future = chosen.sample(cut, given.embodiment).future
    for camera in (FRONT, WRIST):
        assert future[camera].valid[:, 0].tolist() == [False, True]
        if missing == "image_tk":
            assert not future[camera].value[0].any()


def test_a_state_of_later_that_is_missing_is_no_target_either():
    given, chosen = source(), view(include_state=True)
    cut = [{key: value for key, value in rows(given, include_state=True)[0].items() if key != "state_tk"}]
    assert chosen.sample(cut, given.embodiment).future[STATE_KEY].valid.tolist() == [[False]]


def test_rows_without_seeds_get_different_ones():
    chosen = view()
    bare = [{key: row[key] for key in KEYS} for row in rows()]
    seeds = chosen.sample(bare, source().embodiment).seed.tolist()
    assert len(set(seeds)) == LENGTH


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"image_t": None, "image": None}, "row 1 has no 'image_t' and no 'image'; it has"),
        ({"image_t": []}, r"row 1: image_t holds 0 pictures, but there are 2 cameras"),
        ({"image_t": [np.zeros((4, 4, 3)), np.zeros((4, 4, 3))]}, r"row 1: image_t\[0\] is float64 of shape"),
        ({"image_tk": [Image.new("RGB", (9, 9))] * 2}, r"image_tk\[0\] has the shapes .* in one batch"),
        ({"action": np.zeros((2, 1))}, r"row 1: action has shape \[2, 1\] and 3 flags"),
        ({"action": "fast"}, "row 1: action is 'fast'; give numbers"),
        ({"valid_tk": 7}, r"row 1: valid_tk is 7.0; it must be 1.0 for observed, or 0.0"),
        ({"valid_tk": float("nan")}, "row 1: valid_tk is nan"),
        ({"lang": None}, "row 1 has no 'lang'"),
    ],
)
def test_rows_that_are_no_samples_are_refused_in_one_line(changed, message):
    broken = rows()
    broken[1] = broken[1] | changed
    with pytest.raises(ValueError, match=message) as problem:
        view().sample(broken, source().embodiment)
    assert "\n" not in str(problem.value)


def test_numbers_in_a_target_that_is_none_change_nothing_that_counts():
    given, chosen = source(), view(include_state=True)
    whole = rows(given, include_state=True)
    poisoned = [row | {"state_tk": np.full((1, 2), np.nan)} if row["valid_tk"] == 0.0 else row for row in whole]
    track = chosen.sample(poisoned, given.embodiment).future[STATE_KEY]
    assert track.valid[:, 0].tolist() == [True] * (LENGTH - K) + [False] * K
    assert torch.isfinite(track.value[track.valid]).all()
