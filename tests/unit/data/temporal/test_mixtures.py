"""Mixtures by name."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from tempovla.data.temporal.config import TemporalDataConfig
from tempovla.data.temporal.mixtures import MixtureTable, TemporalMember

TABLE = MixtureTable.registered()


def test_libero_all_is_the_four_suites_with_equal_weights():
    members = TABLE.members("libero_all")
    assert {member.dataset for member in members} == {
        f"libero_{suite}_no_noops_1.0.0_lerobot" for suite in ("spatial", "object", "goal", "10")
    }
    assert {(member.weight, member.robot_type) for member in members} == {(1.0, "libero_franka")}


@pytest.mark.parametrize("mixture", sorted(TABLE.mixtures))
def test_every_mixture_names_types_of_robots_that_there_are(mixture):
    assert all(TABLE.config(member.robot_type).action_horizon > 0 for member in TABLE.members(mixture))


def test_the_whole_chunk_is_a_mixture_of_the_same_datasets():
    members = TABLE.members("libero_all_whole_chunk")
    assert [member.dataset for member in members] == [member.dataset for member in TABLE.members("libero_all")]
    assert {TABLE.config(member.robot_type).k for member in members} == {8}


def test_each_suite_is_a_mixture_of_its_own():
    for suite in ("spatial", "object", "goal", "10"):
        (member,) = TABLE.members(f"libero_{suite}")
        assert member in TABLE.members("libero_all")


def test_unknown_names_are_told_with_their_nearest():
    with pytest.raises(ValueError, match="mixture 'libero_al' is unknown; did you mean libero_all"):
        TABLE.members("libero_al")
    with pytest.raises(ValueError, match="robot type 'libero_frank' is unknown; did you mean libero_franka"):
        TABLE.config("libero_frank")
    with pytest.raises(ValueError, match="mixture 'x' is unknown; the mixtures are bridge, bridge_rt_1, libero_10"):
        TABLE.members("x")


def test_a_type_whose_steps_make_no_sample_is_told_when_it_is_asked_for():
    @dataclass(frozen=True)
    class Broken(TemporalDataConfig):
        temporal_delta_k: int | None = 9  # observation_indices = (0, 9)

    own = MixtureTable({"broken": Broken, "whole": TemporalDataConfig}, {})
    assert own.config("whole").action_horizon == 16
    with pytest.raises(ValueError, match=r"robot type broken: temporal_delta_k=9 is not among observation_indices"):
        own.config("broken")


def test_own_entries_go_before_registered_ones():
    own = TABLE.with_own({"libero_franka": TemporalDataConfig()}, {"mine": (TemporalMember("a"), TemporalMember("b"))})
    assert own.config("libero_franka").k is None
    assert [member.dataset for member in own.members("mine")] == ["a", "b"]
    assert TABLE.config("libero_franka").k == 7


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dataset": ""}, "dataset '' of a mixture must name a folder below the root"),
        ({"dataset": "/data/a"}, "dataset '/data/a' of a mixture must name a folder below the root"),
        ({"dataset": "../a"}, "dataset '../a' of a mixture must name a folder below the root"),
        ({"dataset": "a", "weight": 0.0}, "dataset a has weight 0.0, which must be positive"),
        ({"dataset": "a", "weight": float("nan")}, "dataset a has weight nan, which must be positive"),
    ],
)
def test_members_that_cannot_be_drawn_from_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        TemporalMember(**settings)


def test_a_mixture_without_datasets_or_with_one_twice_is_refused():
    own = TABLE.with_own({}, {"none": (), "twice": (TemporalMember("a"), TemporalMember("a"))})
    with pytest.raises(ValueError, match="mixture 'none' holds no dataset"):
        own.members("none")
    with pytest.raises(ValueError, match="mixture 'twice' names the dataset a twice; give it one weight"):
        own.members("twice")
