"""Scripts that import from where things were before a room for control was built go on working."""

from importlib import import_module

import pytest


@pytest.mark.parametrize(
    ("old", "new", "name"),
    [
        ("tempovla.rollout.controller", "tempovla.control.controller", "Controller"),
        ("tempovla.rollout.context", "tempovla.control.context_builder", "ContextBuilder"),
        ("tempovla.recipe.dataset_choice", "tempovla.control.body_selection", "load_bundle"),
    ],
)
def test_a_moved_name_is_found_where_it_was(old, new, name):
    assert getattr(import_module(old), name) is getattr(import_module(new), name)
