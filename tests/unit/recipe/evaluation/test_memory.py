"""How long a memory evaluation shows cues and holds the hand."""

from __future__ import annotations

import logging

import pytest

pytest.importorskip("gymnasium")

from tempovla.recipe.evaluation import memory as evaluation_memory
from tempovla.recipe.evaluation.memory import MemorySpans, evaluate_memory, memory_config
from tempovla.rollout.evaluate import EvaluationConfig

RECORDED = {"simulator": "memory", "cue_steps": 3, "delay_steps": 30}


def spans(config) -> tuple[int, int]:
    return config.cue_steps, config.delay_steps


def test_there_is_as_much_to_remember_as_in_the_demonstrations(caplog):
    caplog.set_level(logging.INFO, "tempovla")
    assert spans(memory_config(MemorySpans(), RECORDED)) == (3, 30)
    assert caplog.messages == ["cue_steps 3, delay_steps 30"]


def test_what_is_asked_for_goes_first_and_a_difference_is_said(caplog):
    caplog.set_level(logging.WARNING, "tempovla")
    assert spans(memory_config(MemorySpans(cue_steps=3, delay_steps=60), RECORDED)) == (3, 60)
    assert caplog.messages == [
        "delay_steps is 60, but the policy was trained on 30: it is asked about moments that it has never seen"
    ]


@pytest.mark.parametrize("recorded", [{}, {"simulator": "metaworld", "delay_steps": 30}])
def test_where_nobody_knows_the_benchmarks_own_is_taken_and_said(caplog, recorded):
    caplog.set_level(logging.WARNING, "tempovla")
    assert spans(memory_config(MemorySpans(delay_steps=20), recorded)) == (8, 20)
    assert caplog.messages == ["the checkpoint does not know its demonstrations' cue_steps; taking 8"]


def test_the_dataset_that_the_policy_learned_from_is_asked(monkeypatch):
    known = {"other": RECORDED | {"delay_steps": 14}, None: RECORDED}
    monkeypatch.setattr(evaluation_memory, "provenance_of", lambda _, name, env: {"recording": known[name]})
    monkeypatch.setattr(evaluation_memory, "evaluate_checkpoint", lambda *arguments, **settings: (arguments, settings))
    for name, delay_steps in ((None, 30), ("other", 14)):
        arguments, settings = evaluate_memory(
            "ckpt", MemorySpans(), EvaluationConfig(), ["colour-cue"], dataset_name=name
        )
        assert spans(arguments[1]) == (3, delay_steps)
        assert settings["dataset_name"] == name


def test_unknown_tasks_are_refused_before_the_checkpoint_is_looked_at(tmp_path):
    with pytest.raises(ValueError, match="did you mean colour-cue"):
        evaluate_memory(tmp_path / "absent", MemorySpans(), EvaluationConfig(), ["color-cue"])


def test_impossible_spans_are_refused():
    with pytest.raises(ValueError, match="delay_steps=0 must be at least 1"):
        memory_config(MemorySpans(delay_steps=0), RECORDED)
