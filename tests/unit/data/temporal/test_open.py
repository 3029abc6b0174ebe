"""Mixtures are opened by their names."""

from __future__ import annotations

import numpy as np
import pytest
from tests import recordings

from tempovla.data.errors import DatasetError
from tempovla.data.layout import Feature
from tempovla.data.temporal.config import TemporalDataConfig
from tempovla.data.temporal.mixtures import MixtureTable, TemporalMember
from tempovla.data.temporal.open import open_mixture

TABLE = MixtureTable.registered().with_own(
    {"arm": TemporalDataConfig((0, 2), (0, 1))},
    {"mine": (TemporalMember("one", 3.0, "arm"), TemporalMember("sub/two", 1.0, "arm"))},
)


def test_libero_all_holds_pairs_of_seven_steps_of_four_suites(tmp_path):
    members = TABLE.members("libero_all")
    for member in members:
        recordings.record(tmp_path / member.dataset, (9,))
    samples = open_mixture("libero_all", tmp_path, size=16)
    assert (samples.k, len(samples)) == (7, 4 * 9)
    rows = [samples[index] for index in range(len(samples))]
    assert {row["dataset"] for row in rows} == {member.dataset for member in members}
    assert {row["temporal_delta_k"] for row in rows} == {7}
    assert {row["action"].shape for row in rows} == {(8, 2)}
    for number in range(4):
        assert [samples.at(number, 0, step)["valid_tk"] for step in (0, 1, 2, 8)] == [1.0, 1.0, 0.0, 0.0]


def test_own_mixtures_are_opened_with_options(tmp_path):
    recordings.record(tmp_path / "one", (5,))
    recordings.record(tmp_path / "sub" / "two", (5,))
    samples = open_mixture("mine", tmp_path, table=TABLE, include_state=True, size=16)
    assert [part.weight for part in samples.parts] == [3.0, 1.0]
    assert [part.key for part in samples.parts] == ["one", "sub/two"]
    assert samples[0]["state_t"].shape == (1, 3)


def test_a_dataset_may_call_its_state_and_action_otherwise(tmp_path):
    """As openpi's LIBERO does."""
    features = {
        "state": Feature("float32", (8,)),
        "actions": Feature("float32", (7,)),
        "image": Feature("image", (16, 16, 3)),
    }
    (recorded,) = recordings.record(tmp_path / "physical-intelligence" / "libero", (9,), features)
    samples = open_mixture("libero_openpi", tmp_path, size=16, include_state=True, normalization=None)
    row = samples.at(0, 0, 1)
    np.testing.assert_array_equal(row["action"], recorded["actions"][1:])
    np.testing.assert_array_equal(row["state_tk"][0], recorded["state"][8])
    assert (row["valid_tk"], len(row["image_t"])) == (1.0, 1)


def test_a_dataset_that_is_missing_is_named_with_its_mixture(tmp_path):
    with pytest.raises(DatasetError, match=r"libero_10_no_noops.*: no such dataset, which the mixture libero_10 holds"):
        open_mixture("libero_10", tmp_path)
