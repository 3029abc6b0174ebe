"""Mixtures and types of robots of a user's own, in a YAML file."""

from __future__ import annotations

import pytest

from tempovla.data.temporal.mixtures import TemporalMember
from tempovla.recipe.systems.temporal_mixtures import member_configs, read_mixtures

WHOLE = """
robot_types:
  my_arm: {observation_indices: [0, 2], action_indices: [0, 1], has_gripper: true}
mixtures:
  my_tasks:
    - {dataset: drawer, weight: 2, robot_type: my_arm}
    - {dataset: lamp, robot_type: my_arm}
"""


def test_a_file_adds_to_what_is_registered(tmp_path):
    (tmp_path / "own.yaml").write_text(WHOLE)
    table = read_mixtures(tmp_path / "own.yaml")
    assert table.members("my_tasks") == (
        TemporalMember("drawer", 2.0, "my_arm"),
        TemporalMember("lamp", 1.0, "my_arm"),
    )
    config = table.config("my_arm")
    assert (config.k, config.action_horizon, config.has_gripper) == (2, 2, True)
    assert len(table.members("libero_all")) == 4


def test_a_mixture_becomes_the_datasets_of_a_recipe(tmp_path):
    (tmp_path / "own.yaml").write_text(WHOLE)
    drawer, lamp = member_configs(read_mixtures(tmp_path / "own.yaml"), "my_tasks", tmp_path)
    assert (drawer.data_directory, drawer.weight, drawer.key) == (str(tmp_path / "drawer"), 2.0, "drawer")
    assert (lamp.data_directory, lamp.weight, lamp.key) == (str(tmp_path / "lamp"), 1.0, "lamp")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("robot_types: {a: {observation_indices: [0, 2], temporal_delta_k: 3}}", "own.yaml: robot_types.a: temporal_d"),
        ("robot_types: {a: {observation_index: [0]}}", "own.yaml: robot_types.a: keys .*observation_index"),
        ("robot_types: {a: 3}", "own.yaml: robot_types.a is 3; it must be an object"),
        ("mixtures: {m: [{dataset: a, weight: 0}]}", r"own.yaml: mixtures.m\[0\]: dataset a has weight"),
        (
            "mixtures: {m: [{weight: 1}]}",
            r"own.yaml: mixtures.m\[0\]: keys \['dataset'\] of .* are missing",
        ),
        ("mixtures: {m: drawer}", "own.yaml: mixtures.m is 'drawer'; it must be a list of datasets"),
        ("mixtures: []", r"own.yaml: mixtures is \[\]; it must hold entries by name"),
        ("datasets: {}", "own.yaml: holds .*; it must hold robot_types and mixtures"),
        ("[1", "own.yaml: no YAML"),
    ],
)
def test_what_a_file_cannot_say_is_refused_with_its_place(tmp_path, text, message):
    (tmp_path / "own.yaml").write_text(text)
    with pytest.raises(ValueError, match=message) as problem:
        read_mixtures(tmp_path / "own.yaml")
    assert "\n" not in str(problem.value)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises((ValueError, OSError), match="none"):
        read_mixtures(tmp_path / "none.yaml")
