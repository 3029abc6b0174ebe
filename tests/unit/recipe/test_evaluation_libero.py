"""What a LIBERO evaluation plays and draws."""

from __future__ import annotations

import logging

import pytest

pytest.importorskip("gymnasium")

from tempovla.env.libero import LiberoConfig
from tempovla.recipe.evaluation_libero import LiberoSuite, familiar_words, libero_config

RECORDED = {"simulator": "libero", "suite": "libero_goal", "rendering": "fast", "image_size": 64}


def test_pictures_are_made_as_the_demonstrations_were_recorded(caplog):
    caplog.set_level(logging.INFO, "tempovla")
    config = libero_config(LiberoSuite(), RECORDED)
    assert (config.suite, config.rendering, config.image_size) == ("libero_goal", "fast", 64)
    assert config.max_steps == 300
    assert caplog.messages == ["suite libero_goal, rendering fast, image_size 64"]


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


TASK = "pick_up_the_butter_and_place_it_in_the_basket"
BENCHMARKS_WORDS = "pick up the butter and place it in the basket"
PROBLEMS_WORDS = "pick the butter and place it in the basket"


@pytest.mark.parametrize(
    ("trained", "told", "warned"),
    [
        ([], BENCHMARKS_WORDS, False),
        ([BENCHMARKS_WORDS, PROBLEMS_WORDS], BENCHMARKS_WORDS, False),
        ([PROBLEMS_WORDS, "open the drawer"], PROBLEMS_WORDS, False),
        (["open the drawer"], BENCHMARKS_WORDS, True),
    ],
)
def test_policies_are_told_what_their_demonstrations_said(trained, told, warned, caplog):
    pytest.importorskip("libero")
    assert familiar_words(LiberoConfig(), [TASK], trained) == {TASK: told}
    assert ("never told" in caplog.text) == warned
