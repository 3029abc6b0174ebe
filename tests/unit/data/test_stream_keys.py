"""A dataset that calls its state and its action otherwise, or splits them."""

import pickle

import numpy as np
import pytest

from tempovla.data import statistics
from tempovla.data.byte_cache import ByteCache
from tempovla.data.errors import DatasetError
from tempovla.data.fingerprint import content_hash, dataset_fingerprint
from tempovla.data.joined import JoinedSource, forms_of
from tempovla.data.memory import MemoryEpisode, MemorySource, preload
from tempovla.data.stream_keys import StreamKeys, missing_streams, raw_state, with_keys
from tempovla.timeline.parts import StreamPart
from tempovla.timeline.source import StreamInfo
from tempovla.timeline.task import Embodiment

STATE, ACTION = "observation.state", "action"
STREAMS = {
    "arm": StreamInfo("scalar", (3,), "float32", 10.0, ("x", "y", "z")),
    "grip": StreamInfo("scalar", (), "float32", 10.0),
    "count": StreamInfo("scalar", (1,), "int64", 10.0),
    "actions": StreamInfo("scalar", (2,), "float32", 10.0, ("u", "v")),
    "front": StreamInfo("image", (4, 4, 3), "uint8", 10.0),
}


def source(count: int = 5) -> MemorySource:
    """Two episodes, of 4 and 3 steps; `arm` at step t of episode e is 10 e + t + (0, 0.25, 0.5)."""
    episodes = []
    for index, length in enumerate((4, 3)):
        steps = np.arange(length)[:, None]
        values = {
            "arm": (10 * index + steps + [0.0, 0.25, 0.5]).astype(np.float32),
            "grip": np.arange(length, dtype=np.float32) / 8,
            "count": np.full((length, 1), count, dtype=np.int64),
            "actions": np.concatenate([steps, -steps], axis=1).astype(np.float32),
            "front": np.zeros((length, 4, 4, 3), dtype=np.uint8),
        }
        episodes.append(MemoryEpisode(f"task {index}", length, values))
    return MemorySource("toy", Embodiment("arm", 0, 0, 10.0), STREAMS, episodes)


def keyed(state: object = ("grip", "arm[1:]"), action: object = "actions", **options: int) -> JoinedSource:
    joined = with_keys(source(**options), StreamKeys.parse(state, action, "data."))
    assert isinstance(joined, JoinedSource)
    return joined


def test_parts_are_joined_in_the_stated_order_with_their_names_and_kinds():
    joined = keyed()
    assert joined.streams[STATE] == StreamInfo("state", (3,), "float32", 10.0, ("grip", "y", "z"))
    assert joined.streams[ACTION] == StreamInfo("action", (2,), "float32", 10.0, ("u", "v"))
    value, valid = joined.read(1, STATE, [-1, 2, 3])
    assert value.tolist() == [[0.0, 10.25, 10.5], [0.25, 12.25, 12.5], [0.25, 12.25, 12.5]]
    assert valid.tolist() == [False, True, False]
    many = joined.read_many(STATE, np.array([1, 0]), np.array([[-1, 2], [0, 3]]))
    assert many.value[0].tolist() == value[:2].tolist()
    assert many.value[1].tolist() == [[0.0, 0.25, 0.5], [0.375, 3.25, 3.5]]
    assert joined.read(0, "arm", [0]).value.tolist() == [[0.0, 0.25, 0.5]]


def test_the_body_has_the_dimensions_of_what_is_joined():
    body = keyed().embodiment
    assert (body.name, body.state_dim, body.action_dim) == ("arm", 3, 2)
    assert (body.state_names, body.action_names) == (("grip", "y", "z"), ("u", "v"))


def test_statistics_are_the_parts_own_and_equal_those_of_the_joined_values():
    joined = keyed()
    computed = statistics.compute(joined, [STATE])[STATE]
    for name, values in computed.items():
        assert np.array_equal(joined.statistics[STATE][name], values), name
    assert joined.statistics["arm"]["max"].tolist() == [12.0, 12.25, 12.5]
    assert {STATE, ACTION, "arm"} <= set(joined.statistics)


def test_statistics_are_computed_where_a_part_has_none():
    joined = keyed()
    joined.source.statistics.pop("grip")
    assert joined.statistics[STATE]["max"].tolist() == [0.375, 12.25, 12.5]


def test_numbers_of_several_types_become_float32_unless_that_loses_some():
    joined = keyed(("arm", "count"))
    assert joined.streams[STATE].dtype == "float32"
    assert joined.read(0, STATE, [0]).value.tolist() == [[0.0, 0.25, 0.5, 5.0]]
    with pytest.raises(DatasetError, match="toy: count holds 16777217, which is lost in float32"):
        keyed(("arm", "count"), count=(1 << 24) + 1).read(0, STATE, [0])


