"""Demonstrations of another body than a policy learned to move."""

from __future__ import annotations

import logging
import re
from dataclasses import replace
from types import SimpleNamespace

import pytest

from tempovla.recipe.datasets.dataset_mixture import DatasetMixture, Member
from tempovla.recipe.datasets.same_body import check_same_body, remedied_by_another_dataset, warn_of_other_body
from tempovla.timeline import Bundle, Embodiment

BODY = Embodiment("toy", 2, 2, 10.0, ("x", "y"), ("left", "right"))


def source(**changes) -> SimpleNamespace:
    return SimpleNamespace(name="data", embodiment=replace(BODY, **changes))


@pytest.mark.parametrize(
    "changes", [{}, {"name": "other"}, {"rate_hz": 9.99}, {"action_names": ()}, {"action_names": (), "state_names": ()}]
)
def test_the_same_body_is_taken_without_a_word(changes, caplog):
    check_same_body("policy", BODY, source(**changes), reads_state=True)
    assert not caplog.records


def mixture_of(source: SimpleNamespace) -> DatasetMixture:
    """A dataset alone."""
    return DatasetMixture((Member("data", source, 1.0, {}, False),), is_one=True)


def alone(**changes) -> DatasetMixture:
    """A dataset of a changed body alone."""
    return mixture_of(source(**changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rate_hz": 50.0}, "data: is recorded at 50 Hz, but policy learned at 10 Hz"),
        ({"rate_hz": 9.9}, "data: is recorded at 9.9 Hz"),
        (
            {"action_names": ("right", "left")},
            r"its action are \['right', 'left'\], but those that policy learned are \['left', 'right'\], the same in",
        ),
        ({"state_names": ("y", "x")}, r"its state are \['y', 'x'\]"),
    ],
)
def test_another_rate_or_order_is_refused_with_both(changes, message):
    with pytest.raises(ValueError, match=message):
        check_same_body("policy", BODY, source(**changes), reads_state=True)


def test_a_state_that_is_not_read_does_not_matter(caplog):
    check_same_body("policy", BODY, source(state_names=("y", "x")), reads_state=False)
    assert not caplog.records


def test_other_names_are_warned_of_with_both(caplog):
    with caplog.at_level(logging.WARNING):
        check_same_body("policy", BODY, source(action_names=("left", "hand")), reads_state=True)
    assert "its action are called ['left', 'hand'], and those that policy learned are called ['left', 'right']" in (
        caplog.text
    )


def test_a_start_from_another_body_is_warned_of(tmp_path, caplog):
    Bundle("vla", {}, (), BODY, {"steps": []}, {}).save(tmp_path / "base")
    with caplog.at_level(logging.WARNING):
        warn_of_other_body(None, alone(rate_hz=50.0), reads_state=True)
        warn_of_other_body(tmp_path, alone(rate_hz=50.0), reads_state=True)
        warn_of_other_body(tmp_path / "base", alone(), reads_state=True)
        assert not caplog.records
        other = SimpleNamespace(name="data", embodiment=replace(BODY, rate_hz=50.0, action_names=("right", "left")))
        warn_of_other_body(tmp_path / "base", mixture_of(other), reads_state=True)
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 2
    assert "base: learned at 10 Hz, and data is recorded at 50 Hz" in caplog.text
    assert "the action that it learned are ['left', 'right'], and those of data are ['right', 'left']" in caplog.text


@pytest.mark.parametrize(
    ("problem", "told"),
    [
        (
            "data: has shape (3,); set model.action_dim=3",
            "data: has shape (3,); give a dataset like the one that run was",
        ),
        (
            "data: no state; set --data.state_key arm",
            "data: no state; give a dataset like the one that run was trained on",
        ),
        ("data: no unit; give --depth-unit mm", "data: no unit; give a dataset like the one that run was trained on"),
        ("data: cut off; copy it again", "data: cut off; copy it again"),
    ],
)
def test_settings_of_training_are_no_remedy_for_a_trained_policy(problem, told):
    with pytest.raises(ValueError, match=f"^{re.escape(told)}"), remedied_by_another_dataset("run"):
        raise ValueError(problem)
