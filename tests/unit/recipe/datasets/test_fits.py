"""Whether a dataset has what a model reads."""

import pytest
from tests import recordings
from tests.unit.recipe.datasets.reading import ACTION, FORCE, FRONT, STATE, Config

from tempovla.data.lerobot import open_dataset
from tempovla.recipe.datasets.fits import check_fits


def test_a_dataset_must_have_the_vectors_in_their_sizes(tmp_path):
    features = {FORCE: recordings.FEATURES[STATE], **{key: recordings.FEATURES[key] for key in (STATE, ACTION, FRONT)}}
    recordings.record(tmp_path / "with", features=features)
    recordings.record(tmp_path / "without")
    source = open_dataset(tmp_path / "with")
    check_fits(Config(), source)
    with pytest.raises(ValueError, match=r"stream 'observation.force' has shape \(3,\), but the model reads \(6,\)"):
        check_fits(Config((6,)), source)
    with pytest.raises(ValueError, match=r"no stream 'observation.force'"):
        check_fits(Config(), open_dataset(tmp_path / "without"))