def test_words_times_and_the_rest_are_the_sources():
    joined = keyed()
    assert joined.instructions(1) == ("task 1",) * 3
    assert np.array_equal(joined.timestamps(0, STATE), joined.source.timestamps(0, "grip"))
    assert (len(joined), joined.episode(0).length, joined.rate_hz, joined.name) == (2, 4, 10.0, "toy")


def test_it_survives_pickling_another_cache_and_preloading():
    joined = keyed()
    value = joined.read(0, STATE, range(4)).value
    for other in (pickle.loads(pickle.dumps(joined)), joined.with_cache(ByteCache(0))):
        assert np.array_equal(other.read(0, STATE, range(4)).value, value)
    held = preload(JoinedSource(keyed(), {}), [STATE, ACTION], 1 << 20)
    assert np.array_equal(held.read(0, STATE, range(4)).value, value)
    assert dataset_fingerprint(held, [STATE]) == dataset_fingerprint(joined, [STATE])


def test_the_fingerprint_follows_the_parts_and_their_order():
    plain, joined = source(), keyed()
    assert content_hash(joined, ["arm"]) == content_hash(plain, ["arm"])
    hashes = {content_hash(keyed(state), [STATE]) for state in ("arm", "arm[0:2]", ("grip", "arm"), ("arm", "grip"))}
    assert len(hashes) == 4


def test_raw_observations_may_come_by_the_datasets_names_or_joined():
    parts = (StreamPart("grip", 1, 0, 1), StreamPart("arm", 3, 1, 3))
    assert forms_of(keyed(), STATE) == (parts, (StreamPart(STATE, 3, 0, 3),))
    assert forms_of(source(), STATE) == ()
    assert STATE not in raw_state(keyed()).streams
    assert ACTION in raw_state(keyed()).streams


def test_a_stream_that_the_dataset_calls_so_itself_is_never_taken_for_the_joined_one():
    named = JoinedSource(source(), {}, {STATE: "arm"})
    joined = with_keys(named, StreamKeys.parse(f"{STATE}[2],{STATE}[0:2]", None))
    assert joined.read(0, STATE, [0]).value.tolist() == [[0.5, 0.0, 0.25]]
    assert raw_state(joined).read(0, STATE, [0]).value.tolist() == [[0.0, 0.25, 0.5]]
    assert all(part.key != STATE or part.size == 3 for form in forms_of(joined, STATE) for part in form)
    assert (StreamPart(STATE, 3, 0, 3),) not in forms_of(joined, STATE)


def test_the_usual_names_change_nothing():
    plain = source()
    assert with_keys(plain, StreamKeys.parse(None, None)) is plain
    assert with_keys(plain, StreamKeys.parse(STATE, "action")) is plain


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ("arms", "data.state_key=arms: toy: no stream 'arms'; did you mean arm"),
        ("front", "toy: data.state_key=front: stream 'front' is a camera, not a vector; choose from"),
        ("arm[0:4]", r"toy: data.state_key=arm\[0:4\]: .* does not lie within the 3 dimensions"),
        ("arm,arm[2]", r"data.state_key takes dimension 2 of 'arm' twice, by arm and arm\[2:3\]"),
    ],
)
def test_keys_that_name_no_vector_are_refused(state, message):
    with pytest.raises(DatasetError, match=message):
        keyed(state)


def told(*names: str, in_mixture: bool = False) -> str:
    streams = {name: StreamInfo("scalar", (2,), "float32", 10.0) for name in names}
    values = {name: np.zeros((1, 2), dtype=np.float32) for name in names}
    data = MemorySource("toy", Embodiment("", 0, 0, 10.0), streams, [MemoryEpisode("", 1, values)])
    return missing_streams(data, [STATE, ACTION], in_mixture=in_mixture)


def test_the_remedy_for_missing_streams_is_the_very_option():
    assert told("state", "actions").endswith("set --data.state_key state --data.action_key actions")
    split = told("observation.states.arm", "observation.states.grip", "actions")
    assert split.endswith(
        "set --data.state_key '[observation.states.arm, observation.states.grip]' --data.action_key actions"
    )
    assert told("state", "actions", in_mixture=True).endswith(
        "set state_key: state, action_key: actions of it in data.mixture"
    )
    assert told("pose", "torque").endswith(
        "set --data.state_key --data.action_key to its name in the dataset, one of ['pose', 'torque']"
    )
    assert told("state", "torque").endswith("set --data.state_key state; it has ['state', 'torque']")
