"""Datasets that come with ``meta/modality.json``."""

import numpy as np
import pytest
from tests.foreign import FRONT, Foreign, write_json, write_v21

from tempovla.data.convert import convert
from tempovla.data.errors import DatasetError
from tempovla.data.inspection import inspect, sample_windows
from tempovla.data.joined import forms_of
from tempovla.data.open import open_source
from tempovla.data.stream_keys import StreamKeys
from tempovla.timeline.parts import StreamPart

STATE = "observation.state"
MODALITY = {
    "state": {"arm": {"start": 0, "end": 2}, "hand": {"start": 2, "end": 3, "original_key": STATE}},
    "action": {"all": {"start": 0, "end": 2, "rotation_type": None}},
    "video": {"ego_view": {"original_key": FRONT}},
    "annotation": {"human.task": {"original_key": "task_index"}},
}


@pytest.fixture
def dataset(tmp_path):
    root = write_v21(tmp_path / "data", Foreign(storage="image"))
    write_json(root / "meta/modality.json", MODALITY)
    return root


def test_its_names_are_streams(dataset):
    windows = ["state.arm=-1,0", "state.hand=0", "action.all=0:2", "video.ego_view=0", "annotation.human.task=0"]
    arrays = sample_windows(dataset, 1, 2, [*windows, f"{STATE}=-1,0", f"{FRONT}=0"])
    assert np.array_equal(arrays["state.arm"], arrays[STATE][:, :2])
    assert np.array_equal(arrays["state.hand"], arrays[STATE][1:, 2:])
    assert arrays["action.all"].shape == (2, 2)
    assert np.array_equal(arrays["video.ego_view"], arrays[FRONT])
    assert arrays["annotation.human.task"].tolist() == [[0]]
    kinds = {key: stream.kind for key, stream in open_source(dataset).streams.items()}
    assert (kinds["state.arm"], kinds["action.all"], kinds["video.ego_view"]) == ("state", "action", "image")


def test_they_can_be_joined_and_raw_observations_come_by_either_name(dataset):
    source = open_source(dataset, keys=StreamKeys.parse(["state.hand", "state.arm"], None))
    assert np.array_equal(
        source.read(0, STATE, [3]).value, open_source(dataset).read(0, STATE, [3]).value[:, [2, 0, 1]]
    )
    assert source.streams[STATE].names == ("o2", "o0", "o1")
    hand, arm = StreamPart("state.hand", 1, 0, 1), StreamPart("state.arm", 2, 0, 2)
    assert forms_of(source, STATE) == ((hand, arm), (StreamPart(STATE, 3, 2, 3), StreamPart(STATE, 3, 0, 2)))


def test_inspect_lists_them_and_convert_passes_them_on(dataset, tmp_path):
    features = inspect(dataset)["features"]
    assert (features["state.arm"]["shape"], features["state.arm"]["names"]) == ([2], ["o0", "o1"])
    convert(dataset, tmp_path / "v30")
    assert set(inspect(tmp_path / "v30")["features"]) == set(features)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"start": 1, "end": 4}, r"'state.arm' is from 1 to 4 of 'observation.state', whose shape is \[3\]; correct"),
        ({"start": "none", "end": 1}, r"'state.arm' is from 'none' to 1 of"),
        ({"start": 0.5, "end": True}, r"'state.arm' is from 0.5 to True of"),
        ({"start": 0}, r"'state.arm' is from 0 to None of"),
        (
            {"start": 0, "end": 1, "original_key": "state"},
            "'state.arm' is of stream 'state', which the ",
        ),
        (
            {"indices": [2, 0]},
            r"'state.arm' has \['indices'\], which is unknown, .* an entry may have \['start', 'end'",
        ),
        ([0, 2], r"'state.arm' is \[0, 2\], not an object"),
    ],
)
def test_a_wrong_entry_is_refused_only_when_it_is_read(dataset, entry, message):
    write_json(dataset / "meta/modality.json", {"state": {"arm": entry, "hand": {"start": 2, "end": 3}}})
    source = open_source(dataset)
    assert source.read(0, "state.hand", [0]).value.shape == (1, 1)
    with pytest.raises(DatasetError, match=f"modality.json: {message}"):
        source.read(0, "state.arm", [0])


@pytest.mark.parametrize(("start", "end"), [(1.0, 3.0), ("1", "3")])
def test_bounds_are_whole_numbers_however_they_are_written(dataset, start, end):
    write_json(dataset / "meta/modality.json", {"state": {"arm": {"start": start, "end": end}}})
    source = open_source(dataset)
    assert np.array_equal(source.read(0, "state.arm", [0]).value, source.read(0, STATE, [0]).value[:, 1:3])


def test_an_entry_without_bounds_is_the_whole_stream(dataset):
    entry = {"rotation_type": None, "absolute": True, "dtype": "float32", "range": None}
    write_json(dataset / "meta/modality.json", {"state": {"arm": entry}})
    assert open_source(dataset).read(0, "state.arm", [0]).value.shape == (1, 3)


@pytest.mark.parametrize("text", ["{", "[]", '{"state": []}'])
def test_a_wrong_file_is_refused_only_when_it_is_read(dataset, text):
    (dataset / "meta/modality.json").write_text(text, encoding="utf-8")
    assert open_source(dataset).read(0, STATE, [0]).value.shape == (1, 3)
    with pytest.raises(DatasetError, match=r"stream 'state\.arm' is left out: .*modality\.json"):
        sample_windows(dataset, 0, 0, ["state.arm=0"])
