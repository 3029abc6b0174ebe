"""What a LIBERO evaluation plays and draws."""

from __future__ import annotations

import logging

import pytest

pytest.importorskip("gymnasium")

from tempovla.recipe.evaluation_libero import LiberoSuite, libero_config

RECORDED = {"simulator": "libero", "suite": "libero_goal", "rendering": "fast", "image_size": 64}


def test_pictures_are_made_as_the_demonstrations_were_recorded(caplog):
    config = libero_config(LiberoSuite(), RECORDED)
    assert (config.suite, config.rendering, config.image_size) == ("libero_goal", "fast", 64)
    assert not caplog.messages


def test_what_is_asked_for_goes_first_and_a_difference_is_said(caplog):
    caplog.set_level(logging.WARNING, "tempovla")
    config = libero_config(LiberoSuite(suite="libero_goal", rendering="exact"), RECORDED)
    assert (config.suite, config.rendering, config.image_size) == ("libero_goal", "exact", 64)
    assert caplog.messages == ["rendering is exact, but the policy was trained on fast"]


def test_where_nobody_knows_the_benchmarks_own_is_taken_and_said(caplog):
    caplog.set_level(logging.WARNING, "tempovla")
    config = libero_config(
        LiberoSuite(suite="libero_object", image_size=256), {"simulator": "metaworld", "image_size": 64}
    )
    assert (config.suite, config.rendering, config.image_size) == ("libero_object", "exact", 256)
    assert caplog.messages == ["the checkpoint does not know its demonstrations' rendering; taking exact"]
