"""What a LIBERO evaluation plays and draws."""

from __future__ import annotations

import logging

import pytest

pytest.importorskip("gymnasium")

from tempovla.env.libero import LiberoConfig
from tempovla.recipe.evaluation import libero as evaluation_libero
from tempovla.recipe.evaluation.libero import LiberoSuite, evaluate_libero, familiar_words, libero_config
from tempovla.rollout.evaluate import EvaluationConfig

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
    ("trained", "told"),
    [
        ([], BENCHMARKS_WORDS),
        ([BENCHMARKS_WORDS, PROBLEMS_WORDS], BENCHMARKS_WORDS),
        ([PROBLEMS_WORDS, "open the drawer"], PROBLEMS_WORDS),
        (["open the drawer"], BENCHMARKS_WORDS),
    ],
)
def test_policies_are_told_what_their_demonstrations_said(trained, told):
    pytest.importorskip("libero")
    assert familiar_words(LiberoConfig(), TASK, trained) == told


def test_the_wrong_instruction_is_another_tasks_in_the_words_of_training(monkeypatch):
    """The policy heard the BDDL file's words of milk, and the benchmark's of butter."""
    pytest.importorskip("libero")
    milk, trained = TASK.replace("butter", "milk"), ["pick the milk and place it in the basket", BENCHMARKS_WORDS]
    provenance = {"recording": {"simulator": "libero", "suite": "libero_object"}, "instructions": trained}
    monkeypatch.setattr(evaluation_libero, "provenance_of", lambda *_: provenance)
    monkeypatch.setattr(evaluation_libero, "evaluate_checkpoint", lambda *arguments, **settings: settings)
    asked = evaluate_libero("", LiberoSuite(), EvaluationConfig(), tasks=[TASK, milk], wrong_instruction=True)
    assert asked["wrong_instruction"] is True
    assert [asked["wording"](task) for task in (TASK, milk)] == [BENCHMARKS_WORDS, trained[0]]
