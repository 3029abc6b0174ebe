"""What a model reads, as its config says it."""

import pytest
from tests.unit.recipe.datasets.reading import ACTION, DEPTH, FORCE, FRONT, STATE, Config, Deep

from tempovla.recipe.datasets.streams import Streams, stream_keys


def test_vectors_beside_the_state_are_read():
    model = Streams.of(Config())
    assert model == Streams((FRONT,), 3, 2, False, {FORCE: 3})
    assert stream_keys(model) == (STATE, FORCE, ACTION, FRONT)


def test_depth_is_read_beside_pictures():
    model = Streams.of(Deep())
    assert (model.depths, stream_keys(model)) == ((DEPTH,), (STATE, ACTION, FRONT, DEPTH))


def test_a_vector_without_a_size_is_refused():
    with pytest.raises(ValueError, match=r"streams\(\) gives no shape of 'observation.force'; give a StreamSpec"):
        Streams.of(Config(None))
