"""What a model reads, as its config says it."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from tests import recordings

from tempovla.data.lerobot import open_dataset
from tempovla.recipe.datasets.config import ObservationConfig
from tempovla.recipe.datasets.dataset import Streams, check_fits, observation_transforms, stream_keys
from tempovla.recipe.datasets.statistics import needed_statistics
from tempovla.timeline.streams import StreamSpec

STATE, ACTION, FORCE, FRONT = "observation.state", "action", "observation.force", "observation.images.front"


@dataclass(frozen=True)
class Config:
    force: tuple[int, ...] | None = (3,)

    def streams(self) -> dict[str, StreamSpec]:
        return {
            STATE: StreamSpec("state", (3,)),
            FORCE: StreamSpec("state", self.force),
            FRONT: StreamSpec("image"),
            ACTION: StreamSpec("action", (2,)),
        }


def test_vectors_beside_the_state_are_read_and_normalised_like_it():
    model = Streams.of(Config())
    assert model == Streams((FRONT,), 3, 2, False, {FORCE: 3})
    assert stream_keys(model) == (STATE, FORCE, ACTION, FRONT)
    settings = ObservationConfig(state_normalization="min_max")
    assert needed_statistics(settings, Config(), True, model.vectors) == {
        ACTION: ("mean", "std"),
        STATE: ("min", "max"),
        FORCE: ("min", "max"),
    }


def test_a_vector_without_a_size_is_refused():
    with pytest.raises(ValueError, match=r"streams\(\) gives no shape of 'observation.force'; give a StreamSpec"):
        Streams.of(Config(None))


def test_a_dataset_must_have_the_vectors_in_their_sizes(tmp_path):
    features = {FORCE: recordings.FEATURES[STATE], **{key: recordings.FEATURES[key] for key in (STATE, ACTION, FRONT)}}
    recordings.record(tmp_path / "with", features=features)
    recordings.record(tmp_path / "without")
    source = open_dataset(tmp_path / "with")
    check_fits(Config(), source)
    _, normalize = observation_transforms(ObservationConfig(), Config(), 8, source)
    assert list(normalize.offset) == [STATE, FORCE, ACTION]
    with pytest.raises(ValueError, match=r"stream 'observation.force' has shape \(3,\), but the model reads \(6,\)"):
        check_fits(Config((6,)), source)
    with pytest.raises(ValueError, match=r"no stream 'observation.force'"):
        check_fits(Config(), open_dataset(tmp_path / "without"))
